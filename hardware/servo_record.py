"""What the servo did, one row a period, in a ring that a killed process leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardware.safety import Setpoint, State
from robot.arm import Joints

STATES = tuple(State)
FIELDS = ("tick", "time_s", "deadline_s", "state", "written", "sequence")


class ServoRecord:
    """Keep the last `capacity` servo periods: float64 (capacity, 6 + 3 J).

    A row holds tick (from 1), time (s, when the period's work was done), deadline (s), state (index into `STATES`),
    whether a position was written, the sequence of the command in force, then positions sent, asked and measured,
    (J,) each. With a path the ring is a memory-mapped .npy file, which outlives the process however it ends.
    """

    def __init__(self, joints: int, capacity: int = 15_000, path: Path | None = None) -> None:
        self._joints = joints
        shape = (capacity, len(FIELDS) + 3 * joints)
        self._rows: NDArray[np.float64] = (
            np.zeros(shape) if path is None else np.lib.format.open_memmap(path, "w+", np.float64, shape)
        )
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
