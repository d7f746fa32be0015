"""Take over the calibration that LeRobot made of a servo arm.

LeRobot's file holds, for each joint, `id`, `drive_mode`, `homing_offset`, `range_min` and `range_max`. The offset is
written into the servo itself, so that the counts of the range include it already; a drive mode of 1 turns the
direction round. No zero is written down. LeRobot has the arm put into the middle of its joints' ways, where every servo
is made to read the middle of its turn, and takes the middle of the way for zero degrees; the makers' model of the
SO-101 has its zero there as well. So a joint's zero is taken to lie where the middle of its way is the middle of the
maker's range, and a gripper's where it is shut.

Source: LeRobot, motors/motors_bus.py (MotorCalibration) and robots/so_follower.py (calibrate).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from hardware.arms.calibrating import blank, composed, middle_zero
from hardware.arms.servo_arm import ServoArm
from robot.core.errors import SailError

FIELDS: Final = ("id", "drive_mode", "homing_offset", "range_min", "range_max")
OLD: Final = ("start_pos", "end_pos", "calib_mode")
SHADOW: Final = "_shadow"
"""Ends the name that LeRobot gives to a servo that follows another."""


def read_lerobot(path: Path, arm: ServoArm, serial: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the content of our calibration that a file of LeRobot's stands for, and each joint's offset in its servo.

    `arm` is of the same kind, with any calibration. Raises SailError that names the file and the joint.
    """
    rows = _rows(path, tuple(arm.joints))
    description = arm.description
    content = blank(description.name, {joint: rows[joint]["id"] for joint in arm.joints}, serial)
    directions = {joint: -1 if row["drive_mode"] else 1 for joint, row in rows.items()}
    low = np.array([rows[joint]["range_min"] for joint in arm.joints], np.int64)
    high = np.array([rows[joint]["range_max"] for joint in arm.joints], np.int64)
    zero = [
        middle_zero(description, number, directions[joint], int(low[number]), int(high[number]))
        for number, joint in enumerate(arm.joints)
    ]
    return composed(content, zero, low, high, directions), {joint: row["homing_offset"] for joint, row in rows.items()}


def see_that_offsets_are_those(arm: ServoArm, offsets: Mapping[str, int], ids: Mapping[str, int]) -> None:
    """Raise SailError where a servo on the open bus holds another offset than its calibration was made with."""
    for joint, offset in offsets.items():
        held = arm.kind.offset_of(arm.bus.register(ids[joint], arm.kind.offset))
        if held != offset:
            raise SailError(
                f"The servo of {joint} holds the offset {held} and the file says {offset}: the file is another arm's, "
                "or the servo was calibrated again since."
            )


def _rows(path: Path, joints: tuple[str, ...]) -> dict[str, dict[str, int]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SailError(f"There is no file {path}.") from None
    except (OSError, ValueError) as problem:
        raise SailError(f"{path} cannot be read ({problem}).") from None
    if isinstance(content, dict) and set(OLD) & set(content):
        raise SailError(f"{path} is of LeRobot's old kind, before 2025: calibrate the arm with LeRobot anew, or here.")
    if not isinstance(content, dict):
        raise SailError(f"{path} is no calibration of LeRobot's: it must hold an object with the joints' names.")
    named = {joint: row for joint, row in content.items() if joint.removesuffix(SHADOW) == joint}
    if set(named) != set(joints):
        raise SailError(f"{path} must have the joints {sorted(joints)}, got {sorted(named)}.")
    return {joint: _row(named[joint], f"{path}, joint {joint!r}") for joint in joints}


def _row(row: object, where: str) -> dict[str, int]:
    if not isinstance(row, dict) or not set(FIELDS) <= set(row):
        raise SailError(f"{where} must have {', '.join(FIELDS)}.")
    for name in FIELDS:
        if not isinstance(row[name], int) or isinstance(row[name], bool):
            raise SailError(f"{where}: {name} must be a whole number, got {row[name]!r}.")
    if row["drive_mode"] not in (0, 1):
        raise SailError(f"{where}: drive_mode must be 0 or 1, got {row['drive_mode']}.")
    if not 0 <= row["range_min"] < row["range_max"] <= 4095:
        raise SailError(
            f"{where}: range_min and range_max must be two counts in 0–4095, the first below the second, got "
            f"{row['range_min']} and {row['range_max']}."
        )
    return {name: row[name] for name in FIELDS}
