"""Say where figures come from: the command, the revision, the machine and the time it took."""

from __future__ import annotations

import time
from typing import Any

from robot.core.provenance.machine import describe_machine
from robot.core.provenance.revision import program_revision


class Origin:
    """Where figures come from, made when the work on them begins: whatever it writes, that is its revision."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.revision = program_revision()
        self._began = time.monotonic()

    def so_far(self) -> dict[str, Any]:
        """Return the `meta` of committed results, with the time it has taken until now."""
        return {
            "command": self.command,
            "revision": self.revision,
            "hardware": hardware(),
            "wall_time_s": round(time.monotonic() - self._began),
        }


def hardware() -> str:
    """Return this machine in words: processor, cores, memory and accelerator."""
    facts = describe_machine()
    accelerator = facts["accelerator"] or "no GPU"
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']:.0f} GiB, {accelerator}"
