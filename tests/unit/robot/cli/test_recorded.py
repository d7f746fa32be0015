"""What is asked of a recorded episode: laws of the middle square, whose camera matrix counts, and which rate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robot.cli import recorded
from robot.cli.recorded import Alike, check_rate, simulated_matrix, squared, step_s
from robot.core.errors import SailError
from robot.core.pictures import shrink_frames
from robot.episodes.store import EpisodeStore, StoredEpisodes
from tests.unit.robot.cli.test_train_store import MATRIX, moved, spec


def test_the_middle_square_is_cut_out_and_shrunk() -> None:
    frames = np.zeros((7, 60, 100, 3), np.uint8)
    frames[:, :, 20:80] = 200  # the middle square, and nothing else
    whole = moved(frames={"front": frames})
    square = squared(whole, "front", 30)
    assert square.frames["front"].shape == (7, 30, 30, 3) and square.frames["front"].min() == 200
    assert squared(whole, "front").frames["front"].shape == (7, 60, 60, 3)
    same = squared(square, "front", 30)
    assert np.array_equal(same.frames["front"], square.frames["front"])
    with pytest.raises(SailError, match="cannot be shrunk to 64×64"):
        squared(whole, "front", 64)


@pytest.mark.parametrize(("size", "side"), [((60, 100), 30), ((100, 60), 60), ((64, 64), 64)])
def test_a_point_lies_where_the_square_s_matrix_says(size: tuple[int, int], side: int) -> None:
    of = spec(camera_matrices={"front": MATRIX, "other": MATRIX})
    square = squared(moved(size=size, of=of), "front", side)
    point = np.array([2.0, 1.5, 0.0, 1.0])
    edge = min(size)
    corner = np.array([(size[1] - edge) / 2, (size[0] - edge) / 2])
    column_row = (MATRIX @ point)[:2]
    expected = (column_row - corner + 0.5) * side / edge - 0.5  # pixel centres are whole
    matrix = square.camera_matrix("front")
    assert matrix is not None and square.spec is not None
    np.testing.assert_allclose((matrix @ point)[:2], expected)
    assert set(square.spec.camera_matrices) == {"front"} and square.spec.cameras == {"front": (side, side)}


def test_the_simulator_is_asked_only_of_what_describes_no_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Simulator:
        def __init__(self, task: str, cameras: tuple[str, ...], size: tuple[int, int]) -> None:
            asked.append((task, cameras, size))
            self.spec = spec(camera_matrices={"front": MATRIX})

        def close(self) -> None:
            pass

    monkeypatch.setattr("sim.metaworld.MetaWorldRobot", Simulator)
    recorded._simulated_matrix.cache_clear()
    simulated = moved(robot="metaworld/reach", of=spec(camera_matrices={"front": 2 * MATRIX}))
    assert np.array_equal(simulated.camera_matrix("front"), 2 * MATRIX)  # type: ignore[arg-type]
    assert simulated_matrix(simulated, "front") is None
    assert simulated_matrix(moved(robot="metaworld/reach"), "front") is None  # it says that it knows none
    assert simulated_matrix(moved(), "front") is None and not asked
    bare = moved(robot="metaworld/reach", size=(48, 64))
    bare = dataclasses.replace(bare, spec=None)
    for _ in range(2):
        assert np.array_equal(simulated_matrix(bare, "front"), MATRIX)
    assert asked == [("reach", ("front",), (48, 64))]
    assert simulated_matrix(dataclasses.replace(bare, robot="so101"), "front") is None
    recorded._simulated_matrix.cache_clear()


def test_a_square_is_cut_when_it_is_asked_for_and_has_a_mark_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EpisodeStore(tmp_path)
    store.add(moved(size=(48, 64)), episode_id="a")
    monkeypatch.setattr("robot.episodes.store.read_video", None)  # which cannot be called
    late = StoredEpisodes(store, ["a"])[0]
    small, smaller = squared(late, "front", 32), squared(late, "front", 16)
    assert small.shape("front") == (7, 32, 32, 3) and list(small.frames) == ["front"]
    assert len({late.mark("front"), small.mark("front"), smaller.mark("front")}) == 3
    monkeypatch.undo()
    whole = squared(store.load("a"), "front", 32)
    assert np.array_equal(small.frames["front"], whole.frames["front"])
    middle = store.load("a").frames["front"][:, :, 8:56]
    assert np.array_equal(small.frames["front"], shrink_frames(torch.from_numpy(middle.copy()), 32))


def test_a_rate_is_what_an_episode_says_or_what_its_times_are() -> None:
    whole = moved()
    check_rate(whole, 30.0)
    assert step_s(whole) == pytest.approx(1 / 30)
    late = moved(times_s=np.arange(7) / 20.0)
    check_rate(late, 30.0)
    check_rate(late, 20.0)
    with pytest.raises(SailError, match="recorded at 30 robot steps a second, not 40: set rate_hz=30"):
        check_rate(late, 40.0)
    with pytest.raises(SailError, match="says 30 steps a second, and its times are those of 20"):
        step_s(late)
    assert step_s(dataclasses.replace(late, spec=None)) == pytest.approx(1 / 20)
    assert step_s(moved(times_s=np.zeros(7), spec=None)) == 0.0


def test_the_limits_of_actions_are_those_the_episodes_say_or_what_they_did() -> None:
    one = np.ones(3, np.float32)
    unit = dataclasses.replace(spec().action, low=-one, high=one)
    robots = Alike(timed=True)
    robots.check(moved(of=spec(action=unit)))
    assert robots.limits() == ((), ()) and robots.step_s == pytest.approx(1 / 30, abs=1e-6)
    robots.check(moved())
    assert robots.limits() == ((-3.0,) * 3, (3.0,) * 3)
    acted = np.array([[0.0, 5.0, 1.0], [0.0, 7.0, -1.0]], np.float32)
    nameless = Alike(timed=False)
    nameless.check(moved(steps=2, spec=None, sent=acted, requested=acted))
    assert nameless.limits() == ((0.0, 5.0, -1.0), (1.0, 7.0, 1.0))  # the first never moved
