"""A wire that takes 150 ms each way, which is what is supported: the lease lasts, and the arm goes where it is sent."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from hardware.arms.kinematic import KinematicArm, PaintedCamera
from hardware.client.actions import Displacement
from hardware.client.client import ArmClient
from hardware.client.remote import LONGEST_DELAY_S, RemoteRobot
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.wire.clocks import now
from hardware.wire.commands import Decision
from hardware.wire.states import State
from robot.core.data import Action
from tests.faults.driving import free_ports
from tests.faults.slow_wire import slow_wire
from tests.unit.hardware.serving import until

# The lease is what a server has by default. Silence is a little longer, for a machine that is busy with other tests.
SETTINGS = SafetySettings(silence_s=0.4, lease_s=0.5, late_s=3.0, state_age_s=3.0)


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.1, LONGEST_DELAY_S])
def test_a_lease_over_a_slow_wire_lasts_until_its_first_beat_and_on(delay_s: float) -> None:
    arm = KinematicArm()
    with ArmServer(arm, port=free_ports(8), settings=SETTINGS) as server, slow_wire(server.address, delay_s) as address:
        client = ArmClient(address, timeout_s=4.0)
        client.acquire()
        client.arm()
        assert client.clock.error_s == pytest.approx(delay_s, abs=0.05)
        ahead_s = now() + delay_s + np.array([0.2, 0.4])
        points = np.tile(arm.description.home, (2, 1))
        points[:, 0] += (0.02, 0.05)
        assert client.submit(ahead_s, points, now()).decision is Decision.PASS
        until(lambda: arm.position[0] > 0.0499)
        until_s = now() + 1.5
        while now() < until_s:
            assert server.state[0] in (State.HOLDING, State.RUNNING), server.state
        assert client.held
        client.close()


@pytest.mark.slow
def test_a_robot_over_a_slow_wire_observes_and_acts() -> None:
    arm = KinematicArm()
    server = ArmServer(arm, [PaintedCamera(arm)], port=free_ports(8), settings=SETTINGS)
    with server, slow_wire(server.address, LONGEST_DELAY_S) as address:
        action = partial(Displacement, metres_per_unit=0.02, lead_m=1.0)
        robot = RemoteRobot(address, action=action, rate_hz=20.0, timeout_s=4.0, state_age_s=0.15, camera_age_s=0.3)
        try:
            robot.reset(0)
            for _ in range(6):
                robot.observe()
                robot.act(Action(np.array([1.0, 0.0, 0.0, -1.0], np.float32)))
            until(lambda: server.governor.at_rest)
            assert arm.position[0] == pytest.approx(0.12, abs=1e-6)
        finally:
            robot.close()
