"""The operator's stop: Ctrl-C, a signal, or a key. It halts the robot at once and ends the episode at its next step.

Whatever carries an episode out may be waiting when the stop is given: for the next action to be due, for the arm to
come home, for a robot of somebody's own. So a thread that waits for nothing else halts the robot. It hears of a signal
from the system itself, before the program does, and of a key from the thread that reads the keyboard.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

from hardware.teleoperation.operator_input import InputDevice, StopsAtOnce
from robot.core.errors import SailError
from robot.core.protocols import Haltable, Robot

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, being told to end, and the closing of the terminal."""
KEY, REST, END = 253, 254, 255
"""What is written to the thread beside the numbers of signals."""
STANDARD: Final = (0, 1, 2)
POLL_S: Final = 0.05
LONGEST_HALT_S: Final = 10.0


class OperatorStop:
    """Be told of stops while it is entered; left by an error, it halts the robot first.

    `keyboard` is read for a key that stops, where it tells of one and there is a terminal. With `halts` false, as for a
    dry run, nothing is sent to the robot. `bears` is how many signals are borne; one more is a KeyboardInterrupt.
    """

    def __init__(self, robot: Robot, keyboard: InputDevice, halts: bool = True) -> None:
        self._robot = robot if halts and isinstance(robot, Haltable) else None
        self._keyboard = keyboard if isinstance(keyboard, StopsAtOnce) else None
        self.bears = 0
        self.hears_keys = False
        self._signals = 0
        self._has_interrupted = self._has_ended = False
        self._asked, self._halted = threading.Event(), threading.Event()
        self._reader, self._writer = -1, -1
        self._is_main = False
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1
        self._terminals: list[int] = []
        self._thread = threading.Thread(target=self._run, name="operator's stop", daemon=True)

    def is_asked(self) -> bool:
        """Return whether the operator asked for a stop."""
        return self._asked.is_set()

    @property
    def is_hurried(self) -> bool:
        """Return whether a second signal came: the program is to end at once."""
        return self._signals > 1

    def ask(self) -> None:
        """Ask for a stop, from any thread; returns at once."""
        self._asked.set()
        self._tell(KEY)

    def rest(self) -> None:
        """Halt the robot where it can be; wait until that is done, within reason, or the operator hurries."""
        if self._robot is not None and not self._has_ended:
            self._halted.clear()
            self._tell(REST)
            self._wait(self._halted.wait)

    def __enter__(self) -> OperatorStop:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._thread.start()
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            self._terminals = [fd for fd in STANDARD if os.isatty(fd)]
            self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            # A closing terminal that the program was told to ignore (nohup) stays ignored.
            heard = [one for one in SIGNALS if one is signal.SIGINT or signal.getsignal(one) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._take) for number in heard}
        if self._keyboard is not None:
            self._keyboard.on_stop = self.ask
            with contextlib.suppress(SailError):  # no terminal: there are no keys
                self._keyboard.open()
                self.hears_keys = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bears = max(self.bears, 2)
        try:
            if error is not None:
                self.rest()
        finally:
            if self._keyboard is not None:
                self._keyboard.close()
            for number, handler in self._before.items():
                signal.signal(number, handler)
            if self._is_main:
                signal.set_wakeup_fd(self._wakeup_before)
            self._end()

    def _take(self, number: int, frame: FrameType | None) -> None:
        """Take a signal, in the main thread; the robot is being halted already."""
        if number == signal.SIGHUP:
            self._leave_terminal()
        self._signals += 1
        self._asked.set()
        if self._signals > self.bears:
            raise KeyboardInterrupt

    def _leave_terminal(self) -> None:
        """Read and write nothing more where a terminal was: it is gone, and whoever writes there is given an error."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in self._terminals:
            os.dup2(nothing, fd)
        os.close(nothing)

    def _tell(self, what: int) -> None:
        if not self._has_ended:
            with contextlib.suppress(BlockingIOError):  # so much waits there that it will be heard
                os.write(self._writer, bytes([what]))

    def _end(self) -> None:
        """End the thread; a robot that is still being halted is waited for, for as long as that takes within reason."""
        self._tell(END)
        self._has_ended = True
        self._wait(self._has_gone)

    def _has_gone(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _wait(self, is_done: Callable[[float], bool]) -> None:
        """Wait for what says within so many seconds whether it is done."""
        until_s = time.monotonic() + LONGEST_HALT_S
        while not is_done(POLL_S) and not self.is_hurried and time.monotonic() < until_s:
            pass

    def _run(self) -> None:
        """Halt the robot whenever that is asked for, until the end."""
        ended = False
        while not ended:
            told = os.read(self._reader, 64)
            ended = END in told
            if any(number in told for number in SIGNALS):
                self._asked.set()
            if KEY in told and self._is_main and not self.bears and not self._has_interrupted:
                # What waits for the arm to come home is to end now, as with Ctrl-C.
                self._has_interrupted = True
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if self._robot is not None and told != bytes([END]):
                with contextlib.suppress(Exception):  # of a robot of somebody's own
                    self._robot.halt()
            if REST in told:
                self._halted.set()
        os.close(self._reader)
        os.close(self._writer)
