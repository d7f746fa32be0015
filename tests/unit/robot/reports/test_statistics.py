from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.reports.statistics import mean_over_tasks, wilson_interval

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
