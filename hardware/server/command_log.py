"""What was asked and what was sent: every command with its result, in files of a bounded size."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hardware.server.complaints import Complaints
from hardware.wire.commands import Command, CommandResult
from robot.core.errors import SailError

MIB = 1 << 20
PENDING_BYTES = MIB
STRANGERS_A_SECOND = 5
"""Lines a second for commands of others than the holder: they must not push out what the holder asked."""


class CommandLog:
    """Keep the latest commands with their results and, where a path is given, write them as JSON lines.

    When the file has `limit_bytes` / 2 it becomes NAME.1, in place of an earlier one, and a new one begins; so both
    together stay below `limit_bytes`. A disk that is full costs lines, counted in `lost` and complained of, and nothing
    else; so does a line that cannot be written. Use it from one thread. Raises SailError where the file cannot be
    written at all.
    """

    def __init__(
        self,
        path: Path | None = None,
        kept: int = 1000,
        limit_bytes: int = 200 * MIB,
        complaints: Complaints | None = None,
    ) -> None:
        self.latest: deque[tuple[float, Command, CommandResult]] = deque(maxlen=kept)
        self.lost = 0
        self._path, self._limit, self._complaints = path, limit_bytes, complaints or Complaints()
        self._pending: list[bytes] = []
        self._pending_bytes = self._size = 0
        self._file: IO[bytes] | None = None
        self._closed = self._broken = False
        self._second, self._strangers, self._left_out = -1, 0, 0
        if path is not None:
            try:
                self._open(path)
            except OSError as error:
                raise SailError(
                    f"The log of commands {path} cannot be written ({error}): name another with log=…, or none by log="
                ) from None

    def add(self, time_s: float, client: str, command: Command, result: CommandResult) -> None:
        """Take note of a command of the lease holder, `client`, that was decided on at `time_s`."""
        self.latest.append((time_s, command, result))
        self._write(
            {
                "time_s": time_s,
                "client": client,
                "sequence": result.sequence,
                "decision": result.decision.value,
                "reasons": list(result.reasons),
                "asked_times_s": _listed(command.times_s),
                "asked": _listed(command.positions),
                "sent": _listed(result.positions),
            }
        )

    def add_stranger(self, time_s: float, command: Command, result: CommandResult) -> None:
        """Take note of a command from somebody who does not hold the lease, in short, and of a few a second only."""
        if int(time_s) != self._second:
            self._second, self._strangers = int(time_s), 0
        self._strangers += 1
        if self._strangers > STRANGERS_A_SECOND:
            self._left_out += 1
            return
        line: dict[str, object] = {
            "time_s": time_s,
            "client": None,
            "sequence": result.sequence,
            "decision": result.decision.value,
            "reasons": list(result.reasons),
            "waypoints": len(command.times_s),
            "left_out_before": self._left_out,
        }
        self._left_out = 0
        self._write(line)

    def flush(self) -> None:
        """Hand what was noted to the system; never raises."""
        if self._path is None or not self._pending:
            return
        lines, self._pending, self._pending_bytes = self._pending, [], 0
        data = b"".join(lines)
        try:
            if self._size and self._size + len(data) > self._limit // 2:
                self._begin_anew(self._path)
            file = self._file or self._open(self._path)
            # A line that was cut off by a full disk must not take the next one with it.
            data = b"\n" + data if self._broken else data
            self._broken = True
            while data:
                written = file.write(data)
                self._size += written
                data = data[written:]
            self._broken = False
        except OSError as error:
            self.lost += len(lines)
            self._complaints.note("commands could not be logged", str(error))

    def close(self) -> None:
        """Write what is left and close the file; closing twice is allowed."""
        self.flush()
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: dict[str, object]) -> None:
        if self._path is None or self._closed:
            return
        try:
            data = json.dumps(line, allow_nan=False).encode() + b"\n"
        except (ValueError, TypeError, RecursionError) as error:  # a command must not be refused for want of a line
            self.lost += 1
            self._complaints.note("a command could not be written down", str(error))
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > PENDING_BYTES:
            self.flush()

    def _open(self, path: Path) -> IO[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        return file

    def _begin_anew(self, path: Path) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        path.replace(path.with_name(f"{path.stem}.1{path.suffix}"))
        self._size = 0
        self._broken = False


def _listed(values: NDArray[np.float64]) -> object:
    """Return an array as lists of numbers with a billionth's exactness; None stands for what is not finite."""
    with np.errstate(all="ignore"):
        rounded = np.round(values, 9)
    rounded = np.where(np.isfinite(rounded), rounded, values)  # what is too large to be rounded needs it least
    if np.all(np.isfinite(rounded)):
        return rounded.tolist()
    return [_listed(row) if row.ndim else float(row) if math.isfinite(row) else None for row in rounded]
