"""Drive by the keys of a terminal: no root rights, no window, and it works over ssh.

A terminal tells that a key was pressed and, while it stays down, that it was pressed again and again; it never tells
that it was let go. So each press lasts a moment, a little longer than the usual time between two repeats.

    w s, arrows up down     away from the base, towards it     u o   roll
    a d, arrows left right  to the left, to the right          i k   pitch
    r f, page up down       up, down                           j l   yaw
    space                   shut or open the gripper           + -   faster, slower
    enter                   hand back to the policy            y n ? success, failure, unsure     x  stop
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from typing import Any, Final

from hardware.teleoperation.wishes import AXES, Wish
from robot.errors import SailError

KEYS: Final = {
    "w": ("x", 1), "s": ("x", -1), "\x1b[A": ("x", 1), "\x1b[B": ("x", -1),
    "a": ("y", 1), "d": ("y", -1), "\x1b[D": ("y", 1), "\x1b[C": ("y", -1),
    "r": ("z", 1), "f": ("z", -1), "\x1b[5~": ("z", 1), "\x1b[6~": ("z", -1),
    "u": ("roll", -1), "o": ("roll", 1),
    "i": ("pitch", 1), "k": ("pitch", -1),
    "j": ("yaw", 1), "l": ("yaw", -1),
}  # fmt: skip
WORDS: Final = {"\r": "hand back", "\n": "hand back", "y": "success", "n": "failure", "?": "unsure", "x": "stop"}
SPEEDS: Final = (0.1, 0.2, 0.4, 0.7, 1.0)
LONGEST_SEQUENCE: Final = 8


class Keyboard:
    """Read the terminal that file descriptor `fd` is, standard input by default.

    `press_s` is how long one press lasts. `speed` is the place in `SPEEDS` to begin at. Signals such as Ctrl-C work as
    ever; the terminal is given back as it was by `close`.
    """

    def __init__(
        self,
        fd: int | None = None,
        press_s: float = 0.12,
        speed: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fd = fd
        self._press_s = press_s
        self._speed = speed
        self._clock = clock
        self._kept: list[Any] | None = None
        self._rest = ""
        self._until_s: dict[tuple[str, int], float] = {}

    def open(self) -> None:
        """Ask the terminal for keys one by one and unseen; raise SailError where there is no terminal."""
        if self._kept is not None:
            return
        try:
            fd = sys.stdin.fileno() if self._fd is None else self._fd
            self._kept = termios.tcgetattr(fd)
        except (OSError, ValueError, termios.error):
            raise SailError("The keyboard needs a terminal on standard input; over ssh, use `ssh -t`.") from None
        self._fd = fd
        tty.setcbreak(fd)

    def read(self) -> Wish:
        """Return what the keys say now, at once; raise SailError where the terminal was closed."""
        if self._kept is None or self._fd is None:
            raise SailError("The keyboard is not open.")
        now_s = self._clock()
        toggles, word = 0, ""
        for key in self._pressed(self._fd):
            if key in KEYS:
                axis, sign = KEYS[key]
                self._until_s.pop((axis, -sign), None)  # turning round is at once
                self._until_s[axis, sign] = now_s + self._press_s
            elif key == " ":
                toggles += 1
            elif key in "+=-":
                self._speed = min(max(self._speed + (-1 if key == "-" else 1), 0), len(SPEEDS) - 1)
            # A stop is not unsaid by a later word.
            elif word != "stop":
                word = WORDS.get(key, word)
        motion = dict.fromkeys(AXES, 0.0)
        for (axis, sign), until_s in self._until_s.items():
            if until_s > now_s:
                motion[axis] = sign * SPEEDS[self._speed]
        return Wish(tuple(motion.values()), toggles, word)  # type: ignore[arg-type]

    def close(self) -> None:
        """Give the terminal back as it was; closing twice is allowed."""
        kept, self._kept = self._kept, None
        if kept is not None and self._fd is not None:
            with contextlib.suppress(OSError, termios.error):  # a terminal that is gone needs nothing back
                termios.tcsetattr(self._fd, termios.TCSADRAIN, kept)

    def _pressed(self, fd: int) -> list[str]:
        """Return the keys pressed since the last time, in order; what comes in several bytes as one."""
        text, self._rest = self._rest, ""
        while select.select([fd], [], [], 0)[0]:
            try:
                data = os.read(fd, 1024)
            except OSError:
                data = b""
            if not data:
                raise SailError("The terminal was closed.")
            text += data.decode("utf-8", errors="ignore")
        keys = []
        while text:
            length = self._length(text)
            if not length:
                self._rest = text
                break
            keys.append(text[:length])
            text = text[length:]
        return keys

    @staticmethod
    def _length(text: str) -> int:
        """Return how many characters the first key has, 0 where the rest of it is still on its way."""
        if not text.startswith("\x1b["):
            return 1 if text != "\x1b" else 0
        for place, letter in enumerate(text[2:LONGEST_SEQUENCE], 3):
            if letter.isalpha() or letter == "~":
                return place
        return 0 if len(text) < LONGEST_SEQUENCE else 1
