"""What every `Learner` keeps to: the toy one, and those of the planner and of inverse dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from planners.denoisers import StackedUNet
from planners.latent_video import LatentVideoPlanner
from policies.frame_training import finetune_pose_network
from policies.pose_network import PoseNetwork, PoseNetworkShape, save_pose_network
from policies.pose_tracking import PoseTracking
from robot.core.data import Episode, Verdict
from robot.core.protocols import Learner
from robot.core.training import TrainingSettings
from robot.learn.finetuning import (
    FrameOptions,
    InverseDynamicsInForce,
    InverseDynamicsLearner,
    PlannerInForce,
    PlannerLearner,
)
from tests.fakes import ToyLearner, ToyPlanner, toy_episode

SIZE = 32
SETTINGS = TrainingSettings(steps=2, batch_size=4, learning_rate=1e-2, warmup_steps=1, ema_decay=0.0, precision="fp32")

Made = tuple[Learner, Callable[[], Any], Sequence[Episode]]
"""A learner, what names the model in force, and episodes it can learn from."""


class Words:
    """Encode every text as its length."""

    dim = 8
    config: dict[str, Any] = {"kind": "words"}  # noqa: RUF012

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        states = torch.stack([torch.full((2, 8), len(text) / 10) for text in texts])
        return states, torch.ones(len(texts), 2, dtype=torch.bool)


def filmed(seed: int) -> Episode:
    """Return a toy episode with a camera and a gripper's pose."""
    rng = np.random.default_rng(seed)
    steps = 6
    base = toy_episode([False] * steps, seed=seed)
    return Episode(
        task="door-close",
        instruction="close the door",
        robot="fake",
        frames={"corner2": rng.integers(0, 256, (steps + 1, SIZE, SIZE, 3), np.uint8)},
        proprio=rng.uniform(0, 1, (steps + 1, 4)).astype(np.float32),
        requested=np.zeros((steps, 4), np.float32),
        sent=np.zeros((steps, 4), np.float32),
        times_s=base.times_s,
        outcome=base.outcome,
        seed=seed,
    )


def of_toy(_: Path) -> Made:
    planner = ToyPlanner({"go right": 0.5})
    return ToyLearner(planner), lambda: planner.identity, [toy_episode([True] * 3, seed=seed) for seed in range(2)]


def of_planner(_: Path) -> Made:
    torch.manual_seed(0)
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), text_dim=8, heads=2, groups=4)
    autoencoder = FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=SIZE).eval()
    starter = LatentVideoPlanner(denoiser, autoencoder, Words(), image_size=(SIZE, SIZE), precision="fp32")
    in_force = PlannerInForce(starter)

    def load(folder: Path) -> LatentVideoPlanner:
        return LatentVideoPlanner.load(folder, autoencoder, starter.text_encoder, precision="fp32")

    learner = PlannerLearner(in_force, load, lambda: [filmed(100)], SETTINGS)
    return learner, lambda: in_force.identity, [filmed(1), filmed(2)]


def of_inverse_dynamics(folder: Path) -> Made:
    torch.manual_seed(0)
    shape = PoseNetworkShape(size=SIZE, widths=(8, 8, 16, 16), keypoints=4, attended=2, hidden=16)
    save_pose_network(folder / "starter", PoseNetwork(shape))
    load = partial(PoseTracking.load, precision="float32")
    in_force = InverseDynamicsInForce(load(folder / "starter"))
    learner = InverseDynamicsLearner(
        in_force,
        folder / "starter",
        load,
        finetune_pose_network,
        lambda: [filmed(100)],
        SETTINGS,
        FrameOptions(size=SIZE),
    )
    return learner, lambda: in_force.current.identity, [filmed(1), filmed(2)]  # type: ignore[attr-defined]


LEARNERS = {"toy": of_toy, "planner": of_planner, "inverse dynamics": of_inverse_dynamics}
VERDICTS = [Verdict(0.9, "truth"), Verdict(0.2, "truth")]


@pytest.fixture(params=list(LEARNERS))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Made]:
    return lambda: LEARNERS[request.param](tmp_path)


def test_it_is_a_learner(make: Callable[[], Made]) -> None:
    learner, _, _ = make()
    assert isinstance(learner, Learner)
    assert isinstance(learner.needs_success, bool)


def test_an_update_puts_another_model_in_force_and_measures(make: Callable[[], Made], tmp_path: Path) -> None:
    learner, identity, episodes = make()
    before = identity()
    metrics = learner.update(episodes, VERDICTS, tmp_path / "one", 5)
    assert metrics
    assert all(np.isfinite(value) for value in metrics.values())
    assert identity() != before


def test_what_was_saved_and_what_was_there_at_first_can_be_restored(make: Callable[[], Made], tmp_path: Path) -> None:
    learner, identity, episodes = make()
    names = [identity()]
    for name in ("one", "two"):
        learner.update(episodes, VERDICTS, tmp_path / name, 5)
        names.append(identity())
    assert len(set(names)) == 3
    learner.restore(tmp_path / "one")
    assert identity() == names[1]
    learner.restore(None)
    assert identity() == names[0]


def test_an_update_that_ended_before_it_was_written_down_gives_the_same_model(
    make: Callable[[], Made], tmp_path: Path
) -> None:
    found = []
    for _ in range(2):
        learner, identity, episodes = make()
        learner.update(episodes, VERDICTS, tmp_path / "one", 5)
        found.append(identity())
    assert found[0] == found[1]


def test_another_seed_gives_another_model(make: Callable[[], Made], tmp_path: Path) -> None:
    found = []
    for seed in (5, 6):
        learner, identity, episodes = make()
        learner.update(episodes, VERDICTS, tmp_path / str(seed), seed)
        found.append(identity())
    assert found[0] != found[1]
