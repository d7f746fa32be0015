"""Tell numbers of an episode that no model should learn from: what is not a number, times that stand still, no rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robot.core.data import Episode

SEEN, DONE = ("proprio", "states"), ("requested", "sent", "reward")
"""Arrays with a row an observation, and with a row an action."""

MOST_STILL = 0.1
"""Share of observations that may bear the time of the one before, as on an arm whose wire was slow for a moment; times
that were rounded too far, or of which there is but one, stand still far more often."""

NAMES = {
    "proprio": "proprioception",
    "states": "the simulator's state",
    "requested": "the action asked for",
    "sent": "the action sent",
    "reward": "the reward",
}


@dataclass(frozen=True, slots=True)
class Weakness:
    """Say what is wrong with an episode's numbers.

    `wrong`: in words, to follow the episode's name. `steps`: how many of its first actions are sound. `times`, `rate`:
    whether its times, or its rate, are what is wrong; with the first, `ordered`: whether none of them goes back.
    """

    wrong: str
    steps: int
    times: bool = False
    ordered: bool = True
    rate: bool = False


def weakness(episode: Episode) -> Weakness | None:
    """Return what is wrong with the numbers of an episode, None where nothing is; the worst of several comes first.

    Every number must be finite, no observation earlier than the one before, few at the same time, and the rate, where
    it is known, above 0.
    """
    return _numbers(episode) or _times(episode) or _rate(episode)


def tells_time(episode: Episode) -> bool:
    """Return whether the times of an episode go on, but for a few observations, and never go back."""
    return _times(episode) is None


def is_rate(rate_hz: object) -> bool:
    """Return whether something can be a rate."""
    return isinstance(rate_hz, int | float) and math.isfinite(rate_hz) and rate_hz > 0


def _numbers(episode: Episode) -> Weakness | None:
    first: dict[str, int] = {}
    for name in (*SEEN, *DONE):
        values = getattr(episode, name)
        if values is None or np.isfinite(values).all():
            continue
        odd = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        first[name] = int(odd[0])
    if not first:
        return None
    name = min(first, key=lambda one: first[one])
    # Observation k is what action k − 1 led to: with it gone k − 1 actions are whole.
    steps = min(step - 1 if one in SEEN else step for one, step in first.items())
    return Weakness(f"holds what is no number in {NAMES[name]} of step {first[name]}", max(steps, 0))


def _times(episode: Episode) -> Weakness | None:
    times_s = episode.times_s
    if not np.isfinite(times_s).all():
        return Weakness("has times that are no numbers", 0, times=True, ordered=False)
    gaps = np.diff(times_s)
    if (gaps < 0).any():
        step = int(np.flatnonzero(gaps < 0)[0]) + 1
        return Weakness(f"is out of order: step {step} is earlier than the one before it", 0, times=True, ordered=False)
    if (gaps == 0).sum() > MOST_STILL * len(gaps):
        return Weakness(f"has the same time at {int((gaps == 0).sum()) + 1} of {len(times_s)} steps", 0, times=True)
    return None


def _rate(episode: Episode) -> Weakness | None:
    if episode.spec is None:
        return None
    rate_hz = episode.spec.action.rate_hz
    return None if is_rate(rate_hz) else Weakness(f"says that its robot is driven at {rate_hz} Hz", 0, rate=True)
