"""Say how sure a success rate is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist


def wilson_interval(successes: int, rollouts: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the lower and upper bound, each 0–1, of a success rate seen as `successes` of `rollouts`.

    With no rollouts nothing is known and the interval is (0, 1). Unlike the normal approximation it stays within 0–1
    and has a width at 0 and at `rollouts` successes. Raises ValueError for counts that make no sense.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22,
    209–212 (without continuity correction).
    """
    if not 0 <= successes <= rollouts:
        raise ValueError(f"There cannot be {successes} successes in {rollouts} rollouts.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence must lie between 0 and 1, got {confidence}.")
    if rollouts == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    rate = successes / rollouts
    denominator = 1.0 + z * z / rollouts
    centre = (rate + z * z / (2.0 * rollouts)) / denominator
    half = z * math.sqrt(rate * (1.0 - rate) / rollouts + z * z / (4.0 * rollouts * rollouts)) / denominator
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == rollouts else min(1.0, centre + half)
    return low, high


def mean_over_tasks(counts: Iterable[tuple[str, int, int]]) -> float:
    """Return the mean, 0–1, over tasks of each task's success rate, every task weighing the same.

    `counts`: (task, successes, rollouts); the counts of one task (several seeds) are added up first. Raises ValueError
    when there is nothing to average or a task has no rollouts.
    """
    totals: dict[str, tuple[int, int]] = {}
    for task, successes, rollouts in counts:
        before = totals.get(task, (0, 0))
        totals[task] = (before[0] + successes, before[1] + rollouts)
    if not totals:
        raise ValueError("There are no tasks to take a mean over.")
    empty = [task for task, (_, rollouts) in totals.items() if rollouts == 0]
    if empty:
        raise ValueError(f"Task {empty[0]!r} has no rollouts, so it has no success rate.")
    return sum(successes / rollouts for successes, rollouts in totals.values()) / len(totals)
