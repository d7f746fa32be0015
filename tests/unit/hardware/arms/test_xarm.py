"""What is UFACTORY's own: a box that says by its state, mode and error who holds the arm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.xarm import XArm
from hardware.arms.xarm_models import MODELS
from robot.core.errors import SailError
from robot.core.joints import Joints
from tests.doubles import xarm_wrapper
from tests.doubles.benches import Bench, wait_until, xarm_bench
from tests.doubles.body import Body


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    for bench in xarm_bench(tmp_path):
        with bench.installed():
            yield bench


@pytest.fixture
def box(bench: Bench) -> xarm_wrapper._Box:
    return xarm_wrapper._boxes["arm"]


@pytest.fixture
def driver(bench: Bench) -> Iterator[XArm]:
    driver = bench.make()
    assert isinstance(driver, XArm)
    driver.connect()
    driver.write(driver.read().position)
    yield driver
    driver.close()


def refused(driver: XArm, says: str, times: int = 30) -> None:
    for _ in range(times):
        with pytest.raises(SailError, match=says):
            driver.write(driver.read().position)


def test_a_report_older_than_the_entry_into_servo_mode_does_not_count(box, driver: XArm) -> None:
    box.reporting = False
    driver._arm._told = (4, 0, 31)
    driver.write(driver.read().position)
    driver._arm._told = (2, 0, 0)
    driver.write(driver.read().position)


def test_a_pause_becomes_a_stop_so_that_nothing_is_caught_up_on(bench: Bench, box, driver: XArm) -> None:
    box.reporting = False
    stopped = bench.where()
    box.halt(3)
    for step in range(1, 20):  # sent before the next report
        driver.write(stopped + step * np.append(np.full(7, 0.001), 0.0))
    np.testing.assert_array_equal(bench.where(), stopped)
    box.reporting = True
    with pytest.raises(SailError, match="was paused elsewhere"):
        driver.read()
    assert box.state == 4
    box.state = 2  # somebody resumes
    bench.settle()
    np.testing.assert_array_equal(bench.where(), stopped)
    refused(driver, "was paused elsewhere")


def test_another_mode_is_another_program(box, driver: XArm) -> None:
    driver.read()
    box.mode = 2
    refused(driver, "mode 2")
    box.mode = 1
    refused(driver, "mode 2")


def test_a_collision_is_cleared_when_a_person_asks_for_it(bench: Bench, box, driver: XArm) -> None:
    box.fail(31)
    refused(driver, "error 31")
    driver.recover()
    assert box.error == 0
    driver.write(bench.where())


def test_the_stop_button_is_named_and_must_be_released_first(bench: Bench, box, driver: XArm) -> None:
    box.press()
    with pytest.raises(SailError, match="error 1, the stop button on its control box is pressed"):
        driver.write(bench.where())
    with pytest.raises(SailError, match="stays stopped: the stop button"):
        driver.recover()
    box.release()
    refused(driver, "stop button")
    driver.recover()
    assert (box.error, box.mode, box.enabled) == (0, 0, False)
    driver.write(bench.where())
    assert (box.mode, box.enabled) == (1, True)


def test_a_box_that_does_not_get_ready_is_not_asked_again_and_again(bench: Bench, box) -> None:
    driver = bench.make()
    driver.connect()
    box.press()
    with pytest.raises(SailError, match="did not get ready"):
        driver.write(bench.where())
    box.release()
    box.error = 0
    refused(driver, "did not get ready")
    assert box.entries == 0
    driver.close()


# The gripper


def with_opening(driver: XArm, opening_m: float) -> Joints:
    position = driver.read().position
    position[-1] = opening_m
    return position


def test_a_gripper_in_error_says_which_and_is_made_ready_by_a_person(box, driver: XArm) -> None:
    box.gripper_error = 11
    wait_until(lambda: driver._gripper.failed)
    with pytest.raises(SailError, match="its error 11"):
        driver.read()
    driver.recover()
    assert box.gripper_error == 0
    driver.write(with_opening(driver, 0.02))
    wait_until(lambda: abs(driver.read().position[-1] - 0.02) < 1e-9)


def test_a_slow_gripper_does_not_hold_up_the_arm(box, driver: XArm) -> None:
    box.slow_s = 0.5
    driver.write(with_opening(driver, 0.02))
    wait_until(lambda: driver._hand._lock.locked())
    began_s = time.monotonic()
    for _ in range(5):
        driver.write(with_opening(driver, 0.02))
    assert time.monotonic() - began_s < 0.3
    box.slow_s = 0.0


def test_the_gripper_moves_while_the_arm_does(box, driver: XArm) -> None:
    box.state = 1
    driver.write(with_opening(driver, 0.02))
    wait_until(lambda: bool(box.moves))


def test_asking_the_gripper_clears_no_error_and_ends_no_stop(box, driver: XArm) -> None:
    """The package would: it mends the rate of the tool's bus, the error that was due to it, and the state."""
    box.reporting = False
    box.baud = 115200
    box.error = 19
    box.halt()
    wait_until(lambda: driver._gripper.failed)
    assert (box.error, box.state) == (19, 4)
    box.reporting = True
    with pytest.raises(SailError, match="error 19"):
        driver.read()
    driver.recover()
    assert (box.error, box.state) == (0, 4)
    driver.write(driver.read().position)


def test_both_connections_are_closed(box, driver: XArm) -> None:
    assert box.connections == 2
    driver.close()
    assert box.connections == 0


def test_an_arm_with_another_gripper_is_told_what_to_set(bench: Bench, box) -> None:
    box.gripper_error = 9
    with pytest.raises(SailError, match=r"error 9.*gripper: false"):
        bench.make().connect()
    assert box.connections == 0


# The models


@pytest.mark.parametrize(
    ("model", "table"),
    [("xarm6", 6), ("xarm6", 61305), ("xarm7", 7), ("xarm7", 71305), ("lite6", 9), ("uf850", 12)],
)
def test_no_limit_is_wider_than_what_the_package_takes_for_any_serial_number(model: str, table: int) -> None:
    rows = np.array(xarm_wrapper._LIMITS[table])
    description = XArm("arm", model, gripper=False).description
    assert np.all(description.low >= rows[:, 0]) and np.all(description.high <= rows[:, 1])
    assert np.all(description.high - description.low > 0.9 * (rows[:, 1] - rows[:, 0]))


def test_a_newer_arm_is_never_refused_within_the_limits(bench: Bench, box) -> None:
    box.serial = "XI130507C04L07"
    driver = XArm("arm", "xarm7")
    driver.connect()
    description = driver.description
    for corner in (description.low, description.high):
        box.body.place(corner[:-1])
        driver.write(np.append(corner[:-1], 0.085))
        np.testing.assert_allclose(box.body.position, corner[:-1])
    driver.close()


@pytest.mark.parametrize("known", list(MODELS))
@pytest.mark.parametrize(
    ("device_type", "joints", "says"),
    [(6, 6, "xArm 6"), (9, 6, "Lite 6"), (12, 6, "850"), (7, 7, "xArm 7"), (13, 7, "mirrored"), (11, 6, "11, with 6")],
)
def test_an_arm_is_told_by_what_its_box_calls_it_and_not_by_its_joints(
    bench: Bench, box, known: str, device_type: int, joints: int, says: str
) -> None:
    box.device_type, box.joints, box.body = device_type, joints, Body(joints)
    driver = XArm("arm", known, gripper=False)
    if MODELS[known].device_type == device_type:
        driver.connect()
        driver.write(driver.read().position)
        driver.close()
    else:
        with pytest.raises(SailError, match=rf"is .*{says}.* and not {known}"):
            driver.connect()


def test_a_lite_6_with_a_gripper_it_cannot_have_is_refused() -> None:
    with pytest.raises(SailError, match="gripper: false"):
        XArm("arm", "lite6")


def test_the_tables_are_those_of_the_package() -> None:
    robot = pytest.importorskip("xarm.core.config.x_config").XCONF.Robot
    for device_type, rows in xarm_wrapper._LIMITS.items():
        joints = len(rows)
        theirs = robot.JOINT_LIMITS[joints][device_type]
        np.testing.assert_allclose(np.array(rows), np.array(theirs), atol=1e-6)
