"""Episodes to write, break and read again; every one is a function of its seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from robot.core.data import Action, Episode, Observation, Outcome, PlacedPlan, SamplerSettings, VideoPlan
from robot.episodes.description import Heading
from robot.episodes.writer import EpisodeWriter
from tests.fakes import SPEC

ARRAYS = ("proprio", "requested", "sent", "times_s", "states", "success", "reward", "intervention")
FIELDS = ("task", "instruction", "spoken", "robot", "outcome", "seed", "config_hash")


def episode(steps: int = 3, task: str = "reach", seed: int = 5, size: int = 8, **changes: Any) -> Episode:
    rng = np.random.default_rng(seed)
    plan = VideoPlan(
        frames=rng.integers(0, 256, (2, 8, 8, 3), np.uint8),
        stride_s=0.05,
        instruction="reach the goal",
        seed=9,
        planner="abc",
        settings=SamplerSettings(guidance_scale=2.5, negative_prompt="open the door"),
    )
    values: dict[str, Any] = {
        "task": task,
        "instruction": "reach the goal",
        "spoken": "push the puck",
        "robot": "toy",
        "frames": {"top": rng.integers(0, 256, (steps + 1, size, size, 3), np.uint8)},
        "proprio": rng.normal(size=(steps + 1, 2)).astype(np.float32),
        "requested": rng.normal(size=(steps, 2)).astype(np.float32),
        "sent": rng.normal(size=(steps, 2)).astype(np.float32),
        "times_s": np.arange(steps + 1) / 40,
        "states": rng.normal(size=(steps + 1, 7)),
        "success": np.arange(steps) == steps - 1,
        "reward": rng.normal(size=steps).astype(np.float32),
        "intervention": np.arange(steps) % 2 == 0,
        "outcome": Outcome.SUCCESS if steps else Outcome.INFRASTRUCTURE_FAULT,
        "seed": seed,
        "plans": tuple(PlacedPlan(step, plan) for step in (0, 2) if step < max(steps, 1)),
        "config_hash": "c0ffee",
        "spec": SPEC,
    }
    return Episode(**{**values, **changes})


def assert_same(first: Episode, second: Episode, steps: int | None = None) -> None:
    """Assert that two episodes are equal bit for bit; with `steps`, that the second begins with all of the first."""
    for name in ARRAYS:
        mine, theirs = getattr(first, name), getattr(second, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            theirs = theirs[: len(mine)] if steps is not None else theirs
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes(), (
                name
            )
    assert list(first.frames) == list(second.frames)
    for name, frames in first.frames.items():
        assert np.array_equal(frames, second.frames[name][: len(frames)] if steps is not None else second.frames[name])
    plans = second.plans if steps is None else [placed for placed in second.plans if placed.step < steps]
    assert [placed.step for placed in first.plans] == [placed.step for placed in plans]
    for mine, theirs in zip(first.plans, plans, strict=True):
        assert np.array_equal(mine.plan.frames, theirs.plan.frames)
        for name in ("stride_s", "instruction", "seed", "planner", "settings"):
            assert getattr(mine.plan, name) == getattr(theirs.plan, name)
    if steps is None:
        assert [getattr(first, name) for name in FIELDS] == [getattr(second, name) for name in FIELDS]


def record(writer: EpisodeWriter, whole: Episode) -> None:
    """Record an episode step by step, plans when they begin."""
    writer.observe(whole.observation(0))
    for step in range(len(whole)):
        for placed in whole.plans:
            if placed.step == step:
                writer.plan(placed.plan)
        assert whole.success is not None and whole.reward is not None
        writer.step(
            Action(whole.requested[step]),
            Action(whole.sent[step]),
            Observation(*_fields(whole.observation(step + 1))),
            bool(whole.success[step]),
            float(whole.reward[step]),
            None if whole.intervention is None else bool(whole.intervention[step]),
        )


def _fields(observation: Observation) -> tuple[Any, ...]:
    return observation.images, observation.proprio, observation.time_s, observation.state


def main(folder: str, first: int, count: int, name: str = "") -> None:
    """Record `count` episodes into a store, saying so on stdout, as a process of its own."""
    for seed in range(first, first + count):
        whole = episode(steps=60, seed=seed, size=32)
        print(f"open {seed}", flush=True)
        with EpisodeWriter(Path(folder), Heading.of(whole), name, flush_every=5) as writer:
            record(writer, whole)
            print(f"sealed {writer.seal(whole.outcome)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
