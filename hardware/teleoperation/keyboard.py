"""Drive by the keys of a terminal: no root rights, no window, and it works over ssh.

A terminal tells that a key was pressed and, while it stays down, that it was pressed again and again; it never tells
that it was let go. So each press lasts a moment, a little longer than the usual time between two repeats.

    w s, arrows up down     away from the base, towards it     u o   roll
    a d, arrows left right  to the left, to the right          i k   pitch
    r f, page up down       up, down                           j l   yaw
    g                       shut or open the gripper           + -   faster, slower
    enter                   hand back to the policy            y n ? success, failure, unsure     space, x  stop

Letters do the same with the shift key down or caps lock on.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from typing import Any, Final

from hardware.teleoperation.operator_input import AXES, OperatorInput
from robot.core.errors import SailError

KEYS: Final = {
    "w": ("x", 1), "s": ("x", -1), "\x1b[A": ("x", 1), "\x1b[B": ("x", -1), "\x1bOA": ("x", 1), "\x1bOB": ("x", -1),
    "a": ("y", 1), "d": ("y", -1), "\x1b[D": ("y", 1), "\x1b[C": ("y", -1), "\x1bOD": ("y", 1), "\x1bOC": ("y", -1),
    "r": ("z", 1), "f": ("z", -1), "\x1b[5~": ("z", 1), "\x1b[6~": ("z", -1),
    "u": ("roll", -1), "o": ("roll", 1),
    "i": ("pitch", 1), "k": ("pitch", -1),
    "j": ("yaw", 1), "l": ("yaw", -1),
}  # fmt: skip
GRIPPER: Final = "g"
STOP: Final = "stop"
WORDS: Final = {
    "\r": "hand back", "\n": "hand back", "y": "success", "n": "failure", "?": "unsure", " ": STOP, "x": STOP,
}  # fmt: skip
SPEEDS: Final = (0.1, 0.2, 0.4, 0.7, 1.0)
LONGEST_SEQUENCE: Final = 8
SEQUENCE: Final = re.compile(r"\x1b(?:(?:O|\[\[?[0-9;?]*)([A-Za-z~])?)?")
"""What a key of several bytes sends, its last one as a group. No other byte is a part of one: it may be a stop."""


class Keyboard:
    """Read the terminal that file descriptor `fd` is, standard input by default, from a thread of its own.

    `press_s` is how long one press lasts. `speed` is the place in `SPEEDS` to begin at. Signals such as Ctrl-C work as
    ever; the terminal is given back as it was by `close`. `on_stop` is called by the thread at every key for a stop, as
    soon as it is pressed; set it before `open`.
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
        self.on_stop: Callable[[], None] = lambda: None
        self._kept: list[Any] | None = None
        self._rest = ""
        self._until_s: dict[tuple[str, int], float] = {}
        self._toggles, self._word = 0, ""
        self._problem = ""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending: tuple[int, int] = (-1, -1)

    def open(self) -> None:
        """Ask the terminal for keys one by one and unseen; raise SailError where there is no terminal to be read."""
        if self._kept is not None:
            return
        try:
            fd = sys.stdin.fileno() if self._fd is None else self._fd
            kept = termios.tcgetattr(fd)
        except (OSError, ValueError, termios.error):
            raise SailError("The keyboard needs a terminal on standard input; over ssh, use `ssh -t`.") from None
        if not _is_ours(fd):
            raise SailError("The keyboard cannot be read by a command in the background: give it in the foreground.")
        self._fd, self._kept, self._problem = fd, kept, ""
        tty.setcbreak(fd)
        self._ending = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(fd, self._ending[0]), name="keyboard", daemon=True)
        self._thread.start()

    def read(self) -> OperatorInput:
        """Return what the keys say now, at once; raise SailError where the terminal was closed."""
        if self._kept is None:
            raise SailError("The keyboard is not open.")
        now_s = self._clock()
        motion = dict.fromkeys(AXES, 0.0)
        with self._lock:
            if self._problem:
                raise SailError(self._problem)
            for (axis, sign), until_s in self._until_s.items():
                if until_s > now_s:
                    motion[axis] = sign * SPEEDS[self._speed]
            toggles, word = self._toggles, self._word
            self._toggles, self._word = 0, ""
        return OperatorInput(tuple(motion.values()), toggles, word)  # type: ignore[arg-type]

    def close(self) -> None:
        """Give the terminal back as it was; closing twice is allowed."""
        kept, self._kept = self._kept, None
        if kept is None or self._fd is None or self._thread is None:
            return
        reader, writer = self._ending
        os.write(writer, b".")
        if self._thread is not threading.current_thread():
            self._thread.join()
        os.close(reader)
        os.close(writer)
        self._thread = None
        with contextlib.suppress(OSError, termios.error):  # a terminal that is gone needs nothing back
            if _is_ours(self._fd):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, kept)

    def _run(self, fd: int, ending: int) -> None:
        """Hear the keys as they are pressed, until the end or until the terminal is closed."""
        while ending not in (ready := select.select([fd, ending], [], [])[0]):
            if not _is_ours(fd):
                time.sleep(0.1)
            elif fd in ready:
                try:
                    data = os.read(fd, 1024)
                except OSError:
                    data = b""
                if not data:
                    with self._lock:
                        self._problem = "The terminal was closed."
                    return
                self._hear(data.decode("utf-8", errors="ignore"))

    def _hear(self, text: str) -> None:
        with self._lock:
            keys = self._keys_in(text)
            for key in keys:
                self._take(key)
        if any(WORDS.get(key) == STOP for key in keys):
            self.on_stop()

    def _take(self, key: str) -> None:
        if key in KEYS:
            axis, sign = KEYS[key]
            self._until_s.pop((axis, -sign), None)  # turning round is at once
            self._until_s[axis, sign] = self._clock() + self._press_s
        elif key == GRIPPER:
            self._toggles += 1
        elif key in "+=-":
            self._speed = min(max(self._speed + (-1 if key == "-" else 1), 0), len(SPEEDS) - 1)
        elif self._word != STOP:  # a stop is not unsaid by a later word
            self._word = WORDS.get(key, self._word)

    def _keys_in(self, text: str) -> list[str]:
        """Return the keys in what came, in order, letters small; what comes in several bytes as one.

        Its beginning is kept where the rest of it is still on its way.
        """
        text, self._rest = self._rest + text, ""
        keys = []
        while text:
            sequence = SEQUENCE.match(text)
            key = text[0] if sequence is None else sequence.group()
            if sequence is not None and not sequence.group(1) and len(key) == len(text) < LONGEST_SEQUENCE:
                self._rest = text
                break
            keys.append(key.lower() if len(key) == 1 else key)
            text = text[len(key) :]
        return keys


def _is_ours(fd: int) -> bool:
    """Return whether this process may read and set a terminal: whoever does so from the background is halted."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # it is not the terminal that this process belongs to, and nothing is forbidden
        return True
