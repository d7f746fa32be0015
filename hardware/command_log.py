"""What was asked and what was sent: every command with its ruling."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import IO

from hardware.rulings import Command, Ruling


class CommandLog:
    """Keep the latest commands with their rulings and, where a path is given, write all of them as JSON lines."""

    def __init__(self, path: Path | None = None, kept: int = 1000) -> None:
        self.latest: deque[tuple[float, Command, Ruling]] = deque(maxlen=kept)
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def add(self, time_s: float, client: str, command: Command, ruling: Ruling) -> None:
        """Take note of a command that was ruled on at `time_s`."""
        self.latest.append((time_s, command, ruling))
        if self._file is None:
            return
        line = {
            "time_s": time_s,
            "client": client,
            "sequence": ruling.sequence,
            "decision": ruling.decision.value,
            "reasons": list(ruling.reasons),
            "asked_times_s": command.times_s.tolist(),
            "asked": command.positions.tolist(),
            "sent": ruling.positions.tolist(),
        }
        self._file.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand what was written to the system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        if self._file is not None:
            self._file.close()
            self._file = None
