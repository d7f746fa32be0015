"""Keep time in a replay: absolute deadlines, so that lateness does not add up, and a person at the keys."""

from __future__ import annotations

import contextlib
import math
import select
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

SLOWEST, FASTEST = 1 / 16, 4.0
KEYS = {" ": "pause", "p": "pause", "q": "stop", "\x1b": "stop", "-": "slower", "+": "faster", "=": "faster"}
HELP = "space pauses, - and + slow down and speed up, q stops"


class Controls(Protocol):
    """What a person can ask for while a replay runs."""

    def poll(self) -> str:
        """Return `pause` (again: go on), `stop`, `slower`, `faster`, or nothing where nobody asked for anything."""
        ...


class Unattended:
    """Nobody is at the keys."""

    def poll(self) -> str:
        """Return nothing."""
        return ""


class TerminalKeys:
    """Read keys from a terminal without waiting for them; where stdin is none, nobody is there."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> TerminalKeys:
        if sys.stdin is not None and sys.stdin.isatty():
            import termios
            import tty

            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._before is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
            self._before = None

    @property
    def attended(self) -> bool:
        """Return whether there is a terminal to read from."""
        return self._before is not None

    def poll(self) -> str:
        """Return what the key pressed asks for."""
        if self._before is None or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        return KEYS.get(sys.stdin.read(1), "")


class Pace:
    """Give the beat: `wait` returns at the next deadline, which lies a whole number of periods after the start.

    `rate_hz`: beats a second. `speed` is that of time; 0 never waits. Pausing and changing the speed begin a new row of
    deadlines.
    """

    def __init__(
        self,
        rate_hz: float,
        speed: float = 1.0,
        controls: Controls | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < rate_hz < math.inf or not speed >= 0:
            raise ValueError(f"A replay needs a positive rate and a speed of 0 or more, got {rate_hz} Hz and {speed}.")
        self.rate_hz = rate_hz
        self.speed = speed
        self._controls = controls or Unattended()
        self._clock, self._sleep = clock, sleep
        self._start_s = clock()
        self._beats = 0
        self.stopped = False
        self.late_s: list[float] = []

    def restart(self, rate_hz: float | None = None) -> None:
        """Begin a new row of deadlines now, at another rate where one is given."""
        self.rate_hz = self.rate_hz if rate_hz is None else rate_hz
        self._start_s, self._beats = self._clock(), 0

    def wait(self) -> bool:
        """Return True at the next deadline, or False when somebody stopped the replay."""
        self._obey()
        if self.stopped or not self.speed:
            return not self.stopped
        self._beats += 1
        deadline_s = self._start_s + self._beats / self.rate_hz / self.speed
        remaining_s = deadline_s - self._clock()
        if remaining_s > 0:
            self._sleep(remaining_s)
        self.late_s.append(max(0.0, self._clock() - deadline_s))
        return True

    def _obey(self) -> None:
        paused = False
        while not self.stopped:
            wish = self._controls.poll()
            if wish == "stop":
                self.stopped = True
            elif wish == "pause":
                paused = not paused
            elif wish in ("slower", "faster") and self.speed:
                self.speed = min(max(self.speed * (0.5 if wish == "slower" else 2.0), SLOWEST), FASTEST)
                self.restart()
            if not paused:
                return
            self._sleep(0.02)
            self.restart()
