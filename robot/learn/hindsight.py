"""Measure models against recorded episodes, without a robot: what would have been imagined, and what done.

A planner is asked at some places of an episode and its frames are compared with those the camera saw. An inverse
dynamics is shown the frames that came, as if a planner had imagined them, and its actions are compared with those sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, FloatArray, VideoPlan
from robot.core.errors import SailError
from robot.core.protocols import InverseDynamics, Planner
from robot.rollouts.rollout import plan_seed

RECORDED = "recorded"
"""The planner that a plan of recorded frames names."""


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Say where models are asked: at `windows` places of an episode, for `frames` frames that are `stride` steps apart.

    A frame is due `stride_s` seconds after the one before. `camera`: whose frames they are.
    """

    camera: str
    frames: int
    stride: int
    stride_s: float
    windows: int = 4
    batch: int = 16

    def __post_init__(self) -> None:
        if min(self.frames, self.stride, self.windows, self.batch) < 1:
            raise ValueError("Hindsight needs frames, stride, windows and batch of at least 1.")

    def starts(self, episode: Episode) -> list[int]:
        """Return the steps at which models are asked: spread evenly, each with a whole plan of steps after it.

        An episode shorter than a plan is asked about at its start.
        """
        last = max(0, len(episode) - self.frames * self.stride)
        return [int(one) for one in np.unique(np.linspace(0, last, self.windows).round())]

    def seen(self, episode: Episode, start: int) -> NDArray[np.uint8]:
        """Return the frames that came after a step, uint8 (F, H, W, 3), fewer than `frames` where it was over."""
        places = start + self.stride * np.arange(1, self.frames + 1)
        return episode.frames[self.camera][places[places <= len(episode)]]


@dataclass(slots=True)
class Errors:
    """Add up squared errors: those of a model, and those of what it must beat."""

    model: float = 0.0
    trivial: float = 0.0
    count: int = 0

    def add(self, model: NDArray[np.float64], trivial: NDArray[np.float64]) -> None:
        """Add errors of like shape."""
        self.model += float(np.square(model).sum())
        self.trivial += float(np.square(trivial).sum())
        self.count += model.size

    def rms(self) -> tuple[float, float] | None:
        """Return the root mean square of both, None where there is nothing to say."""
        if not self.count:
            return None
        return float(np.sqrt(self.model / self.count)), float(np.sqrt(self.trivial / self.count))


def imagine(planner: Planner, episode: Episode, where: Hindsight, seed: int, errors: Errors) -> None:
    """Add how far the frames of plans lie from those that came, in units of 0–255, and how far standing still does.

    Raises SailError for plans of other pictures than the camera's.
    """
    starts = [start for start in where.starts(episode) if len(where.seen(episode, start))]
    for begin in range(0, len(starts), where.batch):
        part = starts[begin : begin + where.batch]
        plans = planner.plan(
            [episode.observation(start) for start in part],
            [episode.spoken or episode.instruction] * len(part),
            [plan_seed(seed, start) for start in part],
        )
        for start, plan in zip(part, plans, strict=True):
            seen = where.seen(episode, start).astype(np.float64)
            imagined = plan.frames[: len(seen)]
            if imagined.shape != seen.shape:
                raise SailError(
                    f"The planner imagines {len(plan)} pictures of {_size(plan.frames)} pixels, and episode "
                    f"{episode.episode_id!r} has {_size(episode.frames[where.camera])}."
                )
            errors.add(imagined - seen, episode.frames[where.camera][start] - seen)


def _size(frames: NDArray[np.uint8]) -> str:
    return f"{frames.shape[1]}×{frames.shape[2]}"


@dataclass(slots=True)
class Actions:
    """Collect actions that an inverse dynamics would have sent and those that were: float32 (Da,) each."""

    inferred: list[FloatArray] = field(default_factory=list)
    sent: list[FloatArray] = field(default_factory=list)

    def errors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return the RMS error of each entry and the spread of those that were sent, float64 (Da,) each, or None.

        The spread is the error of an inverse dynamics that always says the mean.
        """
        if not self.sent:
            return None
        sent = np.stack(self.sent).astype(np.float64)
        error = np.stack(self.inferred).astype(np.float64) - sent
        return np.sqrt(np.square(error).mean(axis=0)), sent.std(axis=0)


def infer(inverse_dynamics: InverseDynamics, episode: Episode, where: Hindsight, actions: Actions) -> None:
    """Add the actions inferred from the frames that came, and those that were sent.

    Raises SailError for actions of another size than the episode's.
    """
    starts = [start for start in where.starts(episode) if len(where.seen(episode, start))]
    plans = [
        VideoPlan(where.seen(episode, start), where.stride_s, episode.instruction or RECORDED, 0, RECORDED)
        for start in starts
    ]
    handles = inverse_dynamics.begin([episode.observation(start) for start in starts], plans)
    for step in range(max((len(plan) * where.stride for plan in plans), default=0)):
        going = [number for number, plan in enumerate(plans) if step < len(plan) * where.stride]
        acted = inverse_dynamics.act(
            [episode.observation(starts[number] + step) for number in going],
            [handles[number] for number in going],
            [step] * len(going),
        )
        for number, action in zip(going, acted, strict=True):
            sent = episode.sent[starts[number] + step]
            if action.values.shape != sent.shape:
                raise SailError(
                    f"The inverse dynamics gives {len(action.values)} numbers an action, and episode "
                    f"{episode.episode_id!r} has {len(sent)}: it learnt another robot."
                )
            actions.inferred.append(action.values)
            actions.sent.append(sent)
