"""What is UFACTORY's own: a box that says by its state, mode and error who holds the arm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.xarm import XArm
from robot.arm import Joints
from robot.errors import SailError
from tests.doubles import xarm_wrapper
from tests.doubles.benches import Bench, wait_until, xarm_bench


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
