"""What is Universal Robots' own: a script on the controller that is paused, ended, resumed and loaded anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.ur import URArm
from robot.core.errors import SailError
from tests.doubles import ur
from tests.doubles.benches import Bench, ur_bench, wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    for bench in ur_bench(tmp_path):
        with bench.installed():
            yield bench


@pytest.fixture
def controller(bench: Bench) -> ur.Controller:
    return ur.controllers["127.0.0.1"]


@pytest.fixture
def driver(bench: Bench, controller: ur.Controller) -> Iterator[URArm]:
    """Return a driver whose arm is on its way."""
    driver = bench.make()
    assert isinstance(driver, URArm)
    driver.connect()
    here = driver.read().position
    controller.body.share = 0.25
    driver.write(here + np.append(np.full(6, 0.02), 0.0))
    yield driver
    driver.close()


def refused(driver: URArm, says: str, times: int = 30) -> None:
    here = np.append(ur.controllers["127.0.0.1"].body.position, 0.085)
    for _ in range(times):
        with pytest.raises(SailError, match=says):
            driver.write(here)


@pytest.mark.parametrize(
    ("safety", "says"), [(ur.PROTECTIVE, "protective stop"), (ur.SAFEGUARD, "safeguard stop"), (None, "was paused")]
)
def test_a_paused_script_is_ended_before_anybody_can_resume_it(
    bench: Bench, controller: ur.Controller, driver: URArm, safety: int | None, says: str
) -> None:
    """A light curtain that is free again resumes the script by itself, and so does a person at the pendant."""
    controller.pause() if safety is None else controller.halt(safety)
    with pytest.raises(SailError, match=says):
        driver.read()
    assert controller.program == ur.STOPPED
    stopped = bench.where()
    controller.unlock()
    controller.play()
    bench.settle()
    np.testing.assert_array_equal(bench.where(), stopped)
    refused(driver, says)


def test_a_script_that_cannot_be_ended_is_told_of(controller: ur.Controller, driver: URArm) -> None:
    controller.dashboard = False
    controller.halt(ur.PROTECTIVE)
    with pytest.raises(SailError, match=r"could not be ended .*Broken pipe.*: end it on the pendant"):
        driver.read()
    controller.dashboard = True


def test_a_protective_stop_is_unlocked_when_a_person_asks_and_not_before_five_seconds(
    bench: Bench, controller: ur.Controller, driver: URArm
) -> None:
    controller.halt(ur.PROTECTIVE)
    refused(driver, "protective stop")
    assert "unlock protective stop" not in controller.heard
    with pytest.raises(SailError, match="until 5s after"):
        driver.recover()
    refused(driver, "protective stop")
    controller.stopped_s -= 6.0
    stopped = bench.where()
    driver.recover()
    assert (controller.safety, controller.program, controller.target) == (ur.NORMAL, ur.PLAYING, None)
    np.testing.assert_array_equal(bench.where(), stopped)
    driver.write(driver.read().position)


@pytest.mark.parametrize(("safety", "says"), [(ur.EMERGENCY, "emergency stop"), (ur.SAFEGUARD, "safeguard stop")])
def test_what_takes_somebody_at_the_pendant_is_left_to_them(
    controller: ur.Controller, driver: URArm, safety: int, says: str
) -> None:
    controller.halt(safety)
    refused(driver, says)
    with pytest.raises(SailError, match=rf"{says}.*pendant"):
        driver.recover()
    assert controller.scripts == 1 and "unlock protective stop" not in controller.heard
    controller.unlock()
    driver.recover()
    driver.write(driver.read().position)


def test_after_an_emergency_stop_the_arm_is_not_switched_on_from_here(controller: ur.Controller, driver: URArm) -> None:
    controller.halt(ur.EMERGENCY)
    refused(driver, "emergency stop")
    controller.safety = ur.NORMAL
    with pytest.raises(SailError, match="release its brakes"):
        driver.recover()
    assert controller.mode == ur.POWER_OFF


def test_the_package_gets_no_command_to_carry_out_after_connecting_anew_by_itself(
    controller: ur.Controller, driver: URArm, monkeypatch
) -> None:
    commands = controller.body.commands
    controller.drop()
    refused(driver, "lost its connection")
    assert (controller.scripts, controller.body.commands) == (1, commands)
    monkeypatch.setattr("hardware.arms.ur.READY_S", 0.05)
    with pytest.raises(SailError, match="start the server anew"):
        driver.recover()
    driver._control._load(controller)  # as the package does in a thread of its own
    refused(driver, "lost its connection")
    driver.recover()
    driver.write(driver.read().position)


def test_a_script_that_ended_is_not_loaded_again_by_itself(controller: ur.Controller, driver: URArm) -> None:
    controller.end()
    refused(driver, "no longer runs its script")
    assert controller.scripts == 1
    driver.recover()
    assert controller.scripts == 2
    driver.write(driver.read().position)


def test_states_that_stood_still_in_mid_motion_are_not_forgotten_when_they_go_on(
    controller: ur.Controller, driver: URArm
) -> None:
    driver.read()
    controller.frozen_at = controller.stamp
    driver.read()
    time.sleep(0.12)
    with pytest.raises(SailError, match="no states any more"):
        driver.read()
    controller.frozen_at = None
    driver.read()
    refused(driver, "no states any more")
    driver.recover()
    driver.write(driver.read().position)


def test_a_state_that_cannot_be_read_is_no_reason_to_go_on(
    controller: ur.Controller, driver: URArm, monkeypatch
) -> None:
    def silent() -> int:
        raise RuntimeError("unable to get state data for specified key: safety_mode")

    monkeypatch.setattr(driver._receive, "getSafetyMode", silent)
    commands = controller.body.commands
    refused(driver, r"does not say its state \(unable to get state data")
    assert controller.body.commands == commands


def test_a_stop_that_is_not_taken_is_told_of(controller: ur.Controller, driver: URArm) -> None:
    controller.end()
    with pytest.raises(SailError, match="took no stop"):
        driver.stop()
    refused(driver, "took no stop")


def test_closing_leaves_no_script_that_could_be_resumed(controller: ur.Controller, driver: URArm) -> None:
    controller.halt(ur.PROTECTIVE)
    driver.close()
    assert controller.program == ur.STOPPED


def test_a_gripper_that_lost_its_power_is_made_ready_by_a_person(bench: Bench, driver: URArm) -> None:
    served = bench.gripper
    served.values["STA"] = 0
    driver.write(np.append(driver.read().position[:-1], 0.02))
    wait_until(lambda: driver._gripper.failed)
    for attempt in (driver.read, driver.recover):
        with pytest.raises(SailError, match="activate it on the pendant"):
            attempt()
    served.values["STA"] = 3
    driver.recover()
    driver.write(np.append(driver.read().position[:-1], 0.03))
    wait_until(lambda: served.values["POS"] == round((1 - 0.03 / 0.085) * 255))
