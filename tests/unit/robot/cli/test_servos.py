"""`sail arm calibrate` and `sail arm setup`, with a person who does what is said and answers what is true."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from hardware.arms import calibrating, servo_setup
from hardware.arms.calibration import read_calibration
from hardware.arms.dynamixel import JOINTS as DYNAMIXEL_JOINTS
from hardware.arms.feetech import JOINTS, NAMES, FeetechArm
from robot.cli import servos
from robot.cli.compose import build, compose
from robot.cli.main import main
from robot.cli.screen import Screen
from robot.core.errors import SailError
from tests.doubles import dynamixel_sdk, scservo_sdk
from tests.doubles.servo_bus import Bus

LEAST, MOST, ZERO = 900, 3100, 2048


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servo_setup, "SETTLE_S", 0.0)
    monkeypatch.setattr(calibrating, "NUDGE_S", 0.0)


@pytest.fixture
def bus() -> Iterator[Bus]:
    """Give a limp SO-101 at /dev/ttyACM0."""
    made = scservo_sdk._buses["/dev/ttyACM0"] = scservo_sdk._Bus()
    for servo in JOINTS.values():
        made.add(servo, 2000)
    with patch.dict(sys.modules, {"scservo_sdk": scservo_sdk}):
        yield made
    scservo_sdk._buses.clear()


class Hands:
    """Do what a person is told, on the double's bus.

    `turned` are the servos that turn the other way. `zero`: where every joint is in the zero pose.
    """

    def __init__(self, bus: Bus, turned: tuple[int, ...] = (), zero: int = ZERO) -> None:
        self.bus, self.turned, self.zero = bus, turned, zero
        self.told: list[str] = []
        self.ends = iter((LEAST, ZERO, MOST, ZERO))
        self.came: dict[int, int] = {}

    def __call__(self, console: Screen) -> Hands:
        return self

    def wait(self, what: str) -> None:
        self.told.append(what)
        if "zero pose" in what:
            self.place(self.zero)
        self.bus.written.clear()

    def place(self, count: int) -> None:
        for servo in JOINTS.values():
            self.bus.place(servo, count)

    def agrees(self, question: str) -> bool:
        self.told.append(question)
        if "Try again" in question:
            return False
        servo = JOINTS[question.split()[1]]
        goals = [value for number, address, value in self.bus.written if (number, address) == (servo, 42)]
        grew = max(goals) > goals[0]
        return grew != (servo in self.turned)

    def is_through(self) -> bool:
        end = next(self.ends, None)
        if end is not None:
            self.place(end)
        return end is None


def calibrated(monkeypatch: pytest.MonkeyPatch, hands: Hands, folder: Path, *words: str) -> int:
    monkeypatch.setattr(servos, "Person", hands)
    config = compose("arm_calibrate", [f"arm.driver.calibration={folder / 'arm.json'}", "serial=bench-2", *words])
    return servos.calibrate(config, True)


def test_an_arm_is_calibrated_by_hand(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hands = Hands(bus, turned=(2, 6))
    assert calibrated(monkeypatch, hands, tmp_path) == 0
    said = json.loads(capsys.readouterr().out)
    fitted = read_calibration(tmp_path / "arm.json", "so101", NAMES)
    assert said["hash"] == fitted.hash and said["calibration"] == str(tmp_path / "arm.json")
    assert fitted.zero.tolist() == [ZERO] * 6 and fitted.serial == "bench-2"
    assert fitted.direction.tolist() == [1, -1, 1, 1, 1, -1]
    assert fitted.low.tolist() == [LEAST + 15] * 6 and fitted.high.tolist() == [MOST - 15] * 6
    assert not bus.energised() and bus.hot == 0
    assert "upper arm upright" in hands.told[0]
    assert any("turn to the right" in one for one in hands.told) and sum("Did " in one for one in hands.told) == 6
    assert all(bus.get(servo, (48, 2)) == (350 if servo == 6 else 1000) for servo in JOINTS.values())
    FeetechArm("/dev/ttyACM0", tmp_path / "arm.json")


def test_a_direction_that_was_not_seen_is_said(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bus.blocked = {3}
    assert calibrated(monkeypatch, Hands(bus, turned=(3,)), tmp_path) == 0
    assert "direction of elbow_flex was not seen and is taken to be 1" in capsys.readouterr().err
    assert read_calibration(tmp_path / "arm.json", "so101", NAMES).direction.tolist() == [1] * 6


def test_the_middle_of_each_way_may_be_its_zero(bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hands = Hands(bus, turned=(6,), zero=2060)
    assert calibrated(monkeypatch, hands, tmp_path, "zero=middle") == 0
    fitted = read_calibration(tmp_path / "arm.json", "so101", NAMES)
    assert fitted.zero.tolist() == [2000] * 5 + [MOST]  # a gripper's where it is shut


def test_servos_that_were_mounted_anyhow_are_given_their_middle_first(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SailError, match=r"The shoulder_pan reads 100 in the zero pose.*homing=true"):
        calibrated(monkeypatch, Hands(bus, zero=100), tmp_path)
    assert not (tmp_path / "arm.json").exists()
    assert calibrated(monkeypatch, Hands(bus, zero=100), tmp_path, "homing=true") == 0
    assert read_calibration(tmp_path / "arm.json", "so101", NAMES).zero.tolist() == [2048] * 6


def test_what_is_there_stays_unless_it_is_to_be_replaced(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "arm.json").write_text("{}")
    hands = Hands(bus)
    with pytest.raises(SailError, match="overwrite=true"):
        calibrated(monkeypatch, hands, tmp_path)
    assert hands.told == [] and (tmp_path / "arm.json").read_text() == "{}"
    assert calibrated(monkeypatch, hands, tmp_path, "overwrite=true", "directions=false") == 0
    assert read_calibration(tmp_path / "arm.json", "so101", NAMES).direction.tolist() == [1] * 6


def test_an_arm_with_torque_is_not_calibrated(bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bus.servos[2][40] = 1
    with pytest.raises(SailError, match="cannot be moved by hand"):
        calibrated(monkeypatch, Hands(bus), tmp_path)
    assert bus.energised() == [2]


def lerobot(folder: Path) -> Path:
    rows = {
        name: {"id": servo, "drive_mode": 0, "homing_offset": 100 * servo, "range_min": 900, "range_max": 3100}
        for name, servo in JOINTS.items()
    }
    (folder / "lerobot.json").write_text(json.dumps(rows))
    return folder / "lerobot.json"


def test_lerobot_s_calibration_is_taken_over_where_the_servos_hold_its_offsets(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"from={lerobot(tmp_path)}"
    with pytest.raises(SailError, match=r"holds the offset 0 and the file says 100.*check=false takes the file"):
        calibrated(monkeypatch, Hands(bus), tmp_path, source)
    for servo in JOINTS.values():
        bus.set(servo, (31, 2), 100 * servo)
    assert calibrated(monkeypatch, Hands(bus), tmp_path, source) == 0
    said = capsys.readouterr()
    assert "middle of its way" in said.err and json.loads(said.out)["serial"] == "bench-2"
    assert read_calibration(tmp_path / "arm.json", "so101", NAMES).zero.tolist() == [2000] * 5 + [900]
    assert not bus.written


def test_lerobot_s_calibration_is_taken_over_without_the_arm_when_asked_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"from={lerobot(tmp_path)}", "check=false")
    config = compose("arm_calibrate", [f"arm.driver.calibration={tmp_path / 'arm.json'}", *words])
    assert servos.calibrate(config, False) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "were not asked" in said and "shoulder_pan 1 2000 1 915 3085" in said
    assert f"is in {tmp_path / 'arm.json'}" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("calibrate", "arm=ur"), "Only arms of bus servos"),
        (("calibrate", "arm=kinematic"), "Only arms of bus servos"),
        (("setup", "arm=franka"), "Only arms of bus servos"),
        (("setup", "joint=nose"), "Known: shoulder_pan"),
        (("calibrate", "zero=left"), "Did you mean middle?"),
        (("calibrate", "from=nowhere.json"), "There is no file nowhere.json"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["arm", *words]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


# Setting up


class Helper:
    """Connect one servo after the other, each new from its box."""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.told = bus, list[str]()

    def __call__(self, console: Screen) -> Helper:
        return self

    def wait(self, what: str) -> None:
        self.told.append(what)
        self.bus.chain.clear()
        self.bus.add(1, 2048)


def test_a_new_arm_s_servos_are_numbered_in_turn(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers: list[int] = []
    helper = Helper(bus)
    monkeypatch.setattr(servos, "Person", helper)
    settle = servos.settle_servo

    def settled(*words):
        changed = settle(*words)
        numbers.append(bus.chain[0][5])
        return changed

    monkeypatch.setattr(servos, "settle_servo", settled)
    assert servos.setup(compose("arm_setup"), True) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == list(JOINTS) and numbers == [1, 2, 3, 4, 5, 6]
    assert said["gripper"] == ["number 1 → 6", "return delay 250 → 0"]
    assert [what.split()[4] for what in helper.told] == list(JOINTS)


def test_one_joint_s_servo_is_numbered_alone(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servos, "Person", Helper(bus))
    assert servos.setup(compose("arm_setup", ["joint=wrist_roll"]), False) == 0
    assert bus.chain[0][5] == 5
    said = capsys.readouterr().out
    assert "wrist_roll is servo 5 now." in said and "wrist_roll: number 1 → 5; return delay 250 → 0." in said


def test_a_whole_arm_connected_is_not_numbered(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hasty(Helper):
        def wait(self, what: str) -> None: ...

    monkeypatch.setattr(servos, "Person", Hasty(bus))
    with pytest.raises(SailError, match="More than one servo answers"):
        servos.setup(compose("arm_setup", ["joint=gripper"]), False)
    assert not bus.written


def test_a_widowx_s_modes_are_set_while_it_has_no_torque(capsys: pytest.CaptureFixture[str]) -> None:
    bus = dynamixel_sdk._buses["/dev/ttyUSB0"] = dynamixel_sdk._Bus()
    for servo in range(1, 10):
        bus.add(servo, 2048)
    bus.servos[9][11] = 16
    with patch.dict(sys.modules, {"dynamixel_sdk": dynamixel_sdk}):
        assert servos.setup(compose("arm_setup", ["arm=widowx", "modes=true"]), True) == 0
    dynamixel_sdk._buses.clear()
    said = json.loads(capsys.readouterr().out)["arm"]
    assert "gripper (servo 9): operating mode 16 → 5" in said
    assert "elbow_second (servo 5): secondary id 255 → 4" in said
    assert set(DYNAMIXEL_JOINTS.values()) < {memory[7] for memory in bus.chain}


# The person


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str) -> servos.Person:
    said = iter(answers)

    def answer(prompt: str = "") -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", answer)
    return servos.Person(Screen(io.StringIO()))


def test_a_question_is_asked_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    person = answering(monkeypatch, "perhaps", " YES ", "n")
    assert person.agrees("Did it [bold]move?")
    assert not person.agrees("Did it move?")
    with pytest.raises(SailError, match="Somebody must be at the terminal"):
        person.wait("Connect it.")


def test_enter_ends_the_sweep_and_a_closed_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(read) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        person = servos.Person(Screen(io.StringIO()))
        assert not person.is_through()
        os.write(write, b"\n")
        assert person.is_through()
        assert not person.is_through()
        os.close(write)
        with pytest.raises(SailError, match="Nobody is at the terminal"):
            person.is_through()


def test_the_table_of_a_sweep_shows_the_least_the_present_and_the_greatest(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    with servos.shown(Screen(out, is_terminal=True, width=80), ("elbow", "gripper")) as show:
        show(np.array([1, 20]), np.array([2, 21]), np.array([3, 22]))
    assert "greatest" in out.getvalue() and "gripper" in out.getvalue() and "22" in out.getvalue()
    with servos.shown(Screen(io.StringIO()), ("elbow",)) as show:
        show(np.array([1]), np.array([2]), np.array([3]))


def test_a_servo_arm_is_told_how_often_commands_come(tmp_path: Path) -> None:
    from tests.doubles.benches import calibration_file

    path = calibration_file(tmp_path, "so101", JOINTS)
    words = ["arm=so101", f"arm.driver.calibration={path}"]

    def made(*more: str) -> FeetechArm:
        arm: FeetechArm = build(compose("arm_serve", [*words, *more]).arm).driver
        return arm

    assert made("safety.servo_hz=125").rate_hz == 125
    with pytest.raises(SailError, match="serve the arm with safety.servo_hz=100"):
        made()
    assert compose("arm_setup").arm.driver.rate_hz == 100.0
