"""Laws of the frames kept in memory: labels stay beside their frames, episodes are never mixed up."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policies.frame_set import FrameSet, draw_indices, gather_frames, join_frames, project_to_picture
from robot.core.data import Episode, Outcome
from tests.fakes import SPEC


def episode(steps: int, seed: int, size: int = 32) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        task="reach",
        instruction="reach the goal",
        robot="fake",
        frames={"corner2": rng.integers(0, 256, (steps + 1, size, size, 3), dtype=np.uint8)},
        proprio=rng.random((steps + 1, 4)).astype(np.float32),
        requested=rng.uniform(-1, 1, (steps, 4)).astype(np.float32),
        sent=rng.uniform(-1, 1, (steps, 4)).astype(np.float32),
        times_s=np.arange(steps + 1) * 0.025,
        outcome=Outcome.SUCCESS,
        seed=seed,
    )


def test_gathered_labels_are_those_of_the_same_frame() -> None:
    first, second = episode(5, 0), episode(3, 1)
    gathered = gather_frames(iter([first, second]), size=32)
    assert len(gathered) == 6 + 4
    np.testing.assert_array_equal(gathered.frames[6:], second.frames["corner2"])
    np.testing.assert_array_equal(gathered.poses[:6], first.proprio)
    np.testing.assert_array_equal(gathered.actions[6:9], second.sent)
    np.testing.assert_array_equal(gathered.episodes, [0] * 6 + [1] * 4)
    assert np.isnan(gathered.pixels).all()


def test_starts_never_cross_an_episode_s_end() -> None:
    gathered = gather_frames([episode(5, 0), episode(3, 1), episode(1, 2)], size=16)
    np.testing.assert_array_equal(gathered.starts(2), [0, 1, 2, 3, 6, 7])
    assert not len(gathered.starts(9))
    assert not len(gathered.starts(1000))


def test_joined_sets_keep_episodes_apart() -> None:
    part = gather_frames([episode(2, 0), episode(2, 1)], size=16)
    joined = join_frames([part, part])
    np.testing.assert_array_equal(joined.episodes, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


def test_a_stored_set_reads_back_bit_for_bit(tmp_path: Path) -> None:
    gathered = gather_frames([episode(4, 0)], size=16)
    gathered.save(tmp_path / "frames.npz")
    again = FrameSet.load(tmp_path / "frames.npz")
    for name in ("frames", "poses", "actions", "pixels", "episodes"):
        np.testing.assert_array_equal(getattr(gathered, name), getattr(again, name))


def test_projection_divides_by_depth_and_by_the_picture() -> None:
    matrix = np.array([[100.0, 0, 64, 0], [0, 100, 32, 0], [0, 0, 1, 0]])
    points = np.array([[0, 0, 1], [0.5, 0.1, 2], [9, 9, 1]], np.float32)
    np.testing.assert_allclose(
        project_to_picture(points, matrix, height=64, width=128), [[0.5, 0.5], [89 / 128, 37 / 64], [1, 1]], atol=1e-6
    )


def test_gathering_uses_the_projection_and_reconstructions() -> None:
    recorded = episode(3, 0)
    matrix = np.array([[20.0, 0, 0, 0], [0, 20, 0, 0], [0, 0, 0, 1]])
    gathered = gather_frames(
        [recorded], size=32, world_to_image=matrix, reconstruct=np.zeros_like, reconstructed_share=1
    )
    np.testing.assert_allclose(gathered.pixels, recorded.proprio[:, :2] * 20 / 32, atol=1e-6)
    assert not gathered.frames.any()


def test_each_episode_says_where_its_camera_was_and_one_that_does_not_is_told() -> None:
    matrix = np.array([[20.0, 0, 0, 0], [0, 20, 0, 0], [0, 0, 0, 1]])
    camera = next(iter(episode(3, 0).frames))
    own = [
        dataclasses.replace(episode(3, seed), spec=dataclasses.replace(SPEC, camera_matrices={camera: scale @ matrix}))
        for seed, scale in ((0, np.diag([0.5, 1, 1])), (1, np.eye(3)))
    ]
    silent = dataclasses.replace(episode(3, 2), spec=None)
    gathered = gather_frames([*own, silent], camera=camera, size=32, world_to_image=np.diag([2.0, 2, 1]) @ matrix)
    for number, (one, scale) in enumerate(zip([*own, silent], ([0.5, 1], [1, 1], [2, 2]), strict=True)):
        expected = np.clip(one.proprio[:, :2] * 20 / 32 * scale, 0, 1)
        np.testing.assert_allclose(gathered.pixels[gathered.episodes == number], expected, atol=1e-6)


def test_bad_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="no episodes"):
        gather_frames([])
    with pytest.raises(ValueError, match="no camera 'front'"):
        gather_frames([episode(2, 0)], camera="front")


def test_batches_mix_sources_by_their_shares() -> None:
    places = [np.arange(10), np.arange(3), np.zeros(0, np.int64)]
    drawn = dict(draw_indices(places, [3.0, 1.0, 0.0], 4000, np.random.default_rng(0)))
    assert set(drawn) == {0, 1}
    assert len(drawn[0]) + len(drawn[1]) == 4000
    assert 0.72 < len(drawn[0]) / 4000 < 0.78
    assert set(drawn[1]) == {0, 1, 2}


@pytest.mark.parametrize("shares", [[1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]])
def test_shares_that_cannot_be_drawn_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"Source 1|shares"):
        list(draw_indices([np.arange(3), np.zeros(0, np.int64)], shares, 4, np.random.default_rng(0)))
