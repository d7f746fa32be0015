"""What is each maker's own: how an arm refuses, how a gripper takes its time, what a servo must be set up like."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from hardware.arms.calibrating import blank, measured
from hardware.arms.calibration import calibration_of, read_calibration
from hardware.arms.dynamixel import DynamixelArm, twos_complement
from hardware.arms.feetech import NAMES as FEETECH_NAMES
from hardware.arms.feetech import FeetechArm, sign_and_magnitude
from hardware.arms.franka import FrankaArm
from hardware.arms.gripper import GripperThread
from hardware.arms.robotiq import RobotiqGripper
from hardware.arms.ur import URArm
from hardware.arms.xarm import XArm
from robot.errors import SailError
from tests.doubles import dynamixel_sdk, franky, robotiq, scservo_sdk, ur, xarm_wrapper
from tests.doubles.benches import BENCHES, Bench, calibration_file, wait_until

FEETECH_IDS = {name: number + 1 for number, name in enumerate(FEETECH_NAMES)}


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [name], indirect=True)


# Every arm


@pytest.mark.parametrize(
    ("make", "joints"),
    [
        (lambda: FrankaArm("arm", "panda"), 8),
        (lambda: FrankaArm("arm", gripper=False), 7),
        (lambda: URArm("arm", "ur10e"), 6),
        (lambda: URArm("arm", "ur3e", gripper="robotiq-2f140"), 7),
        (lambda: XArm("arm", "xarm6"), 7),
        (lambda: XArm("arm", "xarm7", gripper=False), 7),
    ],
)
def test_models_and_grippers_have_their_own_descriptions(make, joints: int) -> None:
    assert make().description.size == joints


def test_a_share_slows_the_arm_and_not_its_gripper() -> None:
    whole, part = FrankaArm("arm", share=1.0).description, FrankaArm("arm", share=0.25).description
    np.testing.assert_allclose(part.velocity[:-1], 0.25 * whole.velocity[:-1])
    np.testing.assert_allclose(part.jerk[:-1], 0.25 * whole.jerk[:-1])
    assert part.velocity[-1] == whole.velocity[-1]
    np.testing.assert_array_equal(part.high, whole.high)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_beyond_the_makers_limits_is_refused(share: float) -> None:
    with pytest.raises(SailError, match="share"):
        FrankaArm("arm", share=share)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FrankaArm("arm", "fr4"),
        lambda: URArm("arm", "ur5"),
        lambda: URArm("arm", gripper="hand"),
        lambda: XArm("arm", "xarm8"),
    ],
)
def test_an_unknown_model_is_refused_with_the_known_ones(make) -> None:
    with pytest.raises(SailError, match="There is no"):
        make()


def test_the_second_module_a_package_needs_is_named_where_that_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "franky.py").write_text("import websockets_that_is_not_there\n")
    with patch.dict(sys.modules), patch.object(sys, "path", [str(tmp_path), *sys.path]):
        sys.modules.pop("franky", None)
        with pytest.raises(SailError, match="websockets_that_is_not_there"):
            FrankaArm("arm").connect()


# Franka


@on("franka")
def test_a_franka_is_told_the_velocity_of_its_path_and_never_more_than_allowed(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    start = driver.read().position
    step = np.append(np.full(7, 0.0004), 0.0)
    for number in range(4):
        driver.write(start + number * step)
    told = [velocity for _, velocity in franky._arms["arm"].targets]
    np.testing.assert_array_equal(told[0], 0.0)
    np.testing.assert_allclose(told[1:], 0.1, atol=1e-9)  # 0.4 mrad every 4 ms
    driver.write(start + 10.0 * np.append(np.ones(7), 0.0))
    assert np.all(np.abs(franky._arms["arm"].targets[-1][1]) <= driver.description.velocity[:7])
    driver.stop()
    np.testing.assert_array_equal(franky._arms["arm"].targets[-1][1], 0.0)
    driver.close()


@on("franka")
def test_a_franka_that_stopped_itself_takes_no_command_and_says_why(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    driver.write(driver.read().position)
    arm = franky._arms["arm"]
    arm.reflex()
    commands = bench.commands()
    with pytest.raises(SailError, match="cartesian_reflex"):
        driver.write(bench.where())
    driver.stop()
    assert bench.commands() == commands
    driver.close()
    driver.connect()  # a person connects anew, having looked
    assert not arm.errors
    driver.write(bench.where())
    driver.close()


@on("franka")
def test_a_franka_grasps_when_it_closes_and_keeps_hold_over_a_stop(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    arm = franky._arms["arm"]
    arm.blocked_at = 0.03
    closed = driver.read().position
    closed[-1] = 0.0
    driver.write(closed)
    wait_until(lambda: bool(arm.grasps))
    wait_until(lambda: abs(driver.read().position[-1] - 0.03) < 1e-9)
    driver.write(closed)
    driver.stop()
    driver.write(closed)
    assert len(arm.grasps) == 1
    assert arm.grasps[0][2] > 0.0
    driver.close()


@on("franka")
def test_a_slow_hand_holds_up_no_command_and_a_stop_ends_its_move(bench: Bench) -> None:
    arm = franky._arms["arm"]
    arm.slow = threading.Event()
    driver = bench.make()
    driver.connect()
    position = driver.read().position
    position[-1] = 0.01
    driver.write(position)
    wait_until(lambda: driver._gripper._moving)
    for _ in range(50):
        driver.write(position)
        driver.read()
    assert bench.commands() == 51
    driver.stop()
    wait_until(arm.slow.is_set)
    assert arm.width == 0.08
    driver.close()


# The gripper's thread


def test_a_gripper_takes_the_newest_opening_and_skips_those_between() -> None:
    free, moves = threading.Event(), []

    def move(opening_m: float) -> None:
        moves.append(opening_m)
        assert free.wait(20)

    gripper = GripperThread(move, lambda: 0.08)
    gripper.ask(0.05)
    wait_until(lambda: moves == [0.05])
    for opening_m in (0.04, 0.03, 0.02):
        gripper.ask(opening_m)
    free.set()
    wait_until(lambda: len(moves) == 2)
    assert moves == [0.05, 0.02]
    gripper.close()


def test_a_gripper_that_fails_is_told_of_at_the_next_chance() -> None:
    def move(opening_m: float) -> None:
        raise RuntimeError("no answer")

    gripper = GripperThread(move, lambda: 0.08)
    gripper.ask(0.01)

    def failed() -> bool:
        try:
            gripper.check()
        except SailError:
            return True
        return False

    wait_until(failed)
    with pytest.raises(SailError, match="no answer"):
        gripper.ask(0.02)
    gripper.close()


def test_robotiqs_gripper_speaks_its_protocol() -> None:
    served = robotiq.Gripper()
    gripper = RobotiqGripper("127.0.0.1", "robotiq-2f85", speed=100, force=50, port=served.port)
    assert (served.values["SPE"], served.values["FOR"], served.values["GTO"]) == (100, 50, 1)
    assert gripper.opening_m() == 0.085
    for opening_m, count in ((0.0, 255), (0.085, 0), (0.2, 0), (-1.0, 255), (0.0425, 128)):
        gripper.move(opening_m)
        assert served.values["POS"] == count
    gripper.close()
    gripper.close()
    served.close()


def test_robotiqs_gripper_is_not_moved_before_a_person_activated_it() -> None:
    served = robotiq.Gripper(active=False)
    with pytest.raises(SailError, match="activate it on the pendant"):
        RobotiqGripper("127.0.0.1", "robotiq-2f85", port=served.port)
    assert not any(line.startswith("SET") for line in served.heard)
    served.close()


# UR


@on("ur")
@pytest.mark.parametrize(
    ("change", "says"),
    [({"mode": 3}, "release its brakes"), ({"safety": 3}, "protective stop"), ({"remote": False}, "remote control")],
)
def test_a_ur_that_is_not_ready_says_what_to_do_on_its_pendant(bench: Bench, change: dict, says: str) -> None:
    for name, value in change.items():
        setattr(ur.controllers["127.0.0.1"], name, value)
    with pytest.raises(SailError, match=says):
        bench.make().connect()


@on("ur")
def test_a_ur_in_a_protective_stop_takes_no_command(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    driver.write(driver.read().position)
    ur.controllers["127.0.0.1"].halt(ur.PROTECTIVE)
    with pytest.raises(SailError, match="protective stop"):
        driver.write(bench.where())
    driver.close()


@on("ur")
def test_a_ur_whose_states_stand_still_is_noticed_though_the_package_still_answers(bench: Bench) -> None:
    driver = bench.make()
    driver.connect()
    first = driver.read()
    ur.controllers["127.0.0.1"].frozen_at = 12.0
    driver.read()  # one state may repeat
    time.sleep(0.12)
    with pytest.raises(SailError, match="no states any more"):
        driver.read()
    ur.controllers["127.0.0.1"].frozen_at = None
    assert driver.read().time_s > first.time_s
    driver.close()
    assert ur.controllers["127.0.0.1"].program == ur.STOPPED


def test_a_ur_refuses_a_look_ahead_or_gain_its_controller_would_not_take() -> None:
    for wrong in ({"lookahead_s": 0.01}, {"gain": 5000.0}):
        with pytest.raises(SailError, match="lookahead_s"):
            URArm("arm", **wrong)


# xArm


@on("xarm")
def test_an_xarm_in_error_or_of_another_model_is_refused(bench: Bench) -> None:
    box = xarm_wrapper._boxes["arm"]
    box.error = 23
    with pytest.raises(SailError, match="error 23"):
        bench.make().connect()
    box.error = 0
    with pytest.raises(SailError, match="is an xArm 7 .* and not xarm6"):
        XArm("arm", "xarm6").connect()


@on("xarm")
def test_an_xarm_gets_power_with_the_first_command_and_not_before(bench: Bench) -> None:
    box = xarm_wrapper._boxes["arm"]
    driver = bench.make()
    driver.connect()
    driver.read()
    assert not box.enabled
    driver.write(driver.read().position)
    assert box.enabled and box.mode == 1
    box.error = 31
    with pytest.raises(SailError, match="error 31"):
        driver.write(bench.where())
    driver.close()


# Servos


@pytest.mark.parametrize(("bench", "sdk"), [("feetech", scservo_sdk), ("dynamixel", dynamixel_sdk)], indirect=["bench"])
class TestServos:
    def test_a_lost_packet_is_asked_for_again_and_two_are_told_of(self, bench: Bench, sdk) -> None:
        driver = bench.make()
        driver.connect()
        sdk._buses["/dev/arm"].drops = 1
        driver.read()
        sdk._buses["/dev/arm"].drops = 2
        with pytest.raises(SailError, match="no status packet"):
            driver.read()
        driver.close()

    def test_a_servo_that_is_missing_is_named(self, bench: Bench, sdk) -> None:
        del sdk._buses["/dev/arm"].servos[4]
        with pytest.raises(SailError, match=r"no servo 4 \((elbow|wrist_flex)"):
            bench.make().connect()

    def test_a_servo_that_refuses_is_named(self, bench: Bench, sdk) -> None:
        driver = bench.make()
        driver.connect()
        sdk._buses["/dev/arm"].refuses = 1
        with pytest.raises(SailError, match="servo 1 refuses"):
            driver.write(driver.read().position)
        driver.close()

    def test_it_lets_go_of_a_resting_arm_and_holds_one_that_would_fall(self, bench: Bench, sdk, caplog) -> None:
        bus = sdk._buses["/dev/arm"]

        def energised() -> bool:
            return any(registers[sdk._LAYOUT.torque] for registers in bus.servos.values())

        driver = bench.make()
        driver.connect()
        driver.write(driver.read().position)
        with caplog.at_level(logging.WARNING):
            driver.close()
        assert energised()
        assert "would fall" in caplog.text
        driver.connect()
        driver.write(driver.description.home)
        driver.close()
        assert not energised()

    def test_no_command_leaves_the_calibrated_range(self, bench: Bench, sdk) -> None:
        driver = bench.make()
        driver.connect()
        for value in (-50.0, 50.0):
            driver.write(np.full(driver.description.size, value))
            for servo, registers in sdk._buses["/dev/arm"].servos.items():
                if registers[sdk._LAYOUT.torque]:
                    assert sdk._buses["/dev/arm"].get(servo, sdk._LAYOUT.goal) in (100, 3990)
        driver.close()


@on("dynamixel")
@pytest.mark.parametrize(
    ("servo", "register", "value", "says"),
    [(3, 12, 255, "follows 255 and not 2"), (7, 11, 1, "operating mode 1"), (5, 70, 32, "in error 32")],
)
def test_servos_set_up_dangerously_are_refused(bench: Bench, servo: int, register: int, value: int, says: str) -> None:
    dynamixel_sdk._buses["/dev/arm"].servos[servo][register] = value
    with pytest.raises(SailError, match=says):
        bench.make().connect()


@on("dynamixel")
def test_a_profile_that_another_program_left_is_taken_away(bench: Bench) -> None:
    bus = dynamixel_sdk._buses["/dev/arm"]
    bus.set(4, (112, 4), 30)
    driver = bench.make()
    driver.connect()
    assert bus.get(4, (112, 4)) == 0
    driver.close()


def test_makers_write_negative_numbers_in_their_own_ways() -> None:
    assert [sign_and_magnitude(value, 2) for value in (5, 0x8005, 0x7FFF)] == [5, -5, 0x7FFF]
    assert [twos_complement(value, 4) for value in (5, 0xFFFFFFFB, 0x7FFFFFFF)] == [5, -5, 0x7FFFFFFF]


# Calibration


def test_counts_and_positions_are_each_others_inverse(tmp_path: Path) -> None:
    fitted = read_calibration(calibration_file(tmp_path, "so101", FEETECH_IDS), "so101", FEETECH_NAMES)
    counts = np.random.default_rng(0).integers(100, 3990, (200, 6))
    for row in counts:
        np.testing.assert_array_equal(fitted.counts(fitted.positions(row)), row)


def test_limits_lie_inside_what_was_calibrated(tmp_path: Path) -> None:
    joints = {
        name: {"id": servo, "zero": 2048, "direction": -1, "low": 1848, "high": 2448}
        for name, servo in FEETECH_IDS.items()
    }
    path = calibration_file(tmp_path, "so101", FEETECH_IDS, joints=joints)
    description = FeetechArm("/dev/arm", path).description
    assert description.low[0] == pytest.approx(-400 * 2 * np.pi / 4096)
    assert description.high[0] == pytest.approx(200 * 2 * np.pi / 4096)
    assert description.low[5] == pytest.approx(-0.174533)  # the maker's own, which is narrower


def test_a_calibration_outside_the_makers_range_says_which_joint(tmp_path: Path) -> None:
    content = json.loads(calibration_file(tmp_path, "so101", FEETECH_IDS).read_text())
    content["joints"]["wrist_flex"] |= {"zero": 100, "low": 3500, "high": 3990, "direction": 1}
    path = calibration_file(tmp_path, "so101", FEETECH_IDS, joints=content["joints"])
    with pytest.raises(SailError, match="wrist_flex"):
        FeetechArm("/dev/arm", path)


def test_the_hash_is_that_of_the_meaning(tmp_path: Path) -> None:
    def hash_of(**changes: object) -> str:
        path = calibration_file(tmp_path, "so101", FEETECH_IDS, **changes)
        return FeetechArm("/dev/arm", path).description.calibration

    first = hash_of()
    content = json.loads((tmp_path / "so101.json").read_text())["joints"]
    assert hash_of(joints=dict(reversed(content.items()))) == first
    content["gripper"]["zero"] += 1
    assert hash_of(joints=content) != first
    assert hash_of(serial="another") != first


def _without(content: dict) -> None:
    del content["joints"]["gripper"]


BAD = {
    "another schema": (lambda c: c.update(schema=2), "schema"),
    "another arm": (lambda c: c.update(arm="so100"), "so100"),
    "no joints": (lambda c: c.update(joints=None), "must have the joints"),
    "a joint missing": (_without, "must have the joints"),
    "a field too many": (lambda c: c["joints"]["gripper"].update(offset=1), "exactly"),
    "no whole number": (lambda c: c["joints"]["gripper"].update(zero=2048.5), "whole number"),
    "true for a number": (lambda c: c["joints"]["gripper"].update(direction=True), "whole number"),
    "direction 0": (lambda c: c["joints"]["gripper"].update(direction=0), "1 or -1"),
    "low above high": (lambda c: c["joints"]["gripper"].update(low=3995), "low below high"),
    "beyond a turn": (lambda c: c["joints"]["gripper"].update(high=4096), "0–4095"),
    "the same servo twice": (lambda c: c["joints"]["gripper"].update(id=1), "twice"),
    "an id of all": (lambda c: c["joints"]["gripper"].update(id=254), "0–252"),
    "zero beyond a turn": (lambda c: c["joints"]["gripper"].update(zero=-1), "zero"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_calibration_is_refused_with_the_place(what: str, tmp_path: Path) -> None:
    spoil, says = BAD[what]
    path = calibration_file(tmp_path, "so101", FEETECH_IDS)
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SailError, match=says) as error:
        FeetechArm("/dev/arm", path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '"so101"', "{}"])
def test_what_is_no_calibration_at_all_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(text)
    with pytest.raises(SailError, match=r"arm\.json"):
        DynamixelArm("/dev/arm", path)
    with pytest.raises(SailError, match="There is no calibration"):
        DynamixelArm("/dev/arm", tmp_path / "missing.json")


# Calibrating


def script(counts: list[list[int]]):
    """Return readers that give one row of counts after the other, and say when they are through."""
    rows = iter(counts)
    left = [len(counts)]

    def read() -> np.ndarray:
        left[0] -= 1
        return np.array(next(rows), np.int64)

    return read, lambda: left[0] == 0


def test_a_calibration_is_measured_from_the_zero_pose_and_the_whole_way(tmp_path: Path) -> None:
    zero = [2000 + 10 * number for number in range(6)]
    low, high = [count - 700 for count in zero], [count + 900 for count in zero]
    read, through = script([zero, zero, low, high, zero])
    said: list[str] = []
    content = measured(blank("so101", FEETECH_IDS, "bench"), read, said.append, through, {"gripper": -1})
    assert len(said) == 2 and "zero pose" in said[0]
    path = tmp_path / "so101.json"
    path.write_text(json.dumps(content))
    fitted = read_calibration(path, "so101", FEETECH_NAMES)
    assert fitted.zero.tolist() == zero
    assert np.all(fitted.low > low) and np.all(fitted.high < high) and np.all(fitted.high - fitted.low > 1500)
    assert fitted.direction.tolist() == [1, 1, 1, 1, 1, -1]
    assert np.all(np.abs(fitted.positions(np.array(zero))) == 0)


@pytest.mark.parametrize(
    ("rows", "says"),
    [([[2000] * 6, [2000] * 6], "'shoulder_pan' was not moved"), ([[4000] * 6, [50] * 6], "runs over its servo's end")],
)
def test_a_joint_that_was_not_moved_or_ran_over_its_end_is_named(rows: list[list[int]], says: str) -> None:
    read, through = script(rows)
    with pytest.raises(SailError, match=says):
        measured(blank("so101", FEETECH_IDS), read, lambda _: None, through)


@on("feetech")
def test_counts_are_read_before_there_is_a_calibration(bench: Bench) -> None:
    content = blank("so101", FEETECH_IDS)
    arm = FeetechArm("/dev/arm", calibration_of(content, FEETECH_NAMES, "blank"))
    arm.connect()
    assert arm.counts().tolist() == [2010, 2020, 2030, 2040, 2050, 2060]
    assert not any(registers[40] for registers in scservo_sdk._buses["/dev/arm"].servos.values())
    arm.close()
