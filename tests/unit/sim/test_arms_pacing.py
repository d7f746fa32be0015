"""Simulated time keeps pace with its clock, however often it is asked."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.arms.pacing import Pacer


@given(st.lists(st.integers(0, 200), max_size=50), st.sampled_from([1, 2, 5]))
def test_steps_add_up_to_the_time_that_passed(pauses_ms: list[int], timestep_ms: int) -> None:
    now = [17.3]
    pacer = Pacer(timestep_ms / 1000, lambda: now[0])
    steps = 0
    for pause_ms in pauses_ms:
        now[0] += pause_ms / 1000
        steps += pacer.due()
    assert steps == sum(pauses_ms) // timestep_ms
    assert pacer.due() == 0
    assert pacer.lost_s == 0


def test_what_nobody_asked_for_in_long_is_left_out_and_told() -> None:
    now = [0.0]
    pacer = Pacer(0.002, lambda: now[0], patience_s=0.1)
    now[0] = 10.0
    assert pacer.due() == 50
    assert pacer.lost_s == pytest.approx(9.9)
    now[0] += 0.02
    assert pacer.due() == 10
    pacer.restart()
    assert pacer.due() == 0


@pytest.mark.parametrize(("timestep_s", "patience_s"), [(0.0, 0.1), (-0.001, 0.1), (0.01, 0.005)])
def test_steps_that_make_no_sense_are_refused(timestep_s: float, patience_s: float) -> None:
    with pytest.raises(ValueError, match="timestep_s"):
        Pacer(timestep_s, lambda: math.pi, patience_s)
