"""Wait for something that a maker's controller does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_S = 0.01


def comes_true(true: Callable[[], bool], longest_s: float) -> bool:
    """Ask until something is true, at most for `longest_s`, and return whether it became so."""
    end_s = time.monotonic() + longest_s
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(PAUSE_S)
    return True
