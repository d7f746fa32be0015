"""Say where figures come from: the command, the revision, the machine and the time it took."""

from __future__ import annotations

import time
from typing import Any

from robot.bench.machine import describe_machine
from robot.revision import program_revision


def origin(command: str, began: float) -> dict[str, Any]:
    """Return the `meta` of committed results; `began` is the `time.monotonic()` at which the work began."""
    return {
        "command": command,
        "revision": program_revision(),
        "hardware": hardware(),
        "wall_time_s": round(time.monotonic() - began),
    }


def hardware() -> str:
    """Return this machine in words: processor, cores, memory and accelerator."""
    facts = describe_machine()
    accelerator = facts["accelerator"] or "no GPU"
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']:.0f} GiB, {accelerator}"
