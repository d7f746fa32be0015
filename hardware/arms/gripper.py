"""Drive a gripper that takes its time from a thread of its own, so that it never holds up the arm's servo loop.

Makers' grippers take one command and carry it out over tenths of a second, where an arm takes a new position every
4 ms. The newest opening asked for wins; those in between are skipped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from robot.errors import SailError

RESOLUTION_M = 0.001
"""The least change of opening that is worth a command of its own."""


class GripperThread:
    """Carry out the newest opening asked for and keep the opening measured last.

    `move` is called with an opening in m and may take as long as the gripper moves; it returns or raises. `measure`
    returns the opening in m. Both are called from this thread alone. `interrupt`, where the maker allows it from
    another thread, cuts a move short. `pause_s` lies between two rounds.
    """

    def __init__(
        self,
        move: Callable[[float], object],
        measure: Callable[[], float],
        interrupt: Callable[[], object] | None = None,
        pause_s: float = 0.05,
    ) -> None:
        self._move = move
        self._measure = measure
        self._interrupt = interrupt
        self._pause_s = pause_s
        self._wanted: float | None = None
        self._sent: float | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._moving = False
        self._problem: Exception | None = None
        self.opening_m = float(measure())
        self._thread = threading.Thread(target=self._run, name="gripper", daemon=True)
        self._thread.start()

    def ask(self, opening_m: float) -> None:
        """Ask for an opening and return at once; raise SailError where the gripper failed before."""
        self.check()
        with self._changed:
            last = self._wanted if self._wanted is not None else self._sent
            if last is not None and abs(last - opening_m) < RESOLUTION_M:
                return
            if last is None and abs(self.opening_m - opening_m) < RESOLUTION_M:
                return
            self._wanted = opening_m
            self._changed.notify_all()

    def hold(self) -> None:
        """Drop what was asked for and not begun, and cut short a move under way where the maker allows it.

        A finished grasp is left alone: the thing held stays held.
        """
        with self._changed:
            self._wanted = None
            moving = self._moving
        if moving and self._interrupt is not None:
            self._interrupt()
            self._sent = None

    def check(self) -> None:
        """Raise SailError where the gripper failed."""
        if self._problem is not None:
            raise SailError(
                f"The gripper no longer answers ({self._problem}): check its power and connection, then connect anew."
            )

    def close(self, timeout_s: float = 3.0) -> None:
        """Let the thread end; closing twice is allowed."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._wanted is None and not self._closing:
                    self._changed.wait(self._pause_s)
                if self._closing:
                    return
                wanted, self._wanted = self._wanted, None
                if wanted is not None:
                    self._sent, self._moving = wanted, True
            try:
                if wanted is not None:
                    self._move(wanted)
                self._moving = False
                self.opening_m = float(self._measure())
            except Exception as problem:  # whatever a maker's package raises ends up with the one who asks next
                self._problem = problem
                return
