"""The servo's periods: one that comes late reads the arm after its time was up, and that reading is a new one."""

from __future__ import annotations

import time

import pytest

from hardware.arms.kinematic import KinematicArm
from hardware.wire.states import State
from robot.core.joints import JointState
from tests.unit.hardware.serving import armed, served, until


class Odd(KinematicArm):
    """An arm that takes `takes_s` to be read once, or whose readings are `ahead_s` before their time."""

    takes_s = ahead_s = 0.0

    def read(self) -> JointState:
        time.sleep(self.takes_s)
        self.takes_s = 0.0
        state = super().read()
        return JointState(state.position, state.time_s + self.ahead_s)


def test_a_period_that_comes_late_is_no_reading_of_the_future() -> None:
    arm = Odd()
    with served(arm) as server, armed(server):
        for _ in range(3):
            ticks, arm.takes_s = server.servo.counts.ticks, 0.4
            until(lambda ticks=ticks: arm.takes_s == 0.0 and server.servo.counts.ticks > ticks + 5)
            assert server.state[0] is State.HOLDING, server.state[1]


@pytest.mark.parametrize("ahead_s", [0.5, 3600.0])
def test_a_reading_of_a_time_to_come_is_a_fault(ahead_s: float) -> None:
    arm = Odd()
    with served(arm) as server, armed(server):
        arm.ahead_s = ahead_s
        until(lambda: server.state[0] is State.FAULT)
        assert "no time that has been" in server.state[1]
