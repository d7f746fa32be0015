from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.reports.statistics import mean_interval, mean_over_tasks, wilson_interval

COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_the_bounds_solve_wilsons_equation(counts: tuple[int, int]) -> None:
    """(p̂ − p)² = z² p (1 − p) / n at both bounds: the definition, from which the closed form follows."""
    successes, rollouts = counts
    z = 1.959963984540054
    for bound in wilson_interval(successes, rollouts):
        left = (successes / rollouts - bound) ** 2
        assert math.isclose(left, z * z * bound * (1 - bound) / rollouts, rel_tol=1e-6, abs_tol=1e-12)


@given(COUNTS)
def test_the_interval_holds_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    successes, rollouts = counts
    low, high = wilson_interval(successes, rollouts)
    assert 0.0 <= low <= successes / rollouts <= high <= 1.0
    assert high - low > 0
    other_low, other_high = wilson_interval(rollouts - successes, rollouts)
    assert math.isclose(low, 1 - other_high, abs_tol=1e-12)
    assert math.isclose(high, 1 - other_low, abs_tol=1e-12)


@given(COUNTS, st.integers(2, 10))
def test_more_rollouts_at_the_same_rate_say_more(counts: tuple[int, int], factor: int) -> None:
    successes, rollouts = counts
    low, high = wilson_interval(successes, rollouts)
    nearer_low, nearer_high = wilson_interval(successes * factor, rollouts * factor)
    assert nearer_high - nearer_low < high - low


def test_a_value_from_the_literature() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 gives 0.2553–0.3662, 0 of 20 gives 0–0.1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_no_rollouts_say_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "rollouts"), [(-1, 3), (4, 3), (1, 0)])
def test_impossible_counts_are_refused(successes: int, rollouts: int) -> None:
    with pytest.raises(ValueError, match="successes in"):
        wilson_interval(successes, rollouts)


def test_every_task_weighs_the_same_and_seeds_are_added_up() -> None:
    assert mean_over_tasks([("a", 1, 10), ("a", 3, 10), ("b", 30, 30)]) == pytest.approx(0.6)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no tasks"):
        mean_over_tasks([])
    with pytest.raises(ValueError, match="'b' has no rollouts"):
        mean_over_tasks([("a", 1, 2), ("b", 0, 0)])


def test_the_interval_of_a_mean_is_that_of_its_resampled_tasks() -> None:
    """By hand: two tasks of 1/2 each resample to Bin(4, ½)/4, whose tail at 0 is 1/16: inside 5 %, outside 12.5 %."""
    counts = [("a", 1, 2), ("b", 1, 2)]
    assert mean_interval(counts, confidence=0.75) == (0.25, 0.75)
    assert mean_interval(counts, confidence=0.90) == (0.0, 1.0)


def test_a_task_counts_as_one_however_many_rollouts_it_has() -> None:
    """By hand: of 1/2 and 5,000/10,000 only the first moves, to 0, ½ and 1 with ¼, ½ and ¼; pooled, nothing would."""
    low, high = mean_interval([("a", 1, 2), ("b", 5_000, 10_000)])
    assert (low, high) == pytest.approx((0.25, 0.75), abs=0.01)


def test_tasks_that_differ_in_difficulty_widen_nothing_and_seeds_that_differ_do() -> None:
    """By hand: 0/1000 and 1000/1000 as tasks stay what they are; as seeds of one task they are drawn twice with ½."""
    low, high = mean_interval([("a", 0, 1000), ("b", 1000, 1000)])
    assert 0.49 < low <= 0.5 <= high < 0.51
    assert mean_interval([("a", 0, 1000), ("a", 1000, 1000)]) == pytest.approx((0.0, 1.0), abs=0.01)


def test_one_task_with_one_seed_has_wilsons_interval() -> None:
    assert mean_interval([("a", 3, 20)], 0.9) == wilson_interval(3, 20, 0.9)
    assert mean_interval([("a", 3, 20), ("a", 0, 0)]) == wilson_interval(3, 20)


@given(st.lists(st.tuples(st.sampled_from("abc"), COUNTS), min_size=1, max_size=8))
def test_the_interval_of_a_mean_holds_it_and_is_never_certain(entries: list[tuple[str, tuple[int, int]]]) -> None:
    counts = [(task, successes, rollouts) for task, (successes, rollouts) in entries]
    low, high = mean_interval(counts, resamples=400)
    assert 0.0 <= low <= mean_over_tasks(counts) <= high <= 1.0
    assert high > low
    assert mean_interval(counts, resamples=400) == (low, high)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says_where_a_pooled_one_does_not() -> None:
    """Three tasks, three seeds each, whose rates scatter by 0.1 from seed to seed: known truth, 400 experiments."""
    truth, generator = np.array([0.2, 0.5, 0.8]), np.random.default_rng(1)
    covered = pooled = 0
    for _ in range(400):
        rates = np.clip(truth[:, None] + 0.1 * generator.standard_normal((3, 3)), 0.0, 1.0)
        worked = generator.binomial(20, rates)
        counts = [(str(task), int(worked[task, seed]), 20) for task in range(3) for seed in range(3)]
        low, high = mean_interval(counts, resamples=1000)
        covered += low <= 0.5 <= high
        low, high = wilson_interval(int(worked.sum()), 180)
        pooled += low <= 0.5 <= high
    assert 0.93 <= covered / 400 <= 0.98
    assert pooled / 400 < 0.92


def test_the_interval_of_a_mean_of_nothing_or_of_impossible_counts_is_refused() -> None:
    for counts, said in (([], "no tasks"), ([("a", 1, 2), ("b", 0, 0)], "'b' has no"), ([("a", 3, 2)], "3 successes")):
        with pytest.raises(ValueError, match=said):
            mean_interval(counts)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([("a", 1, 2), ("b", 1, 2)], confidence=1.0)
