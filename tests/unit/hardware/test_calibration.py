"""Calibrations of servo arms: how they are read, checked and measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.calibrating import blank, measured
from hardware.arms.calibration import calibration_of, read_calibration
from hardware.arms.dynamixel import DynamixelArm
from hardware.arms.feetech import JOINTS as FEETECH_IDS
from hardware.arms.feetech import NAMES as FEETECH_NAMES
from hardware.arms.feetech import FeetechArm
from robot.errors import SailError
from tests.doubles import scservo_sdk
from tests.doubles.benches import BENCHES, Bench, calibration_file


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
