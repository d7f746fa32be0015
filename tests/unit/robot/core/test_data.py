"""The nouns: what of them is computed."""

from __future__ import annotations

import pytest

from robot.core.rates import steps_per_frame


@pytest.mark.parametrize(
    ("stride_s", "rate_hz", "steps"),
    [
        (0.05, 40.0, 2),
        (1 / 3, 30.0, 10),
        (0.05, 1 / 0.025, 2),
        (1 / 3, 1 / 0.033333, 10),  # a step of 1/30 s as a model's card has it
        (0.05, 40.1, 2),  # a measured rate: what a policy would track a rollout does not refuse
        (5.0, 30.02, 150),
    ],
)
def test_a_stride_is_so_many_steps(stride_s: float, rate_hz: float, steps: int) -> None:
    assert steps_per_frame(stride_s, rate_hz) == steps


@pytest.mark.parametrize(("stride_s", "rate_hz"), [(0.06, 40.0), (0.001, 40.0), (0.05, 41.0), (5.0, 30.1)])
def test_what_is_no_whole_number_of_steps_is_refused(stride_s: float, rate_hz: float) -> None:
    with pytest.raises(ValueError, match="whole number of steps"):
        steps_per_frame(stride_s, rate_hz)
