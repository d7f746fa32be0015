"""What is Franka's own: a control session that a reflex or the stop button ends, and a hand that takes its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.franka import FrankaArm
from hardware.server.safety import Governor
from hardware.wire.commands import Command, Decision
from robot.core.errors import SailError
from robot.core.joints import Joints, JointState
from tests.doubles import franky
from tests.doubles.benches import Bench, franka_bench, wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    for bench in franka_bench(tmp_path):
        with bench.installed():
            yield bench


@pytest.fixture
def arm(bench: Bench) -> franky._Arm:
    return franky._arms["arm"]


@pytest.fixture
def driver(bench: Bench) -> Iterator[FrankaArm]:
    driver = bench.make()
    assert isinstance(driver, FrankaArm)
    driver.connect()
    yield driver
    driver.close()


def refused(driver: FrankaArm, says: str, times: int = 30) -> None:
    for _ in range(times):
        with pytest.raises(SailError, match=says):
            driver.write(driver.read().position)


def test_the_stop_button_must_be_released_before_the_arm_is_made_ready(arm: franky._Arm, driver: FrankaArm) -> None:
    driver.write(driver.read().position)
    arm.press()
    with pytest.raises(SailError, match="User Stop pressed"):
        driver.read()
    with pytest.raises(SailError, match="stop button of the Franka at arm is pressed"):
        driver.recover()
    arm.clear()
    refused(driver, "User Stop pressed")
    driver.recover()
    assert (arm.sessions, arm.session) == (1, None)
    driver.write(driver.read().position)
    assert arm.sessions == 2 and arm.session is not None


def test_an_arm_that_could_not_be_taken_is_not_tried_again_and_again(arm: franky._Arm, driver: FrankaArm) -> None:
    arm.press()
    here = driver.read().position
    driver.write(here)  # the package tells only a moment later that the arm refused
    with pytest.raises(SailError, match="not possible in the current mode"):
        driver.write(here)
    arm.clear()
    refused(driver, "not possible in the current mode")
    assert arm.sessions == 1


def test_an_arm_whose_error_stays_is_told_of(arm: franky._Arm, driver: FrankaArm, monkeypatch) -> None:
    driver.write(driver.read().position)
    arm.reflex()
    refused_by_the_arm = property(lambda self: True)
    monkeypatch.setattr(franky.Robot, "has_errors", refused_by_the_arm)
    monkeypatch.setattr(franky.Robot, "recover_from_errors", lambda self: False)
    with pytest.raises(SailError, match="cartesian_reflex"):
        driver.read()
    with pytest.raises(SailError, match="in error and stays so"):
        driver.recover()
    refused(driver, "cartesian_reflex", 1)


def test_an_arm_with_its_stop_button_pressed_is_not_connected(bench: Bench, arm: franky._Arm) -> None:
    arm.press()
    with pytest.raises(SailError, match="stop button"):
        bench.make().connect()


# The hand


def with_opening(driver: FrankaArm, opening_m: float) -> Joints:
    position = driver.read().position
    position[-1] = opening_m
    return position


def test_a_hand_that_a_stop_interrupted_goes_on_to_serve(arm: franky._Arm, driver: FrankaArm) -> None:
    arm.slow = threading.Event()
    driver.write(with_opening(driver, 0.0))
    wait_until(lambda: bool(arm.grasps))
    driver.stop()
    wait_until(arm.slow.is_set)
    wait_until(lambda: not driver._gripper._moving)
    assert driver.read().position[-1] == 0.08
    arm.slow = None
    driver.write(with_opening(driver, 0.03))
    wait_until(lambda: driver.read().position[-1] == 0.03)


def test_a_hand_that_is_slow_to_stop_does_not_hold_up_the_arm(arm: franky._Arm, driver: FrankaArm) -> None:
    arm.slow, arm.stop_s = threading.Event(), 1.0
    driver.write(with_opening(driver, 0.02))
    wait_until(lambda: bool(arm.moves))
    began_s = time.monotonic()
    driver.stop()
    driver.read()
    assert time.monotonic() - began_s < 0.5


def test_one_closing_command_led_in_by_the_governor_is_one_grasp(arm: franky._Arm, driver: FrankaArm) -> None:
    arm.blocked_at = 0.03
    governor = Governor(driver.description)
    now_s = 100.0
    measured = JointState(driver.read().position, now_s)
    governor.place(measured, afresh=True)
    assert governor.arm(now_s, measured) == ""
    shut = np.clip(measured.position, governor.low, governor.high)
    shut[-1] = 0.0
    result = governor.offer(Command(0, np.array([now_s + 0.1]), shut[None]), now_s)
    assert result.decision is not Decision.REJECT
    for _ in range(int(0.8 / governor.period_s)):
        now_s += governor.period_s
        governor.beat(now_s)
        setpoint = governor.step(now_s, JointState(driver.read().position, now_s))
        driver.write(setpoint.position)
        time.sleep(governor.period_s)
    wait_until(lambda: arm.width == 0.03)
    assert len(arm.grasps) == 1 and arm.grasps[0][0] == 0.0
    assert arm.moves == []


@pytest.mark.parametrize("opening_m", [0.05, 0.02, 0.006])
def test_an_opening_between_is_moved_to_and_grasps_nothing(
    arm: franky._Arm, driver: FrankaArm, opening_m: float
) -> None:
    driver.write(with_opening(driver, opening_m))
    wait_until(lambda: driver.read().position[-1] == opening_m)
    driver.write(with_opening(driver, opening_m + 0.01))
    wait_until(lambda: driver.read().position[-1] == opening_m + 0.01)
    assert arm.grasps == []


@pytest.mark.parametrize("opening_m", [0.0, 0.0008, 0.005])
def test_an_opening_that_is_as_good_as_shut_grasps(arm: franky._Arm, driver: FrankaArm, opening_m: float) -> None:
    """The governor keeps a margin to every limit, and never asks for quite 0."""
    driver.write(with_opening(driver, opening_m))
    wait_until(lambda: bool(arm.grasps))
    driver.write(with_opening(driver, 0.0))
    time.sleep(0.15)
    assert len(arm.grasps) == 1 and arm.moves == []


def test_a_hand_that_failed_says_how_and_is_made_ready_by_a_person(arm: franky._Arm, driver: FrankaArm) -> None:
    arm.hand_fails = True
    driver.write(with_opening(driver, 0.02))
    wait_until(lambda: driver._gripper.failed)
    with pytest.raises(SailError, match=r"on its way to 0\.020 m \(libfranka gripper: Command failed!\)"):
        driver.read()
    arm.hand_fails, arm.hand_lost = False, True
    with pytest.raises(SailError, match="Connection to FCI refused"):
        driver.recover()
    arm.hand_lost = False
    driver.recover()
    driver.write(with_opening(driver, 0.04))
    wait_until(lambda: driver.read().position[-1] == 0.04)


def test_a_failed_hand_does_not_keep_the_arm_from_braking(arm: franky._Arm, driver: FrankaArm) -> None:
    driver.write(with_opening(driver, 0.08))
    arm.hand_lost = True
    wait_until(lambda: driver._gripper.failed)
    targets = len(arm.targets)
    with pytest.raises(SailError, match="gripper failed"):
        driver.write(np.append(arm.body.position, 0.08))
    assert len(arm.targets) == targets + 1


# Settings


def test_the_arm_is_told_its_stiffness_payload_and_what_a_collision_is(bench: Bench, arm: franky._Arm) -> None:
    inertia = [0.01, 0.001, 0.0, 0.001, 0.02, 0.0, 0.0, 0.0, 0.03]
    driver = FrankaArm(
        "arm",
        stiffness=[100.0, 200.0, 300.0, 400.0, 50.0, 60.0, 70.0],
        payload_kg=0.5,
        payload_centre_m=[0.0, 0.01, 0.12],
        payload_inertia_kg_m2=inertia,
        collision_torque_nm=40.0,
        collision_force_n=60.0,
    )
    driver.connect()
    assert arm.settings["load"] == (0.5, [0.0, 0.01, 0.12], inertia)
    assert (arm.settings["torque"], arm.settings["force"]) == (40.0, 60.0)
    driver.write(driver.read().position)
    np.testing.assert_array_equal(arm.settings["stiffness"], [100.0, 200.0, 300.0, 400.0, 50.0, 60.0, 70.0])
    driver.close()


def test_a_payload_that_nobody_gave_is_left_as_it_is(arm: franky._Arm, driver: FrankaArm) -> None:
    assert "load" not in arm.settings
    assert arm.homings == 0
    another = FrankaArm("arm", payload_kg=0.0)  # nothing carried is told, too
    another.connect()
    another.close()
    assert arm.settings["load"][0] == 0.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"stiffness": [600.0] * 6}, "stiffness must be 7 finite numbers"),
        ({"stiffness": [600.0] * 6 + [-1.0]}, "none below 0"),
        ({"stiffness": 600.0}, "stiffness"),
        ({"payload_kg": -0.1}, "payload_kg must be a finite number, none below 0"),
        ({"payload_kg": float("nan")}, "payload_kg"),
        ({"payload_kg": 1.0, "payload_centre_m": [0.0, 0.1]}, "payload_centre_m must be 3"),
        ({"payload_kg": 1.0, "payload_inertia_kg_m2": [0.0] * 3}, "payload_inertia_kg_m2 must be 9"),
        ({"payload_kg": 1.0, "payload_inertia_kg_m2": [0.0, 1.0] + [0.0] * 7}, "symmetric"),
        ({"collision_force_n": float("inf")}, "collision_force_n"),
        ({"grasp_force_n": 71.0}, "up to 70 N"),
        ({"grasp_force_n": 0.0}, "up to 70 N"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(SailError, match=says):
        FrankaArm("arm", **wrong)


def test_a_payload_the_arm_refuses_is_named(bench: Bench, arm: franky._Arm, monkeypatch) -> None:
    def refuse(self, load_mass, F_x_Cload, load_inertia):
        raise RuntimeError("libfranka: Set Load command rejected: invalid argument!")

    monkeypatch.setattr(franky.Robot, "set_load", refuse)
    with pytest.raises(SailError, match=r"does not take its payload \(.*invalid argument!\): look at payload_kg"):
        FrankaArm("arm", payload_kg=300.0).connect()


def test_the_hand_is_homed_where_that_was_asked_for_and_nowhere_else(bench: Bench, arm: franky._Arm) -> None:
    arm.width = 0.02
    driver = FrankaArm("arm", home_gripper=True)
    driver.connect()
    assert (arm.homings, driver.read().position[-1]) == (1, 0.08)
    driver.close()
    arm.hand_fails = True
    with pytest.raises(SailError, match="Command failed"):
        FrankaArm("arm", home_gripper=True).connect()
    FrankaArm("arm", gripper=False, home_gripper=True).connect()
    assert arm.homings == 2


def test_a_hand_that_failed_is_not_homed_when_it_is_made_ready(bench: Bench, arm: franky._Arm) -> None:
    driver = FrankaArm("arm", home_gripper=True)
    driver.connect()
    arm.hand_lost = True
    wait_until(lambda: driver._gripper.failed)
    arm.hand_lost = False
    driver.recover()
    assert arm.homings == 1
    driver.close()
