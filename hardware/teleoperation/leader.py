"""Read an arm that a person moves by hand, a leader, from a thread of its own; nothing is ever commanded to it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import numpy as np

from hardware.extras import said
from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints
from robot.core.protocols import ArmDriver

POLL_S = 0.01
CONNECT_S = 30.0
SILENT_S = 0.3
"""A leader that has not said where it is for so long is silent: whoever follows it must stop."""


class Leader:
    """Read any arm that a driver reads: a servo arm without torque, or a Franka that is guided by hand.

    A driver that knows whether its arm can be moved by hand says so by `is_limp`.
    """

    def __init__(self, driver: ArmDriver, clock: Callable[[], float] = time.monotonic) -> None:
        self._driver, self._clock = driver, clock
        self._lock = threading.Lock()
        self._newest: tuple[Joints, float] | None = None
        self._problem: Exception | None = None
        self._ready, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def description(self) -> ArmDescription:
        """Return the leader's joints and their ranges."""
        return self._driver.description

    def open(self) -> None:
        """Connect the leader and begin to read it; raise SailError where that cannot be, or it has torque."""
        if self._thread is not None:
            return
        self._newest = self._problem = None
        self._ready.clear()
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)
        self._thread.start()
        if not self._ready.wait(CONNECT_S):
            raise SailError(f"The leader did not answer within {CONNECT_S:g} s: see whether it has power.")
        if self._newest is None:
            problem = self._problem
            self.close()
            raise problem if isinstance(problem, SailError) else SailError(f"The leader cannot be used: {problem!r}.")

    def read(self) -> Joints:
        """Return where the leader is, float64 (J,), at once; raise SailError where it has fallen silent."""
        with self._lock:
            newest, problem = self._newest, self._problem
        if newest is None:
            raise SailError("The leader is not open.")
        position, read_s = newest
        if (silent_s := self._clock() - read_s) > SILENT_S:
            why = f" ({said(problem)})" if problem is not None else ""
            raise SailError(f"The leader has been silent for {silent_s:.2f} s{why}: the arm stops; see to the leader.")
        return position

    def close(self) -> None:
        """Let go of the leader, which stays as limp as it was; closing twice is allowed."""
        thread, self._thread = self._thread, None
        self._ended.set()
        if thread is not None:
            thread.join(5.0)
        self._newest = None

    def _run(self) -> None:
        driver = self._driver
        try:
            driver.connect()
            self._see_that_it_is_limp()
            while not self._ended.is_set():
                self._look()
                self._ready.set()
                self._ended.wait(POLL_S)
        except Exception as problem:
            self._problem = problem
        finally:
            self._ready.set()
            with contextlib.suppress(Exception):
                driver.close()

    def _look(self) -> None:
        """Take note of where the leader is; one that does not say now may do so the next time."""
        try:
            position = np.array(self._driver.read().position, np.float64)
        except Exception as problem:
            with self._lock:
                self._problem = problem
            return
        with self._lock:
            self._newest, self._problem = (position, self._clock()), None

    def _see_that_it_is_limp(self) -> None:
        is_limp: Callable[[], bool] | None = getattr(self._driver, "is_limp", None)
        if is_limp is not None and not is_limp():
            raise SailError(
                f"The leader, {self.description.name}, has torque and cannot be moved by hand: put it into its rest "
                "pose and switch its power off and on."
            )
