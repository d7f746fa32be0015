"""Laws of differential inverse kinematics, on an arm of seven joints written here, on one of five, and on the Panda."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import hardware
from hardware.arms.kinematics import ArmKinematics, Pose, Tuning
from robot.core.errors import SailError

PERIOD_S = 0.004
LENGTHS_M = (0.3, 0.0, 0.3, 0.0, 0.3, 0.0, 0.1)
AXES = ("0 0 1", "0 1 0", "0 0 1", "0 1 0", "0 0 1", "0 1 0", "0 0 1")
PANDA = Path(hardware.__file__).parent / "models" / "panda" / "panda.xml"


def chain(joints: int) -> ArmKinematics:
    """Return an arm that stands straight up with every joint at zero, which is a singularity."""
    text, ends = "", ""
    height_m = 0.1
    for number in range(joints):
        text += f'<body name="link{number}" pos="0 0 {height_m}"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
        text += f'<joint name="joint{number}" axis="{AXES[number]}" range="-2.8 2.8"/>'
        height_m = LENGTHS_M[number]
        ends += "</body>"
    xml = (
        '<mujoco><compiler angle="radian" autolimits="true"/><worldbody><body name="finger" pos="1 1 0">'
        '<joint name="other" type="slide"/><geom size="0.01"/></body>'
        f'{text}<site name="tool" pos="0 0 {height_m}"/>{ends}</worldbody></mujoco>'
    )
    model = mujoco.MjModel.from_xml_string(xml)
    return ArmKinematics(model, [f"joint{number}" for number in range(joints)], "tool", np.full(joints, 1.5))


SEVEN, FIVE = chain(7), chain(5)
BENT = np.array([0.2, 0.6, -0.3, 1.4, 0.3, 0.8, 0.1])

angles = some.lists(some.floats(-2.7, 2.7), min_size=7, max_size=7).map(np.array)
twists = some.lists(some.floats(-2.0, 2.0), min_size=6, max_size=6).map(np.array)


def smallest(arm: ArmKinematics, joints: np.ndarray) -> float:
    scale = np.array([1.0] * 3 + [Tuning().length_m] * 3)
    return float(np.linalg.svd(scale[:, None] * arm.jacobian(joints), compute_uv=False)[-1])


@settings(deadline=None, max_examples=20)
@given(angles)
def test_the_jacobian_is_the_derivative_of_the_tools_pose(joints: np.ndarray) -> None:
    step, jacobian = 1e-6, SEVEN.jacobian(joints)
    for number in range(7):
        moved = joints.copy()
        moved[number] += step
        np.testing.assert_allclose(
            SEVEN.forward(joints).twist_to(SEVEN.forward(moved)) / step, jacobian[:, number], atol=1e-4
        )


def test_other_joints_of_the_model_are_none_of_its_business() -> None:
    assert SEVEN.jacobian(BENT).shape == (6, 7)
    np.testing.assert_allclose(SEVEN.forward(np.zeros(7)).position, [0, 0, 0.1 + sum(LENGTHS_M)], atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_it_comes_to_rest_at_a_target_within_reach(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = SEVEN.forward(BENT + rng.uniform(-0.3, 0.3, 7))
    joints = BENT
    for _ in range(300):
        joints = SEVEN.towards(joints, target, 4 * PERIOD_S)
    error = SEVEN.forward(joints).twist_to(target)
    assert np.linalg.norm(error[:3]) < 1e-4
    assert np.linalg.norm(error[3:]) < 1e-3
    assert np.abs(SEVEN.towards(joints, target, PERIOD_S) - joints).max() < 1e-5


def test_it_goes_there_on_a_straight_way() -> None:
    start = SEVEN.forward(BENT)
    target = Pose(start.position + np.array([0.1, -0.08, 0.05]), start.rotation)
    way = (target.position - start.position) / np.linalg.norm(target.position - start.position)
    joints = BENT
    for _ in range(500):
        joints = SEVEN.towards(joints, target, PERIOD_S)
        off = SEVEN.forward(joints).position - start.position
        assert np.linalg.norm(off - way * (off @ way)) < 1e-3


@settings(deadline=None, max_examples=100)
@given(angles, twists)
def test_no_joint_is_ever_faster_than_its_limit(joints: np.ndarray, twist: np.ndarray) -> None:
    assert np.all(np.abs(SEVEN.velocities(joints, 10.0 * twist)) <= 1.5 + 1e-9)
    after = SEVEN.moved(joints, 10.0 * twist, PERIOD_S)
    assert np.all(np.abs(after - joints) <= 1.5 * PERIOD_S + 1e-9)
    assert np.all((after >= SEVEN.low) & (after <= SEVEN.high))


@settings(deadline=None, max_examples=100)
@given(angles, twists, some.floats(0.0, 0.1))
def test_near_a_singularity_joint_velocities_stay_in_proportion(
    joints: np.ndarray, twist: np.ndarray, stretch: float
) -> None:
    """Not by the speed limit, which is set out of the way here, but by the damping: |q̇| ≤ 1.4 |v| / bound."""
    arm = ArmKinematics(SEVEN._model, [f"joint{number}" for number in range(7)], "tool", np.full(7, 1e9))
    tuning = Tuning(push_rad_s=1e-12)
    arm._tuning = tuning
    speed = np.linalg.norm(arm.velocities(stretch * joints, twist))
    scaled = np.linalg.norm(twist * np.array([1.0] * 3 + [tuning.length_m] * 3))
    assert speed <= 1.4 * scaled / tuning.bound_m + 1e-9


def test_away_from_singularities_the_tool_moves_just_as_asked() -> None:
    assert smallest(SEVEN, BENT) > Tuning().bound_m
    twist = np.array([0.05, -0.03, 0.02, 0.1, -0.05, 0.2])
    np.testing.assert_allclose(SEVEN.jacobian(BENT) @ SEVEN.velocities(BENT, twist), twist, atol=1e-6)


def test_where_it_must_slow_down_the_tool_keeps_its_direction() -> None:
    twist = np.array([3.0, -2.0, 1.0, 0.0, 0.0, 0.0])
    got = SEVEN.jacobian(BENT) @ SEVEN.velocities(BENT, twist)
    assert np.linalg.norm(got) < np.linalg.norm(twist)
    np.testing.assert_allclose(got / np.linalg.norm(got), twist / np.linalg.norm(twist), atol=1e-3)


@pytest.mark.parametrize("period_s", [0.004, 0.016, 0.067])
def test_reaching_beyond_its_length_the_arm_stretches_calmly_and_comes_back(period_s: float) -> None:
    """The joints neither race nor swing where the arm gets straight, and the tool is as near as it can be."""
    start = SEVEN.forward(BENT)
    shoulder = np.array([0.0, 0.0, 0.4])
    outwards = (start.position - shoulder) / np.linalg.norm(start.position - shoulder)
    far = Pose(shoulder + 1.5 * outwards, start.rotation)
    joints, steps = BENT, []
    for _ in range(700):
        after = SEVEN.towards(joints, far, period_s)
        steps.append(np.abs(after - joints).max())
        joints = after
    assert max(steps) <= 1.5 * period_s + 1e-9
    assert max(steps[-50:]) < 0.1 * period_s
    assert np.linalg.norm(SEVEN.forward(joints).position - shoulder) > 0.55
    for _ in range(700):
        joints = SEVEN.towards(joints, start, period_s)
    assert np.linalg.norm(SEVEN.forward(joints).twist_to(start)[:3]) < 2e-3


def test_a_spare_joint_leaves_its_limit_while_the_tool_goes_its_way() -> None:
    near = BENT.copy()
    near[0] = 2.7
    twist = np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    with_push = SEVEN.velocities(near, twist)
    arm = chain(7)
    arm._tuning = Tuning(push_rad_s=1e-12)
    without = arm.velocities(near, twist)
    assert with_push[0] < without[0] - 0.03
    np.testing.assert_allclose(SEVEN.jacobian(near) @ with_push, SEVEN.jacobian(near) @ without, atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(angles)
def test_a_tool_that_stands_still_keeps_its_arm_still(joints: np.ndarray) -> None:
    np.testing.assert_allclose(SEVEN.velocities(joints, np.zeros(6)), 0.0, atol=1e-12)


def test_an_arm_of_five_joints_goes_where_it_can() -> None:
    bent = np.array([0.2, 0.6, -0.3, 1.2, 0.3])
    target = FIVE.forward(bent + 0.1)
    joints = bent
    for _ in range(400):
        joints = FIVE.towards(joints, target, 4 * PERIOD_S)
    assert np.linalg.norm(FIVE.forward(joints).twist_to(target)) < 2e-3


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(SailError, match="no joint 'elbow'"):
        ArmKinematics(SEVEN._model, ["elbow"], "tool", np.ones(1))
    with pytest.raises(SailError, match="no site or body 'hand'"):
        ArmKinematics(SEVEN._model, ["joint0"], "hand", np.ones(1))
    with pytest.raises(ValueError, match="speeds"):
        ArmKinematics(SEVEN._model, ["joint0"], "tool", np.ones(2))
    with pytest.raises(ValueError, match="7 joints"):
        SEVEN.forward(np.zeros(6))


@pytest.mark.skipif(not PANDA.exists(), reason="the Panda's model is not here")
def test_the_panda_draws_a_square_over_its_table() -> None:
    from hardware.arms.franka_models import HOME, MODELS

    arm = ArmKinematics(PANDA, [f"joint{number}" for number in range(1, 8)], "tool", 0.2 * MODELS["panda"]["velocity"])
    start = arm.forward(HOME)
    joints = HOME
    for x_m, y_m in ((0.1, 0.0), (0.1, 0.1), (0.0, 0.1), (0.0, 0.0)):
        target = Pose(start.position + np.array([x_m, y_m, 0.0]), start.rotation)
        for _ in range(400):
            joints = arm.towards(joints, target, 4 * PERIOD_S)
        assert np.linalg.norm(arm.forward(joints).twist_to(target)[:3]) < 5e-4


def test_threads_that_ask_at_once_do_not_disturb_each_other() -> None:
    places = [np.full(7, 0.1), np.full(7, 0.9)]
    right = [SEVEN.forward(place).position for place in places]
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(3000):
            if not np.array_equal(SEVEN.forward(places[number]).position, right[number]):
                wrong.append(number)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong
