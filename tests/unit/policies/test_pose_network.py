"""Laws of the pose network: sizes, normalisation, checkpoints, and that it can learn where a dot is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.augmentation import AugmentationSettings
from policies.frame_set import FrameSet, FrameSource
from policies.frame_training import pose_batches, pose_loss
from policies.pose_network import (
    PoseNetwork,
    PoseNetworkShape,
    load_pose_network,
    save_pose_network,
)
from robot.core.errors import CheckpointError
from robot.core.pictures import shrink_frames

TINY = PoseNetworkShape(size=32, widths=(8, 16, 16, 16), keypoints=8, attended=2, hidden=32)
UNCHANGED = AugmentationSettings(changed_share=0.0)


def dots(count: int, seed: int, size: int = 32) -> FrameSet:
    """Draw a dot whose place is (x, y), whose blue is z and whose red is the opening, on grey noise."""
    rng = np.random.default_rng(seed)
    poses = rng.uniform((-0.3, 0.4, 0.0, 0.0), (0.3, 0.9, 0.3, 1.0), (count, 4)).astype(np.float32)
    pixels = np.stack([(poses[:, 0] + 0.4) / 0.8, (poses[:, 1] - 0.3) / 0.7], axis=1)
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    frames = rng.integers(40, 70, (count, size, size, 3)).astype(np.uint8)
    distance = np.hypot(columns[None] - pixels[:, 0, None, None] * size, rows[None] - pixels[:, 1, None, None] * size)
    colour = np.stack([80 + 175 * poses[:, 3], np.full(count, 230), 80 + 580 * poses[:, 2]], axis=1).astype(np.uint8)
    frames = np.where((distance < 3)[..., None], colour[:, None, None, :], frames)
    return FrameSet(
        frames, poses, np.zeros((count, 4), np.float32), pixels.astype(np.float32), np.zeros(count, np.int64)
    )


def test_default_network_stays_small_enough_to_ship() -> None:
    count = sum(parameter.numel() for parameter in PoseNetwork().parameters())
    assert 1_400_000 < count <= 2_200_000


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (48, 80), (20, 20)])
def test_pictures_of_any_size_give_finite_poses(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    poses = PoseNetwork(TINY).eval().estimate(frames)
    assert poses.shape == (3, 4)
    assert poses.dtype == np.float32
    assert np.all(np.isfinite(poses))
    assert np.all((poses[:, 3] >= 0) & (poses[:, 3] <= 1))


def test_a_picture_is_read_alike_alone_and_in_a_batch() -> None:
    network = PoseNetwork(TINY).eval()
    frames = np.random.default_rng(0).integers(0, 256, (7, 40, 40, 3), dtype=np.uint8)
    together = network.estimate(frames, batch_size=4)
    apart = np.concatenate([network.estimate(frames[place : place + 1]) for place in range(7)])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_no_pictures_give_no_poses() -> None:
    assert PoseNetwork(TINY).estimate(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 4)


def test_shrinking_averages_the_pixels_that_merge() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    small = shrink_frames(torch.from_numpy(frames), 32).numpy()
    means = frames.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 0.5 + 1e-4


def test_shrinking_leaves_the_right_size_alone() -> None:
    frames = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(shrink_frames(frames, 32), frames)


@pytest.mark.parametrize("frames", [torch.zeros(1, 32, 32, 3), torch.zeros(32, 32, 3, dtype=torch.uint8)])
def test_what_is_no_picture_is_refused(frames: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        PoseNetwork(TINY)(frames)


def test_normalise_and_unnormalise_are_inverse_and_standardise() -> None:
    network = PoseNetwork(TINY)
    poses = dots(200, 0).poses
    network.set_normalisation(poses)
    values = network.normalise(torch.from_numpy(poses))
    np.testing.assert_allclose(values.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values.std(0, correction=0), 1.0, atol=1e-4)
    np.testing.assert_allclose(network.unnormalise(values), poses, atol=1e-6)


def test_normalisation_refuses_nan() -> None:
    with pytest.raises(ValueError, match="finite"):
        PoseNetwork(TINY).set_normalisation(np.full((3, 4), np.nan, np.float32))


def test_checkpoint_round_trip_reads_pictures_identically(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(TINY).eval()
    network.set_normalisation(dots(50, 0).poses)
    save_pose_network(tmp_path, network)
    again, identity = load_pose_network(tmp_path)
    frames = dots(5, 1).frames
    np.testing.assert_array_equal(network.estimate(frames), again.estimate(frames))
    assert identity
    assert again.shape == TINY


def test_identity_follows_the_weights(tmp_path: Path) -> None:
    network = PoseNetwork(TINY)
    save_pose_network(tmp_path / "a", network)
    save_pose_network(tmp_path / "b", network)
    with torch.no_grad():
        network.pose_mean += 0.1
    save_pose_network(tmp_path / "c", network)
    identities = [load_pose_network(tmp_path / name)[1] for name in "abc"]
    assert identities[0] == identities[1] != identities[2]


def test_half_precision_weights_move_poses_by_less_than_a_millimetre_or_two(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PoseNetwork(TINY).eval()
    save_pose_network(tmp_path, network, dtype=torch.float16)
    again, _ = load_pose_network(tmp_path)
    assert next(again.parameters()).dtype == torch.float32
    frames = dots(5, 1).frames
    np.testing.assert_allclose(network.estimate(frames), again.estimate(frames), atol=2e-3)


@pytest.mark.parametrize(
    ("key", "value"), [("hidden", 64), ("keypoints", 4), ("widths", [8, 16, 16]), ("kernels", 3), ("size", 33)]
)
def test_another_architecture_is_one_sentence(tmp_path: Path, key: str, value: object) -> None:
    save_pose_network(tmp_path, PoseNetwork(TINY))
    path = tmp_path / "model.json"
    described = json.loads(path.read_text())
    described["config"][key] = value
    path.write_text(json.dumps(described))
    with pytest.raises(CheckpointError) as raised:
        load_pose_network(tmp_path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith(".")


def test_overfits_dots_and_puts_its_first_keypoint_on_them() -> None:
    """100 steps: the mean error across the picture, on dots never seen, falls from over 15 cm to under 3 cm."""
    torch.manual_seed(0)
    network = PoseNetwork(TINY)
    known, strange = dots(256, 0), dots(64, 1)
    network.set_normalisation(known.poses)
    draw = pose_batches(network, [FrameSource("dots", known)], 32, UNCHANGED)
    batches = [draw(np.random.default_rng(number)) for number in range(10)]
    loss = pose_loss(network.pose_scale[:3] * 100)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)

    def error() -> float:
        estimated = network.estimate(strange.frames)
        return float(np.linalg.norm(estimated[:, :2] - strange.poses[:, :2], axis=1).mean())

    assert error() > 0.15
    for step in range(100):
        value, _ = loss(network, batches[step % len(batches)], torch.Generator())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert error() < 0.03
    with torch.no_grad():
        _, keypoints = network(torch.from_numpy(strange.frames))
    distance = (keypoints[:, 0] - (torch.from_numpy(strange.pixels) * 2 - 1)).norm(dim=1).mean()
    assert distance < 0.1  # of a picture two wide: 1.6 of its 32 pixels
