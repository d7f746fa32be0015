"""What the servo did, one row a period, in a ring that a killed process leaves behind."""

from __future__ import annotations

import glob
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.server.safety import Setpoint
from hardware.wire.states import State
from robot.core.errors import SailError
from robot.core.joints import Joints

KEPT = 5
"""How many records of earlier servers stay beside the present one."""
STATES = tuple(State)
FIELDS = ("tick", "time_s", "deadline_s", "state", "written", "sequence")


class ServoRecord:
    """Keep the last `capacity` servo periods: float64 (capacity, 6 + 3 J).

    A row holds tick (from 1), time (s, when the period's work was done), deadline (s), state (index into `STATES`),
    whether a position was written, the sequence of the command in force, then positions sent, asked and measured,
    (J,) each. With a path the ring is a memory-mapped .npy file, which outlives the process however it ends. A file
    that is there already is what an earlier server did, and is kept under another name; see `put_aside`. Raises
    SailError where the disk has no room for it.
    """

    def __init__(self, joints: int, capacity: int = 15_000, path: Path | None = None) -> None:
        self._joints = joints
        shape = (capacity, len(FIELDS) + 3 * joints)
        self._rows: NDArray[np.float64] = np.zeros(shape) if path is None else _mapped(path, shape)
        self.ticks = 0

    def add(self, time_s: float, deadline_s: float, setpoint: Setpoint, written: bool, measured: Joints | None) -> None:
        """Add one period; no memory is allocated."""
        row = self._rows[self.ticks % len(self._rows)]
        self.ticks += 1
        joints, start = self._joints, len(FIELDS)
        row[1], row[2], row[3] = time_s, deadline_s, STATES.index(setpoint.state)
        row[4], row[5] = written, setpoint.sequence
        row[start : start + joints] = setpoint.position
        row[start + joints : start + 2 * joints] = setpoint.asked
        row[start + 2 * joints :] = np.nan if measured is None else measured
        row[0] = self.ticks

    def rows(self) -> NDArray[np.float64]:
        """Return a copy of the periods kept, oldest first, float64 (T, 6 + 3 J)."""
        return in_order(self._rows)


def put_aside(path: Path, kept: int = KEPT) -> None:
    """Give a record of before another name, with when it was last written to; keep the newest `kept` of those."""
    if not path.exists():
        return
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    path.replace(path.with_name(f"{path.stem}-{written:%Y%m%d-%H%M%S-%f}{path.suffix}"))
    earlier = sorted(path.parent.glob(f"{glob.escape(path.stem)}-[0-9]*{glob.escape(path.suffix)}"))
    for old in earlier[:-kept]:
        old.unlink(missing_ok=True)


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_aside(path)
        rows: NDArray[np.float64] = np.lib.format.open_memmap(path, "w+", np.float64, shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                # Room that was only promised would end the process, and not with an exception, when it is written to.
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise SailError(f"The servo's record {path} cannot be made ({error}): name another with record=…") from None
    return rows


def in_order(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows of a ring that were written, oldest first."""
    kept = rows[rows[:, 0] > 0]
    return kept[np.argsort(kept[:, 0])].copy()


def read_record(path: Path) -> NDArray[np.float64]:
    """Return the periods in a file that a server left, oldest first, float64 (T, 6 + 3 J)."""
    return in_order(np.load(path, mmap_mode="r"))


def sent_positions(rows: NDArray[np.float64], joints: int) -> NDArray[np.float64]:
    """Return the positions written to the arm, float64 (T, J), from rows of a record."""
    start = len(FIELDS)
    return rows[rows[:, 4] > 0][:, start : start + joints]
