"""Say how sure a success rate is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist

import numpy as np

Counts = Iterable[tuple[str, int, int]]
"""What was counted: (task, successes, rollouts), one entry a task and seed."""
RESAMPLES = 10_000


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


def mean_over_tasks(counts: Counts) -> float:
    """Return the mean, 0–1, over tasks of each task's success rate, every task weighing the same.

    The counts of one task (several seeds) are added up first. Raises ValueError when there is nothing to average or a
    task has no rollouts.
    """
    strata = _strata(counts)
    return sum(sum(s for s, _ in seeds) / sum(n for _, n in seeds) for seeds in strata.values()) / len(strata)


def mean_interval(counts: Counts, confidence: float = 0.95, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the lower and upper bound, each 0–1, of `mean_over_tasks`: a stratified percentile bootstrap.

    The tasks are those that were chosen, so they stay; within each its seeds are drawn again with replacement, and
    within each seed its rollouts. The same counts give the same bounds. Of one task and one seed it is Wilson's
    interval. Raises ValueError as `mean_over_tasks` does, and for a confidence outside 0–1.

    Source: R. Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical precipice, section 4.1
    (rliable). Two deviations: rollouts are drawn again too, since a task often has one seed; and a seed whose rollouts
    all ended alike is drawn from as if half a rollout more had ended either way, since 10 of 10 is not certain.
    """
    strata = list(_strata(counts).values())
    if len(strata) == 1 and len(strata[0]) == 1:
        return wilson_interval(*strata[0][0], confidence)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence must lie between 0 and 1, got {confidence}.")
    generator = np.random.default_rng(0)
    mean = mean_over_tasks((str(task), s, n) for task, seeds in enumerate(strata) for s, n in seeds)
    means = np.zeros(resamples)
    for seeds in strata:
        successes, rollouts = np.array(seeds).T
        alike = (successes == 0) | (successes == rollouts)
        rates = np.where(alike, (successes + 0.5) / (rollouts + 1.0), successes / rollouts)
        drawn = generator.integers(len(seeds), size=(resamples, len(seeds)))
        worked = generator.binomial(rollouts[drawn], rates[drawn])
        means += worked.sum(axis=1) / rollouts[drawn].sum(axis=1) / len(strata)
    low, high = np.quantile(means, (0.5 - confidence / 2.0, 0.5 + confidence / 2.0))
    return min(float(low), mean), max(float(high), mean)


def _strata(counts: Counts) -> dict[str, list[tuple[int, int]]]:
    """Return the counts of each task, one (successes, rollouts) a seed; seeds without rollouts say nothing."""
    strata: dict[str, list[tuple[int, int]]] = {}
    for task, successes, rollouts in counts:
        if not 0 <= successes <= rollouts:
            raise ValueError(f"There cannot be {successes} successes in {rollouts} rollouts.")
        strata.setdefault(task, []).extend([(successes, rollouts)] if rollouts else [])
    if not strata:
        raise ValueError("There are no tasks to take a mean over.")
    empty = [task for task, seeds in strata.items() if not seeds]
    if empty:
        raise ValueError(f"Task {empty[0]!r} has no rollouts, so it has no success rate.")
    return strata


def interval_text(successes: int, rollouts: int) -> str:
    """Return a success rate with its Wilson 95 % interval: "40 % (22–61)"."""
    if not rollouts:
        return "–"
    low, high = wilson_interval(successes, rollouts)
    return f"{100 * successes / rollouts:.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def mean_text(counts: Counts, emphasis: str = "") -> str:
    """Return a mean over tasks with its bootstrap 95 % interval: "40.4 % (36–45)"; `emphasis` stands around the mean.

    Raises ValueError as `mean_over_tasks` does.
    """
    counts = list(counts)
    low, high = mean_interval(counts)
    return f"{emphasis}{100 * mean_over_tasks(counts):.1f} %{emphasis} ({100 * low:.0f}–{100 * high:.0f})"
