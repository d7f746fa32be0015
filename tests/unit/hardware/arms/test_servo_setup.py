"""Numbering servos one at a time, and setting the modes of a whole arm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from hardware.arms import servo_setup
from hardware.arms.calibrating import blank
from hardware.arms.calibration import calibration_of
from hardware.arms.dynamixel import DynamixelArm
from hardware.arms.feetech import FeetechArm
from hardware.arms.servo_arm import ServoArm, parts
from hardware.arms.servo_setup import Found, only_servo, settle_modes, settle_servo
from robot.core.errors import SailError
from tests.doubles import dynamixel_sdk, scservo_sdk
from tests.doubles.benches import BENCHES, Bench
from tests.doubles.servo_bus import Bus


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servo_setup, "SETTLE_S", 0.0)


@pytest.fixture(params=["feetech", "dynamixel"])
def table(request: pytest.FixtureRequest) -> Iterator[tuple[ServoArm, Bus]]:
    """Give an arm with no servo connected yet, and its bus."""
    sdk = scservo_sdk if request.param == "feetech" else dynamixel_sdk
    made, model = (FeetechArm, "so101") if request.param == "feetech" else (DynamixelArm, "wx250s")
    bus = sdk._buses["/dev/arm"] = sdk._Bus()
    with patch.dict(sys.modules, {sdk.__name__.rpartition(".")[2]: sdk}):
        arm = made("/dev/arm", calibration_of(blank(model, made.joints), tuple(made.joints), "blank"), model)
        yield arm, bus
        arm.bus.close()
    sdk._buses.clear()


@pytest.mark.parametrize("baud", [1_000_000, 57_600, 115_200])
@pytest.mark.parametrize(("before", "joint"), [(1, "gripper"), (42, "gripper"), (1, "elbow")])
def test_the_only_servo_gets_its_number_its_settings_and_the_rate(
    table: tuple[ServoArm, Bus], baud: int, before: int, joint: str
) -> None:
    arm, bus = table
    servo = next(number for name, number in parts(arm).items() if name.startswith(joint))
    memory = bus.add(before, 2048, baud)
    memory[bus.layout.mode] = 1
    found = only_servo(arm)
    assert (found.servo, found.baud_rate) == (before, baud)
    changed = settle_servo(arm, found, servo)
    assert memory[bus.layout.identity] == servo
    assert bus.layout.rates[memory[bus.layout.baud]] == 1_000_000
    assert memory[arm.kind.delay.address] == 0
    assert memory[bus.layout.mode] == (0 if arm.kind.lock else 5 if joint == "gripper" else 3)
    assert f"number {before} → {servo}" in changed and any("operating mode 1 →" in one for one in changed)
    if arm.kind.lock:
        assert memory[arm.kind.lock.address] == 1
    assert bus.hot == 0
    burns = bus.burns
    assert settle_servo(arm, only_servo(arm), servo) == []
    assert bus.burns == burns


@pytest.mark.parametrize(
    ("servos", "says"),
    [
        ([], "No servo answers at any rate"),
        ([(1, 1_000_000), (2, 1_000_000)], r"\(1 at 1000000 baud, 2 at 1000000 baud\): connect one"),
        ([(1, 1_000_000), (1, 57_600)], r"\(1 at 1000000 baud, 1 at 57600 baud\): connect one"),
        ([(1, 1_000_000), (1, 1_000_000)], "More than one servo answers at 1000000 baud"),
    ],
)
def test_anything_but_one_servo_is_refused_and_left_alone(
    table: tuple[ServoArm, Bus], servos: list[tuple[int, int]], says: str
) -> None:
    arm, bus = table
    for servo, baud in servos:
        bus.add(servo, 2048, baud)
    with pytest.raises(SailError, match=says):
        only_servo(arm)
    assert not bus.written


def test_a_servo_of_another_family_is_refused(table: tuple[ServoArm, Bus]) -> None:
    arm, bus = table
    bus.put(bus.add(1, 2048), bus.layout.model, 350)
    with pytest.raises(SailError, match="of model 350, which is none for a"):
        only_servo(arm)
    assert not bus.written


def test_a_servo_with_torque_is_left_alone(table: tuple[ServoArm, Bus]) -> None:
    arm, bus = table
    bus.add(1, 2048)[bus.layout.torque] = 1
    with pytest.raises(SailError, match="has torque"):
        settle_servo(arm, only_servo(arm), 3)
    assert not bus.written


def test_a_servo_that_takes_no_number_is_told(table: tuple[ServoArm, Bus]) -> None:
    arm, bus = table
    bus.add(1, 2048)
    arm.bus.open()
    bus.refuses = 1
    with pytest.raises(SailError, match=r"does not answer as 3|refuses 0"):
        settle_servo(arm, Found(1, 1_000_000, 777), 3)


@pytest.mark.parametrize("model", [1020, 1060])
def test_a_gripper_s_current_is_limited_where_its_servo_measures_it(model: int) -> None:
    names = tuple(DynamixelArm.joints)
    made = DynamixelArm("/dev/arm", calibration_of(blank("vx300s", DynamixelArm.joints), names, ""), "vx300s")
    wanted = {register.address: value for register, value in made.wanted(9, model).items()}
    assert wanted == {11: 5 if model == 1020 else 3, 9: 0, 10: 0, 12: 255}
    followers = {register.address: value for register, value in made.wanted(3, 1020).items()}
    assert followers == {11: 3, 9: 0, 10: 0, 12: 2}
    assert {register.address: value for register, value in made.wanted(2, 1020).items()}[10] == 1


# A whole arm


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


@pytest.mark.parametrize("bench", ["dynamixel"], indirect=True)
def test_a_gripper_left_in_pwm_is_put_right_and_then_the_arm_connects(bench: Bench) -> None:
    bus, arm = dynamixel_sdk._buses["/dev/arm"], bench.make()
    assert isinstance(arm, DynamixelArm)
    bus.servos[9][11], bus.servos[7][10], bus.servos[3][12] = 16, 8, 255
    for memory in bus.chain:
        memory[9] = 0
    with pytest.raises(SailError, match="sail arm setup"):
        arm.connect()
    assert settle_modes(arm) == [
        "shoulder_second (servo 3): secondary id 255 → 2",
        "wrist_angle (servo 7): drive mode 8 → 1",
        "gripper (servo 9): operating mode 16 → 5",
    ]
    assert bus.burns == 3 and bus.hot == 0
    assert settle_modes(arm) == []
    arm.bus.close()
    arm.connect()
    arm.close()


@pytest.mark.parametrize("bench", ["feetech", "dynamixel"], indirect=True)
def test_no_mode_is_set_while_any_servo_has_torque(bench: Bench) -> None:
    bus = (scservo_sdk if bench.extra == "feetech" else dynamixel_sdk)._buses["/dev/arm"]
    arm = bench.make()
    assert isinstance(arm, ServoArm)
    bus.servos[1][bus.layout.mode] = 1
    bus.servos[6][bus.layout.torque] = 1
    with pytest.raises(SailError, match=r"servo 6\) has torque, and without it the arm would fall"):
        settle_modes(arm)
    assert not bus.written
    bus.cut(6)
    bus.remove(2)
    with pytest.raises(SailError, match=r"There is no shoulder\w* \(servo 2\)"):
        settle_modes(arm)
    assert not bus.written
