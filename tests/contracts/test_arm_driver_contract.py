"""What every `ArmDriver` keeps to: each maker's, over a double of its package, and the kinematic fake."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints
from robot.core.protocols import ArmDriver, Recoverable
from tests.doubles.benches import BENCHES, Bench, wait_until

LATCHED = ("dynamixel", "feetech", "franka", "kinematic", "ur", "xarm")
"""The drivers that keep to: stopped elsewhere, they take no control again by themselves."""


@pytest.fixture(params=list(BENCHES))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


@pytest.fixture
def driver(bench: Bench) -> Iterator[ArmDriver]:
    driver = bench.make()
    driver.connect()
    yield driver
    driver.close()


def nearby(bench: Bench, description: ArmDescription, seed: int = 0) -> Joints:
    """Return a position within the limits, a little away from where the arm is."""
    step = np.random.default_rng(seed).uniform(0.02, 0.05, description.size) * (description.high - description.low)
    here = np.clip(bench.where(), description.low, description.high)
    return np.where(here + step < description.high, here + step, here - step)


def same(bench: Bench, position: Joints, wanted: Joints) -> bool:
    difference = np.abs(position - wanted)
    return bool(np.all(difference[:-1] <= bench.resolution) and difference[-1] <= max(bench.resolution, 0.0013))


def assert_is_a_sentence(error: pytest.ExceptionInfo[SailError]) -> None:
    said = str(error.value)
    assert said.endswith(".")
    assert said[0].isupper()
    assert "\n" not in said


def test_it_is_a_driver_and_knows_its_arm_without_a_connection_or_the_package(bench: Bench) -> None:
    with patch.dict(sys.modules):
        for module in bench.modules:
            sys.modules[module] = None  # type: ignore[assignment]
        driver = bench.make()
        assert isinstance(driver, ArmDriver)
        description = driver.description
    assert description.name
    assert description.joint_names[-1] == "gripper"
    assert np.all(description.low <= description.home) and np.all(description.home <= description.high)


def test_what_it_describes_does_not_change_with_a_connection(bench: Bench) -> None:
    driver = bench.make()
    before = driver.description
    driver.connect()
    after = driver.description
    driver.close()
    assert before.joint_names == after.joint_names
    for name in ("low", "high", "velocity", "acceleration", "jerk", "home"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_without_a_connection_it_neither_reads_nor_commands(bench: Bench) -> None:
    driver = bench.make()
    before = bench.commands()
    with pytest.raises(SailError, match="not connected") as error:
        driver.read()
    assert_is_a_sentence(error)
    with pytest.raises(SailError, match="not connected"):
        driver.write(bench.where())
    driver.stop()  # nothing to stop is no error
    driver.close()
    assert bench.commands() == before


def test_connecting_moves_nothing_and_commands_nothing(bench: Bench) -> None:
    before = bench.where()
    driver = bench.make()
    driver.connect()
    driver.connect()  # connecting twice changes nothing either
    bench.settle()
    driver.close()
    np.testing.assert_array_equal(bench.where(), before)


def test_it_reads_where_the_arm_is_and_when(bench: Bench, driver: ArmDriver) -> None:
    began_s = time.monotonic()
    state = driver.read()
    assert state.position.dtype == np.float64
    assert state.position.shape == (driver.description.size,)
    assert same(bench, state.position, bench.where())
    assert began_s - 0.1 <= state.time_s <= time.monotonic()
    for values in (state.velocity, state.effort):
        assert values.shape in ((0,), state.position.shape)
        assert np.all(np.isfinite(values))


def test_what_it_read_stays_as_it_was(bench: Bench, driver: ArmDriver) -> None:
    state = driver.read()
    kept = state.position.copy()
    driver.write(nearby(bench, driver.description))
    driver.read()
    np.testing.assert_array_equal(state.position, kept)


def test_a_command_reaches_the_arm(bench: Bench, driver: ArmDriver) -> None:
    for seed in range(3):
        wanted = nearby(bench, driver.description, seed)
        driver.write(wanted)
        wait_until(lambda wanted=wanted: same(bench, bench.where(), wanted))
        wait_until(lambda wanted=wanted: same(bench, driver.read().position, wanted))


def test_the_first_command_does_not_jump(bench: Bench, driver: ArmDriver) -> None:
    """Whatever the arm was last told by another program, taking control of it moves nothing."""
    bench.lag(0.25)  # an arm that was sent elsewhere first would not be back at once
    bench.settle()
    before = bench.where()
    driver.write(driver.read().position)
    assert same(bench, bench.where(), before)


def test_a_command_that_does_not_fit_is_refused_and_moves_nothing(bench: Bench, driver: ArmDriver) -> None:
    size = driver.description.size
    before, commands = bench.where(), bench.commands()
    for wrong in (np.zeros(size + 1), np.zeros(size - 1), np.full(size, np.nan), np.full(size, np.inf)):
        with pytest.raises(ValueError, match="command"):
            driver.write(wrong)
    assert bench.commands() == commands
    np.testing.assert_array_equal(bench.where(), before)


def test_a_stop_holds_where_the_arm_is(bench: Bench, driver: ArmDriver) -> None:
    driver.write(driver.read().position)
    bench.lag(0.25)
    driver.write(nearby(bench, driver.description))
    arm = driver.description.size - 1
    stopped = bench.where()[:arm]
    driver.stop()
    for _ in range(20):
        bench.settle()
        driver.stop()  # again and again, without drifting
    assert np.all(np.abs(bench.where()[:arm] - stopped) <= 2 * bench.resolution)


def test_a_loaded_arm_does_not_sink_with_every_stop(bench: Bench, driver: ArmDriver) -> None:
    driver.write(driver.read().position)
    began = bench.where()[:-1]
    bench.load(0.01)
    bench.settle()
    for _ in range(20):
        driver.stop()
        bench.settle()
    sunk = np.abs(bench.where()[:-1] - began)
    assert np.all(sunk <= 0.02 + 3 * bench.resolution)  # once with the load and once with the stop


def test_after_a_stop_it_moves_again(bench: Bench, driver: ArmDriver) -> None:
    driver.stop()
    driver.write(nearby(bench, driver.description))
    driver.stop()
    wanted = nearby(bench, driver.description, 1)
    driver.write(wanted)
    wait_until(lambda: same(bench, bench.where(), wanted))


def test_a_cut_wire_is_told_in_one_sentence(bench: Bench, driver: ArmDriver) -> None:
    driver.write(driver.read().position)
    bench.cut()
    with pytest.raises(SailError) as error:
        driver.read()
    assert_is_a_sentence(error)
    with pytest.raises(SailError) as error:
        driver.write(bench.where())
    assert_is_a_sentence(error)
    driver.close()
    driver.close()


def test_closing_twice_is_allowed_and_connecting_again_too(bench: Bench, driver: ArmDriver) -> None:
    driver.write(nearby(bench, driver.description))
    driver.close()
    driver.close()
    with pytest.raises(SailError, match="not connected"):
        driver.read()
    driver.connect()
    assert same(bench, driver.read().position, bench.where())
    driver.write(nearby(bench, driver.description, 1))


def test_an_arm_that_is_not_there_is_told_in_one_sentence(bench: Bench) -> None:
    driver = bench.make()
    bench.remove()
    with pytest.raises(SailError) as error:
        driver.connect()
    assert_is_a_sentence(error)
    driver.close()


def test_a_missing_package_is_told_with_the_command_that_installs_it(bench: Bench) -> None:
    if not bench.extra:
        pytest.skip("needs no package")
    driver = bench.make()
    for module in bench.modules:
        with patch.dict(sys.modules, {module: None}):
            with pytest.raises(SailError, match=rf'pip install "sail-stack\[{bench.extra}\]"') as error:
                driver.connect()
            assert_is_a_sentence(error)
            driver.close()


# Stopped elsewhere: by the arm's own button, its maker's program, or a collision.

latched = pytest.mark.parametrize("bench", LATCHED, indirect=True)


def send_on_its_way(bench: Bench, driver: ArmDriver, seed: int = 0) -> Joints:
    """Let the arm lag, send it somewhere and return where to; its gripper stays as it is."""
    driver.write(driver.read().position)
    bench.lag(0.25)
    wanted = nearby(bench, driver.description, seed)
    wanted[-1] = driver.read().position[-1]
    driver.write(wanted)
    return wanted


def read_and_write(driver: ArmDriver, wanted: Joints) -> None:
    """Do what a servo period does."""
    driver.read()
    driver.write(wanted)


def assert_nothing_takes_hold(bench: Bench, driver: ArmDriver, wanted: Joints) -> None:
    """Write and stop a hundred times more: each write raises, and nothing changes on the arm."""
    before, control, commands = bench.where(), bench.control(), bench.commands()
    for _ in range(100):
        with pytest.raises(SailError):
            driver.write(wanted)
        driver.stop()
    bench.settle()
    np.testing.assert_array_equal(bench.where(), before)
    assert bench.control() == control
    assert bench.commands() == commands


@latched
def test_stopped_elsewhere_it_says_so_and_takes_hold_no_more(bench: Bench, driver: ArmDriver) -> None:
    wanted = send_on_its_way(bench, driver)
    bench.halt_elsewhere()
    with pytest.raises(SailError) as error:
        read_and_write(driver, wanted)
    assert_is_a_sentence(error)
    assert_nothing_takes_hold(bench, driver, wanted)


@latched
def test_reading_notices_a_stop_given_elsewhere(bench: Bench, driver: ArmDriver) -> None:
    wanted = send_on_its_way(bench, driver)
    bench.halt_elsewhere()
    with pytest.raises(SailError) as error:
        driver.read()
    assert_is_a_sentence(error)
    with contextlib.suppress(SailError):  # servos without torque say so as long as they have none
        assert same(bench, driver.read().position, bench.where())
    assert_nothing_takes_hold(bench, driver, wanted)


@latched
@pytest.mark.parametrize("reading", [True, False])
def test_it_does_not_go_on_when_the_stop_is_taken_away_elsewhere(
    bench: Bench, driver: ArmDriver, reading: bool
) -> None:
    wanted = send_on_its_way(bench, driver)
    bench.halt_elsewhere()
    with pytest.raises(SailError):
        driver.read() if reading else read_and_write(driver, wanted)
    stopped = bench.where()
    bench.release_elsewhere()
    bench.settle()
    np.testing.assert_array_equal(bench.where(), stopped)
    assert_nothing_takes_hold(bench, driver, wanted)


@latched
def test_connecting_anew_takes_control_again(bench: Bench, driver: ArmDriver) -> None:
    wanted = send_on_its_way(bench, driver)
    bench.halt_elsewhere()
    with pytest.raises(SailError):
        read_and_write(driver, wanted)
    bench.release_elsewhere()
    driver.close()
    driver.connect()
    assert_follows_without_a_jump(bench, driver)


@latched
@pytest.mark.parametrize("released", [True, False])
def test_a_person_lets_it_go_on_from_where_it_stands(bench: Bench, driver: ArmDriver, released: bool) -> None:
    assert isinstance(driver, Recoverable)
    wanted = send_on_its_way(bench, driver)
    bench.halt_elsewhere()
    with pytest.raises(SailError):
        read_and_write(driver, wanted)
    if released:
        bench.release_elsewhere()
    stopped = bench.where()
    driver.recover()
    bench.settle()
    driver.stop()
    np.testing.assert_array_equal(bench.where(), stopped)
    assert_follows_without_a_jump(bench, driver)


def assert_follows_without_a_jump(bench: Bench, driver: ArmDriver) -> None:
    bench.lag(0.25)
    before = bench.where()
    driver.write(driver.read().position)
    assert same(bench, bench.where(), before)
    bench.lag(1.0)
    wanted = nearby(bench, driver.description, 2)
    driver.write(wanted)
    wait_until(lambda: same(bench, bench.where(), wanted))


@latched
def test_where_nothing_is_to_be_cleared_nothing_is_done(bench: Bench, driver: ArmDriver) -> None:
    assert isinstance(driver, Recoverable)
    send_on_its_way(bench, driver)
    before, control, commands = bench.where(), bench.control(), bench.commands()
    driver.recover()
    np.testing.assert_array_equal(bench.where(), before)
    assert (bench.control(), bench.commands()) == (control, commands)
    assert_follows_without_a_jump(bench, driver)


@latched
def test_without_a_connection_there_is_nothing_to_recover(bench: Bench) -> None:
    driver = bench.make()
    assert isinstance(driver, Recoverable)
    with pytest.raises(SailError, match="not connected"):
        driver.recover()
