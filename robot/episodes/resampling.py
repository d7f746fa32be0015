"""Take an episode's poses and actions at the times of a robot that runs at another rate."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from robot.core.data import ActionSpec, Episode, FloatArray
from robot.core.errors import SailError
from robot.episodes.easing import Drive, drives_of

Times = NDArray[np.float64]
SLACK = 1e-4
"""What a displacement may exceed its limits by for rounding."""


def resampled(episode: Episode, rate_hz: float, robots_hz: float) -> Episode:
    """Return an episode recorded at `rate_hz` as it goes at `robots_hz`; its spec is the robot's.

    Poses, and actions that are targets, are interpolated between the steps around; displacements add up to the same
    path, so that a step of twice the time moves twice as far; whatever else an action holds stays as it was then.
    Pictures are those of the nearest step; simulator states, plans and what is known of steps are left out.
    Raises SailError where the names of the actions do not say what they drive, or a step would have to move farther
    than the robot does in one.
    """
    assert episode.spec is not None
    drives = {drive.driven: drive for drive in drives_of(episode.spec)}
    if not drives:
        raise SailError(
            f"Episode {episode.episode_id!r} cannot be taken at another rate: the names of its actions do not say "
            "whether they are targets or displacements."
        )
    if not len(episode):
        return episode
    count = max(math.floor(len(episode) * robots_hz / rate_hz + 1e-6), 1)
    times: Times = np.arange(count + 1, dtype=np.float64) * (rate_hz / robots_hz)  # in steps of the episode
    columns = [
        _column(episode.sent[:, entry].astype(np.float64), times, drives.get(entry))
        for entry in range(episode.sent.shape[1])
    ]
    sent = np.stack(columns, axis=1).astype(np.float32)
    _check_reach(episode, sent, episode.spec.action, drives, robots_hz)
    nearest = np.clip(np.rint(times), 0, len(episode)).astype(np.int64)
    return dataclasses.replace(
        episode,
        frames={name: frames[nearest] for name, frames in episode.frames.items()},
        proprio=_interpolated(episode.proprio, times),
        requested=sent,
        sent=sent,
        times_s=times / rate_hz,
        plans=(),
        states=None,
        success=None,
        reward=None,
        intervention=None,
    )


def _interpolated(rows: FloatArray, times: Times) -> FloatArray:
    """Return rows, (T + 1, D), at times counted in rows."""
    places = np.arange(len(rows))
    return np.stack([np.interp(times, places, rows[:, entry]) for entry in range(rows.shape[1])], 1).astype(np.float32)


def _column(values: NDArray[np.float64], times: Times, drive: Drive | None) -> NDArray[np.float64]:
    """Return one entry of the actions, float64 (T,), at the first of each two `times`, which are one more."""
    places = np.arange(len(values))
    if drive is None:
        return values[np.minimum(np.floor(times[:-1] + 1e-6).astype(np.int64), len(values) - 1)]
    if drive.worth:
        return np.diff(np.interp(times, np.arange(len(values) + 1), np.concatenate([[0.0], np.cumsum(values)])))
    return np.interp(times[:-1], places, values)


def _check_reach(
    episode: Episode, sent: FloatArray, action: ActionSpec, drives: dict[int, Drive], robots_hz: float
) -> None:
    for entry, drive in drives.items():
        low, high = float(action.low[entry]) * (1 + SLACK), float(action.high[entry]) * (1 + SLACK)
        own = sent[:, entry]
        if drive.worth and len(own) and not (low <= own.min() and own.max() <= high):
            raise SailError(
                f"Episode {episode.episode_id!r} moves too fast for {robots_hz:g} steps a second: a step would need "
                f"{action.names[entry]} of {own[np.argmax(np.abs(own))]:.3g}, and {action.low[entry]:g} to "
                f"{action.high[entry]:g} is what there is."
            )
