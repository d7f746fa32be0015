"""Laws of training inverse dynamics: batches match their labels, training resumes, fine-tuning starts at its base."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.augmentation import AugmentationSettings
from policies.frame_pair import FramePair
from policies.frame_pair_network import FramePairNetwork, FramePairShape
from policies.frame_set import FrameSet, FrameSource, gather_frames
from policies.frame_training import (
    finetune_frame_pair,
    finetune_pose_network,
    frame_pair_batches,
    frame_pair_loss,
    pose_batches,
    pose_loss,
    train_frame_pair,
    train_pose_network,
)
from policies.pose_error import pose_error_m
from policies.pose_network import PoseNetwork, PoseNetworkShape, load_pose_network
from policies.pose_tracking import PoseTracking
from robot.core.data import Episode, Outcome
from robot.core.training import TrainingSettings

POSE = PoseNetworkShape(size=16, widths=(8, 8, 8, 8), keypoints=4, attended=1, hidden=16)
PAIR = FramePairShape(size=16, widths=(8, 8, 8, 8), hidden=16)
UNCHANGED = AugmentationSettings(changed_share=0.0)


def quick(steps: int = 4, **overrides: object) -> TrainingSettings:
    return TrainingSettings(steps, batch_size=8, warmup_steps=1, precision="fp32", **overrides)  # type: ignore[arg-type]


def frames(count: int, base: int = 0) -> FrameSet:
    """Return frames whose every label can be told from the picture: value base + i."""
    numbers = np.arange(count)
    pictures = np.broadcast_to((base + numbers)[:, None, None, None], (count, 16, 16, 3)).astype(np.uint8)
    poses = np.repeat((base + numbers)[:, None], 4, axis=1).astype(np.float32) / 255
    actions = np.repeat((base + numbers)[:, None], 4, axis=1).astype(np.float32) / 1000
    pixels = np.full((count, 2), 0.5, np.float32)
    pixels[numbers % 2 == 1] = np.nan
    return FrameSet(pictures, poses, actions, pixels, numbers // 5)


def episode() -> Episode:
    rng = np.random.default_rng(0)
    return Episode(
        task="reach",
        instruction="reach",
        robot="fake",
        frames={"corner2": rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)},
        proprio=rng.random((6, 4)).astype(np.float32),
        requested=np.zeros((5, 4), np.float32),
        sent=np.zeros((5, 4), np.float32),
        times_s=np.arange(6.0),
        outcome=Outcome.TIMEOUT,
        seed=0,
    )


def test_a_pose_batch_keeps_pictures_and_labels_together_and_finite() -> None:
    network = PoseNetwork(POSE)
    network.set_normalisation(frames(40).poses)
    sources = [FrameSource("old", frames(40), 1.0), FrameSource("new", frames(40, base=100), 1.0)]
    batch = pose_batches(network, sources, 32, UNCHANGED)(np.random.default_rng(0))
    values = batch["frames"][:, 0, 0, 0].float()
    assert values.min() < 40
    assert values.max() >= 100
    expected = network.normalise((values / 255)[:, None].expand(-1, 4))
    torch.testing.assert_close(batch["targets"], expected)
    assert torch.equal(batch["seen"], (values % 2 == 0).float())
    assert all(torch.isfinite(value.float()).all() for value in batch.values())


def test_a_pair_batch_holds_the_actions_between_its_frames() -> None:
    batch = frame_pair_batches([FrameSource("all", frames(50))], 2, 64, UNCHANGED)(np.random.default_rng(0))
    now, goal = (batch[name][:, 0, 0, 0].float() for name in ("now", "goal"))
    assert torch.equal(goal - now, torch.full_like(now, 2))
    assert torch.equal(torch.div(now, 5, rounding_mode="floor"), torch.div(goal, 5, rounding_mode="floor"))
    torch.testing.assert_close(batch["actions"][:, 0, 0], now / 1000)
    torch.testing.assert_close(batch["actions"][:, 1, 3], (now + 1) / 1000)


@pytest.mark.parametrize("kind", ["pose", "pair"])
def test_a_batch_is_a_function_of_its_generator(kind: str) -> None:
    sources = [FrameSource("all", frames(50))]
    draw = (
        pose_batches(PoseNetwork(POSE), sources, 16, AugmentationSettings())
        if kind == "pose"
        else frame_pair_batches(sources, 2, 16, AugmentationSettings())
    )
    first, second, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_pose_loss_is_zero_only_where_everything_is_right() -> None:
    class Oracle(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return targets, pixels[:, None].expand(-1, 3, -1)

    targets, pixels = torch.randn(6, 4), torch.rand(6, 2)
    batch = {"frames": torch.zeros(6), "targets": targets, "pixels": pixels, "seen": torch.ones(6)}
    loss = pose_loss(torch.tensor([10.0, 10.0, 10.0]))
    value, figures = loss(Oracle(), batch, torch.Generator())
    assert value == 0
    off = batch | {"targets": targets + torch.tensor([0.1, 0, 0, 0])}
    assert loss(Oracle(), off, torch.Generator())[1]["position_error_cm"] == pytest.approx(1.0, rel=1e-3)
    misplaced = batch | {"pixels": pixels + 0.5}
    assert loss(Oracle(), misplaced, torch.Generator())[0] > 0
    assert loss(Oracle(), misplaced | {"seen": torch.zeros(6)}, torch.Generator())[0] == 0
    assert figures["position_error_cm"] == 0


def test_training_writes_a_network_that_tracks(tmp_path: Path) -> None:
    metrics = train_pose_network([FrameSource("all", frames(40))], tmp_path, quick(), shape=POSE, card={"data": "dots"})
    assert np.isfinite(metrics["loss"])
    tracking = PoseTracking.load(tmp_path)
    np.testing.assert_allclose(tracking.network.pose_mean, frames(40).poses.mean(0), rtol=1e-5)


def test_interrupted_training_ends_as_uninterrupted_training_does(tmp_path: Path) -> None:
    sources = [FrameSource("all", frames(40))]
    train_pose_network(sources, tmp_path / "whole", quick(6), shape=POSE)
    calls = 0

    original = np.random.default_rng

    def counting(seed: object = None) -> np.random.Generator:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return original(seed)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "default_rng", counting)
        with pytest.raises(KeyboardInterrupt):
            train_pose_network(sources, tmp_path / "cut", quick(6), shape=POSE)
    train_pose_network(sources, tmp_path / "cut", quick(6), shape=POSE)
    assert load_pose_network(tmp_path / "cut")[1] == load_pose_network(tmp_path / "whole")[1]


def test_finetuning_without_a_learning_rate_gives_the_base_back(tmp_path: Path) -> None:
    sources = [FrameSource("all", frames(40))]
    train_pose_network(sources, tmp_path / "base", quick(), shape=POSE)
    still = quick(learning_rate=0.0, weight_decay=0.0)
    finetune_pose_network(tmp_path / "base", [FrameSource("new", frames(40, 90))], tmp_path / "same", still)
    finetune_pose_network(tmp_path / "base", sources, tmp_path / "moved", quick())
    base, same, moved = (load_pose_network(tmp_path / name)[0].state_dict() for name in ("base", "same", "moved"))
    for name, value in base.items():
        torch.testing.assert_close(same[name], value, rtol=0, atol=1e-7)
    assert any(not torch.equal(moved[name], base[name]) for name in base)
    assert torch.equal(moved["pose_mean"], base["pose_mean"])


def test_frame_pair_trains_and_finetunes(tmp_path: Path) -> None:
    sources = [FrameSource("all", frames(40))]
    train_frame_pair(sources, tmp_path / "base", quick(), shape=PAIR)
    metrics = finetune_frame_pair(tmp_path / "base", sources, tmp_path / "next", quick())
    assert np.isfinite(metrics["action_error"])
    assert FramePair.load(tmp_path / "base").identity != FramePair.load(tmp_path / "next").identity


def test_frame_pair_learns_how_far_a_bar_moved() -> None:
    """60 steps on pictures of a bar whose shift is the action: the squared error falls to a quarter."""
    torch.manual_seed(0)
    network = FramePairNetwork(FramePairShape(size=16, widths=(16, 32, 32, 64), hidden=64))
    rng = np.random.default_rng(0)
    place, shift = rng.integers(4, 12, 32), rng.integers(-4, 5, 32)
    columns = np.arange(16)[None, None, :, None]

    def bar(where: np.ndarray) -> torch.Tensor:
        pictures = np.where(abs(columns - where[:, None, None, None]) < 2, 220, 40)
        return torch.from_numpy(np.broadcast_to(pictures, (32, 16, 16, 3)).astype(np.uint8))

    actions = torch.from_numpy(shift / 4.0).float()[:, None, None].expand(-1, 2, 4)
    batch = {"now": bar(place), "goal": bar(place + shift), "actions": actions}
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        value, _ = frame_pair_loss(network, batch, torch.Generator())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses[-1] < losses[0] / 4


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    short = gather_frames([episode()], size=16)
    with pytest.raises(ValueError, match="nothing to draw"):
        train_frame_pair([FrameSource("short", short)], tmp_path, quick(), shape=FramePairShape(size=16, chunk=9))


class Exact(PoseNetwork):
    """A double that knows an episode's poses and is off by what it is told."""

    def __init__(self, off: list[float]) -> None:
        super().__init__(POSE)
        self.off = np.asarray(off, np.float32)

    def estimate(self, frames: np.ndarray, batch_size: int = 256, precision: torch.dtype | None = None) -> np.ndarray:
        return episode().proprio + self.off


@pytest.mark.parametrize("reconstruct", [None, np.zeros_like])
def test_the_error_report_is_in_metres(reconstruct: Callable[[np.ndarray], np.ndarray] | None) -> None:
    report = pose_error_m(Exact([0.03, 0.0, -0.04, 0.1]), [episode(), episode()], reconstruct=reconstruct)
    assert report["mean_m"] == pytest.approx(0.05, rel=1e-4)
    assert report["p95_m"] == pytest.approx(0.05, rel=1e-4)
    assert report["bias_m"] == pytest.approx(0.05, rel=1e-4)
    assert (report["x_m"], report["y_m"]) == (pytest.approx(0.03, rel=1e-4), pytest.approx(0.0, abs=1e-6))
    assert report["opening"] == pytest.approx(0.1, rel=1e-4)
    assert report["frames"] == 12
    with pytest.raises(ValueError, match="no episodes"):
        pose_error_m(Exact([0.0] * 4), [])
