"""MetaWorld's arm behind the driver's interface is MetaWorld: the same starts, motion and success."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robot.core.data import Action
from robot.core.errors import UnknownNameError
from robot.core.joints import Joints
from sim.arms.metaworld import ACTION_M, MetaWorldArm, effort_from_opening, opening_from_effort, tool_position
from sim.experts import ScriptedExpert
from sim.metaworld import MetaWorldRobot
from sim.tasks import INSTRUCTIONS

Draw = Callable[[int, int], list[Action]]


MakeRobot = Callable[..., MetaWorldRobot]
BLIND: dict[str, object] = {"cameras": (), "action_repeat": 1}


class Wait:
    """Be a clock that goes on when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self, seconds: float) -> None:
        self.now_s += seconds


Connect = Callable[[str], tuple[MetaWorldArm, Wait]]


@pytest.fixture(scope="module")
def connect() -> Connect:
    """Return a function that gives a task's arm, connected and at the start of seed 0, and lets its time pass."""
    made: dict[str, tuple[MetaWorldArm, Wait]] = {}

    def connect(task: str) -> tuple[MetaWorldArm, Wait]:
        if task not in made:
            wait = Wait()
            made[task] = (MetaWorldArm(task, clock=lambda: wait.now_s), wait)
        made[task][0].connect()
        made[task][0].reset(0)
        return made[task]

    return connect


def record_expert(robot: MetaWorldRobot, seed: int) -> list[Joints]:
    """Return where the scripted expert puts MetaWorld's mocap body, and its gripper's command, 80 times a second."""
    expert = ScriptedExpert(robot.task, 0)
    robot.reset(seed)
    positions = []
    for _ in range(400):
        sent = robot.act(expert.act(robot))
        positions.append(np.array([*robot.scene[1].mocap_pos[0], opening_from_effort(float(sent.values[3]))]))
        if robot.succeeded():
            return positions
    raise AssertionError(f"The expert does not do {robot.task} from seed {seed}.")


@pytest.mark.parametrize("task", ["drawer-close", "push"])
def test_at_metaworlds_own_pace_it_is_metaworld_bit_for_bit(
    make_robot: MakeRobot, connect: Connect, random_actions: Draw, task: str
) -> None:
    robot, expert = make_robot(task, **BLIND), ScriptedExpert(task, 0)
    arm, wait = connect(task)
    first, same = robot.reset(3), arm.reset(3)
    np.testing.assert_array_equal(first.state, same.state)
    wandering = random_actions(20, 1)
    for number in range(60):
        sent = robot.act(wandering[number] if number < 20 else expert.act(robot))
        arm.write(np.array([*robot.scene[1].mocap_pos[0], opening_from_effort(float(sent.values[3]))]))
        wait(1 / 80)
        arm.read()
        # The effort comes back from an opening in other last digits than it went.
        np.testing.assert_allclose(arm.robot.state(), robot.state(), atol=1e-6)
    assert arm.succeeded() == robot.succeeded()


def test_an_action_is_a_displacement_of_what_was_written_last(make_robot: MakeRobot, connect: Connect) -> None:
    """So a policy trained in simulation is sent through the wire."""
    robot = make_robot("reach", cameras=())
    arm, wait = connect("reach")
    robot.reset(1)
    arm.reset(1)
    target, move = arm.description.home[:3].copy(), np.array([0.9, -0.5, 0.3, -1.0], np.float32)
    for _ in range(8):
        robot.act(Action(move))
        for _ in range(2):  # the robot repeats each action twice
            target += ACTION_M * move[:3]
            arm.write(np.array([*target, opening_from_effort(float(move[3]))]))
            wait(1 / 80)
            arm.read()
    np.testing.assert_allclose(arm.read().position[:3], robot.proprio()[:3], atol=1e-4)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_experts_positions_close_the_drawer(make_robot: MakeRobot, connect: Connect, seed: int) -> None:
    """They are sent as a server sends them: in between at 250 Hz, with none of MetaWorld's own steps in sight."""
    positions = np.array(record_expert(make_robot("drawer-close", **BLIND), seed))
    arm, wait = connect("drawer-close")
    arm.reset(seed)
    assert not arm.succeeded()
    times_s = np.arange(len(positions)) / 80
    for passed_s in np.arange(0.0, times_s[-1] + 0.5, 0.004):
        arm.read()
        arm.write(np.array([np.interp(passed_s, times_s, column) for column in positions.T]))
        wait(0.004)
    arm.read()
    assert arm.succeeded()
    arm.reset(seed)
    assert not arm.succeeded()


def test_doing_nothing_does_not_close_it(connect: Connect) -> None:
    arm, wait = connect("drawer-close")
    for _ in range(250):
        arm.write(arm.description.home)
        wait(0.01)
    arm.read()
    assert not arm.succeeded()


def test_an_opening_stands_for_an_effort_and_back() -> None:
    assert opening_from_effort(-1) == pytest.approx(0.1)
    assert opening_from_effort(1) == 0.0
    for effort in np.linspace(-1, 1, 21):
        assert effort_from_opening(opening_from_effort(effort)) == pytest.approx(effort, abs=1e-12)
    assert effort_from_opening(-1.0) == 1.0
    assert effort_from_opening(7.0) == -1.0


def test_the_opening_read_is_a_tenth_of_what_metaworld_senses(connect: Connect) -> None:
    arm, wait = connect("reach")
    for effort in (-1.0, 1.0, 0.0):
        for _ in range(60):
            arm.write(np.array([*arm.description.home[:3], opening_from_effort(effort)]))
            wait(1 / 80)
        assert arm.read().position[3] == pytest.approx(0.1 * arm.robot.proprio()[3], abs=1e-4)


def test_every_motion_of_a_policy_is_within_what_a_governor_allows(connect: Connect) -> None:
    description = connect("drawer-close")[0].description
    fastest_m_s = ACTION_M * 80
    reached_s = fastest_m_s / description.acceleration[:3] + description.acceleration[:3] / description.jerk[:3]
    assert np.all(description.velocity[:3] > 1.2 * fastest_m_s)
    assert np.all(reached_s < 0.05)


def test_its_camera_is_where_the_robots_is_and_its_tool_where_its_joints_say(
    make_robot: MakeRobot, connect: Connect
) -> None:
    robot, (arm, _) = make_robot("drawer-close"), connect("drawer-close")
    matrices = arm.camera_matrices
    assert matrices.keys() == robot.spec.camera_matrices.keys() == {"corner2"}
    np.testing.assert_array_equal(matrices["corner2"], robot.spec.camera_matrices["corner2"])
    np.testing.assert_array_equal(tool_position(arm.read().position), arm.read().position[:3])


def test_a_target_outside_the_workspace_is_brought_back_into_it(connect: Connect) -> None:
    arm, wait = connect("drawer-close")
    high = arm.description.high
    for _ in range(300):
        arm.write(np.array([0.0, 0.6, high[2] + 3.0, 0.1]))
        wait(0.01)
    assert arm.read().position[2] == pytest.approx(high[2], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("task", list(INSTRUCTIONS))
def test_every_task_has_an_arm_that_holds_still_at_home(connect: Connect, task: str) -> None:
    arm, wait = connect(task)
    for _ in range(50):
        arm.write(arm.description.home)
        wait(0.01)
    np.testing.assert_allclose(arm.read().position[:3], arm.description.home[:3], atol=0.02)


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(UnknownNameError, match="drawer-close"):
        MetaWorldArm("drawer-closed")
