"""What every simulated arm keeps to: the contract of an `ArmDriver`, and that physics follows the clock alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.core.errors import SailError
from robot.core.joints import Joints, JointState
from robot.core.protocols import ArmDriver, Camera
from sim.arms.metaworld import MetaWorldArm
from sim.arms.panda import SimulatedPanda

Arm = SimulatedPanda | MetaWorldArm
PERIOD_S = 0.004


class Hands:
    """Hold an arm, not connected, and let its time pass."""

    def __init__(self, make: Callable[..., Arm]) -> None:
        self.now_s = [100.0]
        self.arm = make(clock=lambda: self.now_s[0])

    def wait(self, arm: Arm, seconds: float) -> JointState:
        for _ in range(round(seconds / PERIOD_S)):
            self.now_s[0] += PERIOD_S
            arm.read()
        return arm.read()

    def move(self, arm: Arm, goal: Joints, seconds: float = 1.0) -> JointState:
        """Go to `goal` evenly, target by target."""
        start, count = arm.read().position, round(seconds / PERIOD_S)
        for number in range(1, count + 1):
            arm.write(start + (goal - start) * number / count)
            self.now_s[0] += PERIOD_S
        return self.wait(arm, 0.5)


def make_metaworld(**options: object) -> MetaWorldArm:
    return MetaWorldArm("drawer-close", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["panda", "metaworld"])
def hands(request: pytest.FixtureRequest) -> Hands:
    return Hands({"panda": SimulatedPanda, "metaworld": make_metaworld}[request.param])


@pytest.fixture
def arm(hands: Hands) -> Iterator[Arm]:
    hands.arm.connect()
    hands.arm.reset(0)
    yield hands.arm
    hands.arm.close()


def near_home(arm: Arm) -> Joints:
    """Return a goal some way from home, gripper left open, that touches nothing."""
    description = arm.description
    goal = description.home + 0.05 * (description.high - description.low)
    goal[-1] = description.high[-1]
    return np.asarray(goal)


def test_it_is_a_driver_that_knows_its_arm_and_its_cameras_before_it_is_connected(hands: Hands) -> None:
    arm = hands.arm
    description = arm.description
    assert isinstance(arm, ArmDriver)
    assert description.joint_names[-1] == "gripper"
    assert description.serial == "simulated"
    assert arm.cameras and all(isinstance(camera, Camera) for camera in arm.cameras)
    arm.connect()
    assert arm.description is description
    arm.close()


def test_without_a_connection_it_neither_reads_nor_moves(hands: Hands) -> None:
    arm = hands.arm
    with pytest.raises(SailError, match=r"not connected.*\.$"):
        arm.read()
    with pytest.raises(SailError, match="not connected"):
        arm.write(arm.description.home)
    arm.stop()
    before = arm.snapshot[0].copy()
    hands.now_s[0] += 0.2
    arm.connect()
    arm.connect()
    arm.read()
    np.testing.assert_array_equal(arm.snapshot[0], before)
    arm.close()


def test_it_reads_where_the_arm_is_and_when(arm: Arm, hands: Hands) -> None:
    state = arm.read()
    assert state.time_s == hands.now_s[0]
    assert state.position.dtype == np.float64
    assert state.position.shape == (arm.description.size,)
    for values in (state.velocity, state.effort):
        assert values.shape in ((0,), state.position.shape)
        assert np.all(np.isfinite(values))
    kept = state.position.copy()
    hands.move(arm, near_home(arm), 0.3)
    np.testing.assert_array_equal(state.position, kept)


def test_it_rests_at_home_after_a_reset(arm: Arm, hands: Hands) -> None:
    hands.move(arm, near_home(arm))
    arm.reset(3)
    state = hands.wait(arm, 1.0)
    np.testing.assert_allclose(state.position, arm.description.home, atol=0.006)
    assert np.abs(state.velocity).max() < 0.01


def test_it_goes_where_it_is_sent(arm: Arm, hands: Hands) -> None:
    for goal in (near_home(arm), arm.description.home):
        state = hands.move(arm, goal)
        np.testing.assert_allclose(state.position, goal, atol=0.006)


def test_velocity_is_the_change_of_position(arm: Arm, hands: Hands) -> None:
    start, goal, count = arm.description.home, near_home(arm), 200
    states = []
    for number in range(count):
        arm.write(start + (goal - start) * number / count)
        hands.now_s[0] += PERIOD_S
        states.append(arm.read())
    before, after = states[-6], states[-1]  # 20 ms: a whole number of physics steps
    moved = (after.position - before.position) / (after.time_s - before.time_s)
    np.testing.assert_allclose(after.velocity[:-1], moved[:-1], atol=0.15 * np.abs(moved).max())


def test_only_the_clock_moves_it(arm: Arm, hands: Hands) -> None:
    """Read seldom or often, at one instant or many: where the arm is depends on the time alone."""
    seen = []
    for pauses in ([0.2], [0.004] * 50, [0.1, 0.0, 0.05, 0.05]):
        arm.reset(5)
        goal = near_home(arm)
        arm.write(0.95 * arm.description.home + 0.05 * goal)
        for pause_s in pauses:
            hands.now_s[0] += pause_s
            state = arm.read()
        seen.append((state.position, arm.snapshot[0]))
        assert np.abs(state.position - arm.description.home).max() > 1e-4
    for position, pose in seen[1:]:
        np.testing.assert_array_equal(position, seen[0][0])
        np.testing.assert_array_equal(pose, seen[0][1])


def test_a_seed_fixes_the_start_whatever_came_before(arm: Arm, hands: Hands) -> None:
    arm.reset(1)
    first = arm.snapshot[0].copy()
    hands.move(arm, near_home(arm), 0.2)
    arm.reset(2)
    other = arm.snapshot[0].copy()
    arm.reset(1)
    np.testing.assert_array_equal(arm.snapshot[0], first)
    assert np.abs(other - first).max() > 1e-3
    arm.reset()
    np.testing.assert_array_equal(arm.snapshot[0], other)


def test_a_command_that_does_not_fit_is_refused_and_moves_nothing(arm: Arm, hands: Hands) -> None:
    size = arm.description.size
    expected = hands.wait(arm, 0.1).position
    arm.reset(0)
    for wrong in (np.zeros(size + 1), np.zeros(size - 1), np.full(size, np.nan), np.full(size, np.inf)):
        with pytest.raises(ValueError, match="command"):
            arm.write(wrong)
    np.testing.assert_array_equal(hands.wait(arm, 0.1).position, expected)


def test_it_never_goes_beyond_its_limits(arm: Arm, hands: Hands) -> None:
    description = arm.description
    beyond = np.where(description.joint_names == np.array("gripper"), description.high, description.home)
    beyond[0] = description.high[0] + 1.0
    state = hands.move(arm, beyond, 2.0)
    assert state.position[0] <= description.high[0] + 0.01


def test_a_stop_holds_where_the_arm_is(arm: Arm, hands: Hands) -> None:
    goal, home = near_home(arm), arm.description.home
    for number in range(50):
        arm.write(home + (goal - home) * number / 100)
        hands.now_s[0] += PERIOD_S
    here = arm.read()
    assert np.abs(here.velocity).max() > 0.02
    arm.stop()
    settled = hands.wait(arm, 0.5)
    np.testing.assert_allclose(settled.position, here.position, atol=0.03)
    for _ in range(50):  # again and again, without drifting
        arm.stop()
        hands.wait(arm, 0.02)
    np.testing.assert_allclose(arm.read().position, settled.position, atol=0.002)
    np.testing.assert_allclose(hands.move(arm, goal).position, goal, atol=0.006)


def test_the_gripper_opens_and_closes(arm: Arm, hands: Hands) -> None:
    widths = []
    for share in (1.0, 0.0, 1.0):
        goal = arm.description.home.copy()
        goal[-1] = share * arm.description.high[-1]
        widths.append(hands.move(arm, goal).position[-1])
    assert widths[0] == pytest.approx(arm.description.high[-1], abs=0.002)
    assert widths[1] < 0.4 * widths[0]
    assert widths[2] == pytest.approx(widths[0], abs=0.002)


def test_closing_twice_is_allowed_and_connecting_again_too(arm: Arm, hands: Hands) -> None:
    hands.move(arm, near_home(arm))
    arm.close()
    arm.close()
    hands.now_s[0] += 1000.0
    with pytest.raises(SailError, match="not connected"):
        arm.read()
    arm.connect()
    np.testing.assert_allclose(arm.read().position, near_home(arm), atol=0.006)


def test_a_pose_that_was_handed_out_does_not_change(arm: Arm, hands: Hands) -> None:
    pose, time_s = arm.snapshot
    kept = pose.copy()
    hands.move(arm, near_home(arm), 0.2)
    np.testing.assert_array_equal(pose, kept)
    assert arm.snapshot[1] > time_s
