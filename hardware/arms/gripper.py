"""Drive a gripper that takes its time from a thread of its own, so that it never holds up the arm's servo loop.

Makers' grippers take one command and carry it out over tenths of a second, where an arm takes a new position every
4 ms. The newest opening asked for wins; those in between are skipped.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from hardware.extras import said
from robot.core.errors import SailError

RESOLUTION_M = 0.001
"""The least change of opening that is worth a command of its own."""
PATIENCE_S = 0.5
"""How long at most an opening that keeps changing is waited for."""


class GripperThread:
    """Carry out the newest opening asked for and keep the opening measured last.

    `move` is called with an opening in m and may take as long as the gripper moves; it returns or raises. `measure`
    returns the opening in m. Both are called from this thread alone. `interrupt` cuts a move short, where the maker
    allows that from another thread; it has a second thread, since it too may wait for the gripper. A move that was
    interrupted may raise, and that is no fault. `pause_s` lies between two rounds. An opening is begun once it was
    asked for unchanged for `settle_s`: the governor leads to it in small steps.
    """

    def __init__(
        self,
        move: Callable[[float], object],
        measure: Callable[[], float],
        interrupt: Callable[[], object] | None = None,
        pause_s: float = 0.05,
        settle_s: float = 0.0,
    ) -> None:
        self._move, self._measure, self._interrupt = move, measure, interrupt
        self._pause_s, self._settle_s = pause_s, settle_s
        self._wanted: float | None = None
        self._wanted_s = self._changed_s = 0.0
        self._sent: float | None = None
        self._changed = threading.Condition()
        self._closing = self._moving = self._interrupting = self._interrupted = False
        self._problem = ""
        self.opening_m = float(measure())
        self._threads = [threading.Thread(target=self._run, name="gripper", daemon=True)]
        if interrupt is not None:
            self._threads.append(threading.Thread(target=self._interrupt_moves, name="gripper-stop", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def failed(self) -> bool:
        """Return whether the gripper failed, after which its thread has ended."""
        return bool(self._problem)

    def ask(self, opening_m: float) -> None:
        """Ask for an opening and return at once; raise SailError where the gripper failed before."""
        self.check()
        with self._changed:
            last = next(one for one in (self._wanted, self._sent, self.opening_m) if one is not None)
            if abs(last - opening_m) < RESOLUTION_M:
                return
            self._changed_s = time.monotonic()
            if self._wanted is None:
                self._wanted_s = self._changed_s
            self._wanted = opening_m
            self._changed.notify_all()

    def hold(self) -> None:
        """Drop what was asked for and not begun, cut short a move under way where that is possible, and return at once.

        A finished grasp is left alone: the thing held stays held.
        """
        with self._changed:
            self._wanted = None
            if self._moving and self._interrupt is not None:
                self._interrupting = self._interrupted = True
                self._sent = None
                self._changed.notify_all()

    def check(self) -> None:
        """Raise SailError, saying what happened, where the gripper failed."""
        if self._problem:
            raise SailError(f"The gripper failed {self._problem}: look at it, then clear the fault.")

    def close(self, timeout_s: float = 3.0) -> None:
        """Let the threads end; closing twice is allowed."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _run(self) -> None:
        doing = ""
        try:
            while True:
                wanted = self._next()
                if self._closing:
                    return
                if wanted is not None:
                    doing = f"on its way to {wanted:.3f} m"
                    self._carry_out(wanted)
                doing = "when asked for its opening"
                self.opening_m = float(self._measure())
        except Exception as problem:  # whatever a maker's package raises ends up with the one who asks next
            self._problem = f"{doing} ({said(problem)})"
            with self._changed:
                self._closing = True
                self._changed.notify_all()

    def _next(self) -> float | None:
        """Wait a little, and return the opening to be begun now, or None."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._due(), self._pause_s)
            if self._closing or not self._due():
                return None
            self._sent, self._wanted = self._wanted, None
            self._moving, self._interrupted = True, False
            return self._sent

    def _due(self) -> bool:
        if self._wanted is None or self._interrupting:
            return False
        now_s = time.monotonic()
        return now_s - self._changed_s >= self._settle_s or now_s - self._wanted_s >= PATIENCE_S

    def _carry_out(self, opening_m: float) -> None:
        try:
            self._move(opening_m)
        except Exception:
            with self._changed:
                if not self._interrupted:
                    raise
        finally:
            self._moving = False

    def _interrupt_moves(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._interrupting)
                if not self._interrupting:
                    return
                moving = self._moving
            if moving and self._interrupt is not None:
                with contextlib.suppress(Exception):  # a gripper that cannot be stopped fails in its own thread
                    self._interrupt()
            with self._changed:
                self._interrupting = False
                self._changed.notify_all()
