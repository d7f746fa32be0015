"""Turn a servo's counts into joint positions and back, by a calibration kept as JSON.

A file looks like this, with one entry a joint, in any order:

    {"schema": 1, "arm": "so101", "serial": "bench-2", "joints": {
        "shoulder_pan": {"id": 1, "zero": 2048, "direction": 1, "low": 700, "high": 3400}, …}}

`id` is the servo's number on the bus, `zero` the count at the joint's zero, `direction` 1 or −1, and `low` and `high`
the least and greatest count that the joint may take, found by moving it by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.errors import SailError
from robot.core.files import write_whole
from robot.core.joints import Joints

SCHEMA = 1
COUNTS_PER_TURN = 4096
MOST_ID = 252
FIELDS = ("id", "zero", "direction", "low", "high")

Counts = NDArray[np.int64]
"""What servos read or are sent to: int64 (J,), in the order of an arm's joints."""


@dataclass(frozen=True, slots=True)
class ServoCalibration:
    """Hold the calibration of one arm's servos: int64 (J,) each, in the order of `joint_names`.

    `hash` is the same for two files that mean the same, and changes with every number in them.
    """

    arm: str
    serial: str
    joint_names: tuple[str, ...]
    ids: tuple[int, ...]
    zero: Counts
    direction: Counts
    low: Counts
    high: Counts
    hash: str

    def positions(self, counts: Counts) -> Joints:
        """Return joint positions in rad, float64 (J,), for what the servos read, int64 (J,)."""
        return np.asarray((counts - self.zero) * self.direction * (2 * np.pi / COUNTS_PER_TURN), np.float64)

    def counts(self, positions: Joints) -> Counts:
        """Return what the servos read, int64 (J,), at positions in rad, within the calibrated range or not."""
        exact = self.zero + self.direction * positions * (COUNTS_PER_TURN / (2 * np.pi))
        return np.rint(exact).astype(np.int64)

    @property
    def range_rad(self) -> tuple[Joints, Joints]:
        """Return the least and the greatest position that the calibrated range allows, float64 (J,) each."""
        ends = np.sort(np.stack([self.positions(self.low), self.positions(self.high)]), axis=0)
        return ends[0], ends[1]


def read_calibration(path: str | Path, arm: str, joint_names: Sequence[str]) -> ServoCalibration:
    """Read and check the calibration of an arm of this kind; raise SailError that names the file and the entry."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SailError(f"There is no calibration {path}: docs/arm.md says how to make one.") from None
    except (OSError, ValueError) as problem:
        raise SailError(f"The calibration {path} cannot be read ({problem}).") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise SailError(f'The calibration {path} must be an object with "schema": {SCHEMA}.')
    if content.get("arm") != arm:
        raise SailError(f"The calibration {path} is of arm {content.get('arm')!r} and not of {arm!r}.")
    return calibration_of(content, joint_names, str(path))


def calibration_of(content: Mapping[str, Any], joint_names: Sequence[str], where: str) -> ServoCalibration:
    """Return the calibration that a file's content means; raise SailError with `where` for what is wrong."""
    servos = content.get("joints")
    if not isinstance(servos, dict) or set(servos) != set(joint_names):
        got = sorted(servos) if isinstance(servos, dict) else servos
        raise SailError(f"The calibration {where} must have the joints {sorted(joint_names)}, got {got}.")
    rows = [_checked_row(servos[name], f"{where}, joint {name!r}") for name in joint_names]
    ids = tuple(row["id"] for row in rows)
    if len(set(ids)) != len(ids):
        raise SailError(f"The calibration {where} names a servo twice: its ids are {list(ids)}.")
    said = {
        "arm": content["arm"],
        "serial": str(content.get("serial", "")),
        "joints": dict(zip(joint_names, rows, strict=True)),
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    columns = {name: np.array([row[name] for row in rows], np.int64) for name in FIELDS[1:]}
    return ServoCalibration(
        arm=said["arm"], serial=said["serial"], joint_names=tuple(joint_names), ids=ids, hash=digest[:16], **columns
    )


def _checked_row(row: Any, where: str) -> dict[str, int]:
    if not isinstance(row, dict) or set(row) != set(FIELDS):
        raise SailError(f"The calibration {where} must have exactly {', '.join(FIELDS)}.")
    for name in FIELDS:
        if not isinstance(row[name], int) or isinstance(row[name], bool):
            raise SailError(f"The calibration {where}: {name} must be a whole number, got {row[name]!r}.")
    if not 0 <= row["id"] <= MOST_ID:
        raise SailError(f"The calibration {where}: id must lie in 0–{MOST_ID}, got {row['id']}.")
    if row["direction"] not in (-1, 1):
        raise SailError(f"The calibration {where}: direction must be 1 or -1, got {row['direction']}.")
    if not 0 <= row["low"] < row["high"] < COUNTS_PER_TURN:
        raise SailError(
            f"The calibration {where}: low and high must be two counts in 0–{COUNTS_PER_TURN - 1} with low below high, "
            f"got {row['low']} and {row['high']}."
        )
    if not 0 <= row["zero"] < COUNTS_PER_TURN:
        raise SailError(f"The calibration {where}: zero must lie in 0–{COUNTS_PER_TURN - 1}, got {row['zero']}.")
    return {name: row[name] for name in FIELDS}


def within_calibration(low: Joints, high: Joints, calibration: ServoCalibration) -> tuple[Joints, Joints]:
    """Return the limits, (J,) each, that lie both in the maker's range and in the calibrated one.

    Raises SailError where the two have nothing in common, which says that a zero or a direction is wrong.
    """
    least, most = calibration.range_rad
    low, high = np.maximum(low, least), np.minimum(high, most)
    wrong = [name for name, a, b in zip(calibration.joint_names, low, high, strict=True) if a >= b]
    if wrong:
        raise SailError(
            f"The calibration of {', '.join(wrong)} lies outside the maker's range: its zero or direction is wrong; "
            "calibrate anew."
        )
    return low, high


def write_calibration(path: Path, content: Mapping[str, Any], overwrite: bool) -> None:
    """Write a calibration's content, all of it or nothing; raise SailError where there is one and it is to stay."""
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            write_whole(spare, json.dumps(content, indent=2) + "\n")
        except SailError as problem:
            raise SailError(f"The calibration {path} cannot be written ({problem.__cause__}).") from None
        _put(spare, path, overwrite)
    except OSError as problem:
        raise SailError(f"The calibration {path} cannot be written ({problem}).") from None
    finally:
        with contextlib.suppress(OSError):
            spare.unlink()


def _put(spare: Path, path: Path, overwrite: bool) -> None:
    """Give a finished file its name, in another's place or not."""
    if overwrite:
        spare.replace(path)
        return
    try:
        os.link(spare, path)  # which, other than a move, takes no other's place
    except FileExistsError:
        raise SailError(f"There is a calibration {path} already: overwrite=true puts this one in its place.") from None
