"""What is UFACTORY's own: a box that says by its state, mode and error who holds the arm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.xarm import XArm
from robot.errors import SailError
from tests.doubles import xarm_wrapper
from tests.doubles.benches import Bench, xarm_bench


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
