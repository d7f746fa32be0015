"""Calibrations of servo arms: how they are read, checked and measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.calibrating import (
    MARGIN,
    NUDGE,
    NUDGE_TORQUE,
    blank,
    composed,
    middle_zero,
    nudged,
    see_that_it_has_room,
    see_that_it_is_limp,
    set_middles,
    swept,
)
from hardware.arms.calibration import calibration_of, read_calibration, write_calibration
from hardware.arms.dynamixel import JOINTS as DYNAMIXEL_IDS
from hardware.arms.dynamixel import DynamixelArm
from hardware.arms.feetech import JOINTS as FEETECH_IDS
from hardware.arms.feetech import NAMES as FEETECH_NAMES
from hardware.arms.feetech import FeetechArm, offset_of
from hardware.arms.lerobot_calibration import read_lerobot, see_that_offsets_are_those
from robot.core.errors import SailError
from tests.doubles import dynamixel_sdk, scservo_sdk
from tests.doubles.benches import BENCHES, Bench, calibration_file
from tests.doubles.servo_bus import Bus


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [name], indirect=True)


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


def seen(low: np.ndarray, now: np.ndarray, high: np.ndarray) -> None: ...


def blank_arm(joints: dict[str, int] | None = None) -> FeetechArm:
    return FeetechArm("/dev/arm", calibration_of(blank("so101", joints or FEETECH_IDS), FEETECH_NAMES, "blank"))


def test_a_calibration_is_made_of_the_zero_pose_the_whole_way_and_directions(tmp_path: Path) -> None:
    zero = [2000 + 10 * number for number in range(6)]
    least, most = [count - 700 for count in zero], [count + 900 for count in zero]
    read, through = script([zero, least, most, zero])
    shown: list[list[int]] = []
    low, high = swept(FEETECH_NAMES, read, through, lambda low, now, high: shown.append([low[0], now[0], high[0]]))
    assert shown == [[1300, 1300, 2000], [1300, 2900, 2900], [1300, 2000, 2900]]
    content = composed(blank("so101", FEETECH_IDS, "bench"), zero, low, high, {"gripper": -1})
    path = tmp_path / "so101.json"
    write_calibration(path, content, overwrite=False)
    fitted = read_calibration(path, "so101", FEETECH_NAMES)
    assert fitted.zero.tolist() == zero
    assert (fitted.low - least).tolist() == [MARGIN] * 6 and (most - fitted.high).tolist() == [MARGIN] * 6
    assert fitted.direction.tolist() == [1, 1, 1, 1, 1, -1]
    assert np.all(np.abs(fitted.positions(np.array(zero))) == 0)


@pytest.mark.parametrize(
    ("rows", "says"),
    [([[2000] * 6, [2000] * 6], "'shoulder_pan' was not moved"), ([[4000] * 6, [50] * 6], "runs over its servo's end")],
)
def test_a_joint_that_was_not_moved_or_ran_over_its_end_is_named(rows: list[list[int]], says: str) -> None:
    read, through = script(rows)
    with pytest.raises(SailError, match=says):
        swept(FEETECH_NAMES, read, through, seen)


@on("feetech")
def test_counts_are_read_before_there_is_a_calibration(bench: Bench) -> None:
    arm = blank_arm()
    arm.connect()
    assert arm.counts().tolist() == [2010, 2020, 2030, 2040, 2050, 2060]
    see_that_it_is_limp(arm)
    scservo_sdk._buses["/dev/arm"].servos[3][40] = 1
    with pytest.raises(SailError, match=r"elbow_flex \(servo 3\) has torque, so the arm cannot be moved"):
        see_that_it_is_limp(arm)
    arm.close()


@on("feetech")
def test_servos_read_their_middle_where_they_are_once_they_were_told_to(bench: Bench) -> None:
    bus = scservo_sdk._buses["/dev/arm"]
    for servo, count in zip(FEETECH_IDS.values(), (150, 4000, 2048, 0, 4095, 2049), strict=True):
        bus.place(servo, count)
        bus.set(servo, (9, 2), 100)
    bus.set(1, (31, 2), 0x800 | 300)  # read 150 with an offset of −300: its encoder is at 3946
    arm = blank_arm()
    arm.connect()
    set_middles(arm)
    assert arm.counts().tolist() == [2048, 2048, 2048, 2047, 2048, 2048]
    assert offset_of(bus.get(1, (31, 2))) == 3946 - 2048
    assert [bus.get(servo, (9, 2)) for servo in bus.servos] == [0] * 6
    assert bus.hot == 0 and all(memory[55] == 1 for memory in bus.chain)
    bus.power_cycle()
    assert arm.counts().tolist() == [2048, 2048, 2048, 2047, 2048, 2048]


@on("dynamixel")
def test_a_dynamixel_s_middle_is_left_alone(bench: Bench) -> None:
    arm = bench.make()
    assert isinstance(arm, DynamixelArm)
    arm.connect()
    with pytest.raises(SailError, match="homing=false"):
        set_middles(arm)


def test_a_way_that_would_run_over_the_servo_s_end_is_noticed_in_the_zero_pose() -> None:
    description, content = blank_arm().description, blank("so101", FEETECH_IDS)
    see_that_it_has_room(description, np.full(6, 2048), content)
    for joint, count in ((0, 1000), (0, 3000), (5, 3500)):
        zero = np.full(6, 2048)
        zero[joint] = count
        with pytest.raises(SailError, match=f"The {FEETECH_NAMES[joint]} reads {count} .*homing=true"):
            see_that_it_has_room(description, zero, content)


@pytest.mark.parametrize("bench", ["feetech", "dynamixel"], indirect=True)
class TestNudging:
    @pytest.mark.parametrize(("here", "moves"), [(2000, NUDGE), (2480, -NUDGE), (1400, 0), (2600, 0)])
    def test_a_joint_comes_a_little_and_goes_back(self, bench: Bench, here: int, moves: int) -> None:
        arm, bus = bench.make(), _bus(bench)
        arm.connect()
        bus.place(4, here)
        strengths, steps = [], []
        limit = arm.kind.torque_limit

        def pause(seconds: float) -> None:
            strengths.append(bus.get(4, (limit.address, limit.size)))
            steps.append(bus.get(4, bus.layout.position))

        assert nudged(arm.bus, 4, 1500, 2500, pause) == moves
        assert bus.get(4, bus.layout.position) == here and not bus.energised()
        assert bus.get(4, (limit.address, limit.size)) == arm.kind.full_torque
        assert set(strengths) <= {round(NUDGE_TORQUE * arm.kind.full_torque)}
        assert max(map(abs, np.diff([here, *steps])), default=0) <= 2

    def test_a_joint_that_is_blocked_has_not_moved_and_is_limp_again(self, bench: Bench) -> None:
        arm, bus = bench.make(), _bus(bench)
        arm.connect()
        bus.blocked = {4}
        assert nudged(arm.bus, 4, 100, 3900, lambda _: None) == 0
        assert not bus.energised()

    def test_whatever_happens_the_joint_is_limp_again(self, bench: Bench) -> None:
        arm, bus = bench.make(), _bus(bench)
        arm.connect()

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            nudged(arm.bus, 4, 100, 3900, interrupt)
        assert not bus.energised()


def _bus(bench: Bench) -> Bus:
    return (scservo_sdk if bench.extra == "feetech" else dynamixel_sdk)._buses["/dev/arm"]


# Writing


def test_a_calibration_is_not_overwritten_unless_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "new" / "arm.json"
    first, second = blank("so101", FEETECH_IDS, "first"), blank("so101", FEETECH_IDS, "second")
    write_calibration(path, first, overwrite=False)
    with pytest.raises(SailError, match="overwrite=true"):
        write_calibration(path, second, overwrite=False)
    assert json.loads(path.read_text())["serial"] == "first"
    write_calibration(path, second, overwrite=True)
    assert json.loads(path.read_text())["serial"] == "second"
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(SailError, match="cannot be written"):
        write_calibration(tmp_path / "file" / "arm.json", first, overwrite=True)


# LeRobot's


LEROBOT = {
    "shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": -1470, "range_min": 758, "range_max": 3292},
    "shoulder_lift": {"id": 2, "drive_mode": 1, "homing_offset": 157, "range_min": 823, "range_max": 3201},
    "elbow_flex": {"id": 3, "drive_mode": 0, "homing_offset": 0, "range_min": 900, "range_max": 3100},
    "wrist_flex": {"id": 4, "drive_mode": 0, "homing_offset": 2047, "range_min": 901, "range_max": 3200},
    "wrist_roll": {"id": 5, "drive_mode": 0, "homing_offset": -2047, "range_min": 0, "range_max": 4095},
    "gripper": {"id": 6, "drive_mode": 0, "homing_offset": 12, "range_min": 2030, "range_max": 3480},
}


def lerobot_file(folder: Path, **changes: object) -> Path:
    path = folder / "my_awesome_arm.json"
    path.write_text(json.dumps(LEROBOT | changes))
    return path


def test_lerobot_s_calibration_is_taken_over_with_the_middle_of_each_way_as_zero(tmp_path: Path) -> None:
    content, offsets = read_lerobot(lerobot_file(tmp_path), blank_arm(), "mine")
    fitted = calibration_of(content, FEETECH_NAMES, "taken over")
    assert fitted.zero.tolist() == [2025, 2012, 2000, 2050, 2048, 2030]
    assert fitted.direction.tolist() == [1, -1, 1, 1, 1, 1]
    assert fitted.ids == (1, 2, 3, 4, 5, 6) and fitted.serial == "mine"
    assert fitted.low[0] == 758 + MARGIN and fitted.high[0] == 3292 - MARGIN
    assert offsets == {joint: row["homing_offset"] for joint, row in LEROBOT.items()}
    FeetechArm("/dev/arm", fitted)


def test_a_reversed_gripper_of_lerobot_s_is_shut_at_the_other_end(tmp_path: Path) -> None:
    row = LEROBOT["gripper"] | {"drive_mode": 1}
    content, _ = read_lerobot(lerobot_file(tmp_path, gripper=row), blank_arm(), "")
    assert content["joints"]["gripper"]["zero"] == 3480


def test_a_joint_of_unequal_range_has_its_zero_where_the_makers_have_it(tmp_path: Path) -> None:
    """The WidowX's elbow turns by −123° … 92°: the middle of its way is not its zero."""
    arm = DynamixelArm("/dev/arm", calibration_of(blank("wx250s", DYNAMIXEL_IDS), tuple(DYNAMIXEL_IDS), "blank"))
    low, high = (int(2048 + end * 4096 / (2 * np.pi)) for end in (arm.description.low[2], arm.description.high[2]))
    assert abs(middle_zero(arm.description, 2, 1, low, high) - 2048) <= 1
    assert abs(middle_zero(arm.description, 2, -1, 4096 - high, 4096 - low) - 2048) <= 1


def test_lerobot_s_second_servos_are_passed_over(tmp_path: Path) -> None:
    arm = DynamixelArm("/dev/arm", calibration_of(blank("wx250s", DYNAMIXEL_IDS), tuple(DYNAMIXEL_IDS), "blank"))
    row = {"drive_mode": 0, "homing_offset": 0, "range_min": 819, "range_max": 3345}
    joints = {name: {"id": servo, **row} for name, servo in DYNAMIXEL_IDS.items()}
    path = tmp_path / "widowx.json"
    path.write_text(json.dumps(joints | {"shoulder_shadow": {"id": 3, **row}, "elbow_shadow": {"id": 5, **row}}))
    content, offsets = read_lerobot(path, arm, "")
    assert set(content["joints"]) == set(DYNAMIXEL_IDS) == set(offsets)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c.pop("gripper"), "must have the joints"),
        (lambda c: c.update(nose=c["gripper"]), "must have the joints"),
        (lambda c: c["gripper"].pop("drive_mode"), "joint 'gripper' must have id, drive_mode"),
        (lambda c: c["gripper"].update(drive_mode=2), "drive_mode must be 0 or 1"),
        (lambda c: c["gripper"].update(range_min="low"), "whole number"),
        (lambda c: c["gripper"].update(range_min=3500), "the first below the second"),
        (lambda c: c["gripper"].update(id=1), "names a servo twice"),
        (lambda c: c.update(start_pos=[], calib_mode=[]), "old kind"),
    ],
)
def test_what_is_no_calibration_of_lerobot_s_is_refused(spoil, says: str, tmp_path: Path) -> None:
    content = json.loads(json.dumps(LEROBOT))
    spoil(content)
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SailError, match=says):
        read_lerobot(path, blank_arm(), "")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_what_is_no_file_of_lerobot_s_at_all_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(text)
    with pytest.raises(SailError, match=r"arm\.json"):
        read_lerobot(path, blank_arm(), "")
    with pytest.raises(SailError, match="There is no file"):
        read_lerobot(tmp_path / "missing.json", blank_arm(), "")


@on("feetech")
def test_another_arm_s_file_is_told_by_the_offsets_in_the_servos(bench: Bench, tmp_path: Path) -> None:
    bus, arm = scservo_sdk._buses["/dev/arm"], blank_arm()
    _, offsets = read_lerobot(lerobot_file(tmp_path), arm, "")
    for servo, offset in zip(FEETECH_IDS.values(), offsets.values(), strict=True):
        bus.set(servo, (31, 2), abs(offset) | (0x800 if offset < 0 else 0))
    arm.bus.open()
    see_that_offsets_are_those(arm, offsets, FEETECH_IDS)
    bus.set(2, (31, 2), 0x800 | 157)
    with pytest.raises(SailError, match="servo of shoulder_lift holds the offset -157 and the file says 157"):
        see_that_offsets_are_those(arm, offsets, FEETECH_IDS)
