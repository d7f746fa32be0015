"""Keep simulated time in step with a clock."""

from __future__ import annotations

import math
from collections.abc import Callable

Clock = Callable[[], float]
"""Return seconds on a clock that never goes back; `time.monotonic` where nothing else is said."""


class Pacer:
    """Say how many physics steps are due.

    Physics is stepped whenever the arm is read or written, by as much time as has passed. That needs no thread, whose
    turn at the interpreter the servo would have to wait for, and what is read is never older than one step.
    """

    def __init__(self, timestep_s: float, clock: Clock, patience_s: float = 0.25) -> None:
        """Step by `timestep_s`; where nobody asked for longer than `patience_s`, the time beyond it is left out."""
        if timestep_s <= 0 or patience_s < timestep_s:
            raise ValueError(f"Need 0 < timestep_s ≤ patience_s, got {timestep_s} and {patience_s}.")
        self._timestep_s = timestep_s
        self._clock = clock
        self._most = math.floor(patience_s / timestep_s + 1e-6)
        self.lost_s = 0.0
        self.restart()

    def restart(self) -> None:
        """Let simulated time begin now."""
        self._origin_s = self._clock()
        self._done = 0

    def due(self) -> int:
        """Return how many steps bring simulated time up to now, and count them as done."""
        elapsed_s = self._clock() - self._origin_s
        # A millionth of a step: what is a whole number of steps must not be one less for being rounded.
        steps = max(0, math.floor(elapsed_s / self._timestep_s + 1e-6) - self._done)
        if steps > self._most:
            skipped_s = (steps - self._most) * self._timestep_s
            self._origin_s += skipped_s
            self.lost_s += skipped_s
            steps = self._most
        self._done += steps
        return steps
