"""What is Franka's own: a control session that a reflex or the stop button ends, and a hand that takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware.arms.franka import FrankaArm
from robot.errors import SailError
from tests.doubles import franky
from tests.doubles.benches import Bench, franka_bench


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
