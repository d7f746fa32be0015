"""The arm as a `Robot`: what is too old to plan from, what an action becomes, and what ends an attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hardware.arms.kinematic import KinematicArm, PaintedCamera, cartesian
from hardware.client.actions import Displacement, JointPositions
from hardware.client.client import ArmRefusedError
from hardware.client.remote import RemoteRobot, StaleError, StoppedError
from hardware.server.server import ArmServer
from hardware.wire.clocks import now
from hardware.wire.commands import Decision
from hardware.wire.reports import Welcome
from robot.core.data import Action, FloatArray
from robot.core.errors import SailError
from tests.unit.hardware.governed_arms import check_limits, three_joints
from tests.unit.hardware.serving import served, until

RIGHT = Action(np.array([1.0, 0.0, 0.0, -1.0], np.float32))
# An arm that is starved on a busy machine trails far behind; here that must not cut its way short.
MOVES = partial(Displacement, metres_per_unit=0.02, lead_m=1.0)


@contextmanager
def remote(server: ArmServer, **options: Any) -> Iterator[RemoteRobot]:
    options = {"action": MOVES, "rate_hz": 20.0, "state_age_s": 0.5, "camera_age_s": 0.5, "timeout_s": 10.0} | options
    robot = RemoteRobot(server.address, **options)
    try:
        yield robot
    finally:
        robot.close()


def observe_on(robot: RemoteRobot) -> None:
    while True:
        robot.observe()


def act_on(robot: RemoteRobot) -> None:
    while True:
        robot.act(RIGHT)


def test_a_frozen_camera_is_not_taken_for_a_fresh_one() -> None:
    arm = KinematicArm()
    camera = PaintedCamera(arm)
    with served(arm, cameras=[camera]) as server, remote(server) as robot:
        robot.reset(0)
        camera.frozen = True
        with pytest.raises(StaleError, match="camera 'front' is .* s old"):
            observe_on(robot)
        assert robot.ages()["front"] > 0.5
        camera.frozen = False
        until(lambda: robot.ages()["front"] < 0.4)
        robot.observe()


def test_an_arm_whose_server_is_gone_ends_the_attempt() -> None:
    with served() as server, remote(server, timeout_s=0.5) as robot:
        robot.reset(0)
        server.close()
        with pytest.raises(StaleError, match="state is"):
            observe_on(robot)
        with pytest.raises(SailError, match="does not answer"):
            robot.act(RIGHT)


def test_a_person_s_stop_ends_the_attempt_and_a_reset_does_not_clear_it() -> None:
    arm = KinematicArm()
    with served(arm) as server, remote(server) as robot:
        robot.reset(0)
        robot.act(RIGHT)
        robot.client.stop("a person")
        with pytest.raises(StoppedError, match="stopped by a person"):
            act_on(robot)
        until(lambda: server.governor.at_rest)
        with pytest.raises(StoppedError, match="sail arm clear"):
            robot.reset(0)
        robot.client.clear()
        robot.reset(0)


def test_actions_follow_each_other_without_a_stop_between() -> None:
    arm = KinematicArm()
    with served(arm) as server, remote(server, rate_hz=10.0) as robot:
        for _ in range(10):  # nobody can say so of actions that came late, as on a busy machine
            robot.reset(0)
            began, late = server.record.ticks, robot.starved
            for _ in range(14):
                robot.act(RIGHT)
            until(lambda: server.governor.at_rest)
            rows = server.record.rows()[began:]
            assert arm.position[0] == pytest.approx(0.28, abs=1e-9)
            sent = rows[rows[:, 4] > 0][:, 6:10]
            check_limits(sent, arm.description, server.governor.period_s)
            if robot.starved == late:
                break
        else:
            pytest.fail("Every time an action came late.")
    # Once under way the arm stays so, though each action on its own would end in a stop.
    moving = np.flatnonzero(np.diff(sent[:, 0]) > 0)
    assert np.mean(np.diff(sent[moving[0] : moving[-1], 0]) > 0.1 * server.governor.period_s) > 0.7


def test_a_displacement_into_the_wall_says_what_was_sent() -> None:
    arm = KinematicArm()
    with served(arm) as server, remote(server) as robot:
        robot.reset(0)
        sent = [robot.act(RIGHT).values[0] for _ in range(22)]
        assert sent[0] == 1.0
        # From 0 to the soft limit at 0.392 there are 19.6 steps.
        assert np.sum(sent) == pytest.approx(19.6, abs=0.02)
        assert sent[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_displacement_that_is_too_fast_for_the_arm_says_what_is_moved() -> None:
    slow = replace(cartesian(), velocity=np.array([0.1, 0.1, 0.1, 0.3]))  # a displacement of 1 is 0.4 m/s
    arm = KinematicArm(slow)
    with served(arm) as server, remote(server) as robot:
        robot.reset(0)
        sent = [robot.act(RIGHT).values for _ in range(10)]
        until(lambda: server.governor.at_rest)
        moved_m = arm.position[0] - arm.description.home[0]
    assert moved_m < 0.2 and np.all(np.array(sent)[:, 0] < 0.9)
    assert 0.02 * np.sum(sent, axis=0)[0] == pytest.approx(moved_m, abs=1e-6)
    np.testing.assert_array_equal(np.array(sent)[:, 1:], np.tile(RIGHT.values[1:], (10, 1)))


def test_an_axis_that_goes_where_it_was_sent_is_not_changed_by_rounding_because_another_does_not() -> None:
    arm = KinematicArm()
    kind = Displacement(welcome_of(arm.description), 20.0, metres_per_unit=0.02)
    start = arm.description.home.copy()
    start[0] = arm.description.high[0] - 0.001
    kind.begin(start)
    values: FloatArray = np.array([1.0, 0.123, -0.456, 1.0], np.float32)
    goal = kind.target(values, start)
    sent = kind.sent(values, goal, goal)
    assert sent[0] == pytest.approx(0.05, abs=1e-6)
    np.testing.assert_array_equal(sent[1:], values[1:])


def test_a_late_decision_is_counted_and_does_not_speed_up_the_next() -> None:
    with served() as server, remote(server) as robot:
        robot.reset(0)
        robot.act(RIGHT)
        time.sleep(0.3)
        began_s = now()
        robot.act(RIGHT)
        robot.act(RIGHT)
        assert now() - began_s >= 0.095
        assert robot.starved >= 1


def test_a_chunk_is_submitted_without_waiting_and_actions_go_on_from_its_end() -> None:
    arm = KinematicArm()
    with served(arm) as server, remote(server) as robot:
        robot.reset(0)
        goal = np.add(arm.description.home, [0.05, 0.0, 0.0, 0.0])
        began_s = now()
        result = robot.submit(now() + np.array([0.5]), goal[None], seen_s=now())
        assert result.decision is Decision.PASS and now() - began_s < 0.5
        until(lambda: server.governor.at_rest)
        robot.act(RIGHT)
        until(lambda: server.governor.at_rest)
        assert arm.position[0] == pytest.approx(0.07, abs=1e-9)
        old = robot.submit(now() + np.array([0.5]), goal[None], seen_s=now() - 10)
        assert old.decision is Decision.REJECT and "observation" in old.reasons[0]


def test_an_arm_that_another_client_drives_is_refused() -> None:
    with served() as server, remote(server) as robot, remote(server) as other:
        robot.reset(0)
        with pytest.raises(ArmRefusedError, match="robot holds the lease"):
            other.reset(0)


def welcome_of(server_description: Any, margin: float = 0.0) -> Welcome:
    d = server_description
    return Welcome(d, d.low + margin, d.high - margin, "", 250, 100, 0.15, 0.5, {}, {}, {}, 0, 0, 0, False)


@dataclass(frozen=True)
class FlatPose:
    position: NDArray[np.float64]


class TwoLinks:
    """A planar arm of two links of 1 m: the least kinematics there are."""

    def forward(self, joints: NDArray[np.float64]) -> FlatPose:
        first, both = joints[0], joints[0] + joints[1]
        return FlatPose(np.array([np.cos(first) + np.cos(both), np.sin(first) + np.sin(both), 0.0]))

    def towards(self, joints: NDArray[np.float64], target: FlatPose, period_s: float) -> NDArray[np.float64]:
        first, both = joints[0], joints[0] + joints[1]
        jacobian = np.array(
            [[-np.sin(first) - np.sin(both), -np.sin(both)], [np.cos(first) + np.cos(both), np.cos(both)]]
        )
        return joints + np.linalg.solve(jacobian, (target.position - self.forward(joints).position)[:2])


def test_a_jointed_arm_moves_its_tool_by_its_kinematics() -> None:
    kind = Displacement(welcome_of(three_joints()), 20.0, metres_per_unit=0.02, kinematics=TwoLinks())
    start = np.array([0.3, -1.2, 0.08])
    kind.begin(start)
    before = kind.proprio(start)
    assert before[3] == 1.0
    values: FloatArray = np.array([1.0, -0.5, 0.0, 1.0], np.float32)
    goal = kind.target(values, start)
    np.testing.assert_allclose(kind.tool(goal) - kind.tool(start), [0.02, -0.01, 0.0], atol=1e-9)
    assert goal[2] == 0.0
    np.testing.assert_array_equal(kind.sent(values, goal, goal), values)


def test_a_tool_that_is_held_back_does_not_store_up_displacements() -> None:
    arm = KinematicArm()
    kind = Displacement(welcome_of(arm.description), 20.0, metres_per_unit=0.02, lead_m=0.05)
    kind.begin(arm.description.home)
    for _ in range(10):
        goal = kind.target(RIGHT.values, arm.description.home)
        sent = kind.sent(RIGHT.values, goal, goal)
    assert goal[0] == pytest.approx(0.05)
    assert sent[0] == pytest.approx(0.0, abs=1e-6)


def test_joint_limits_lie_within_themselves_after_rounding() -> None:
    welcome = welcome_of(three_joints(), 0.0123456789)
    spec = JointPositions(welcome, 20.0).spec
    assert np.all(spec.low.astype(np.float64) >= welcome.low)
    assert np.all(spec.high.astype(np.float64) <= welcome.high)


def test_displacements_need_kinematics_or_an_arm_that_is_cartesian() -> None:
    with pytest.raises(ValueError, match="kinematics"):
        Displacement(welcome_of(three_joints()), 20.0)
    with pytest.raises(ValueError, match="metres_per_unit"):
        Displacement(welcome_of(KinematicArm().description), 20.0, metres_per_unit=0.5)
