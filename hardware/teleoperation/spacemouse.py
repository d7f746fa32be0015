"""Drive by a 3Dconnexion SpaceMouse with pyspacemouse.

The device sends what it feels at its own rate, faster than actions are asked for, and each of the package's reads gives
the next piece: whoever reads slowly gets old news. So a thread reads on and on and keeps the newest. The first button
shuts or opens the gripper, the second hands back to the policy.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from hardware.extras import maker_package, said
from hardware.teleoperation.operator_input import AXES, OperatorInput, with_dead_band
from robot.core.errors import SailError

POLL_S = 0.002
STALE_S = 0.5
"""A hand that pushes is reported all the time; what was last reported so long ago is a device that is gone."""


class SpaceMouse:
    """Read the first SpaceMouse found, or the one called `device`.

    `dead_band`: how far an axis, −1 … 1, may be off its middle and still mean rest; a hand that lies on it is never
    quite still. `speed`: the share of full speed at the end of an axis. `turns`: whether it turns the tool as well.
    """

    def __init__(
        self,
        device: str | None = None,
        dead_band: float = 0.15,
        speed: float = 0.5,
        turns: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 <= dead_band < 1.0 or not 0.0 < speed <= 1.0:
            raise SailError(f"A dead_band lies in 0–1 and a speed above 0, at most 1; got {dead_band} and {speed}.")
        self._name = device
        self._dead_band = dead_band
        self._speed = speed
        self._axes = AXES if turns else AXES[:3]
        self._device: Any = None
        self._clock = clock
        self._motion = dict.fromkeys(AXES, 0.0)
        self._felt = (0.0, clock())
        self._pressed = [0, 0]
        self._toggles = 0
        self._word = ""
        self._problem: Exception | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Find the device and begin to read it; raise SailError where there is none or it may not be read."""
        if self._device is not None:
            return
        package = maker_package("pyspacemouse", "spacemouse", "A SpaceMouse")
        try:
            self._device = package.open(device=self._name, axis_convention=package.AxisConvention.ROS)
        except Exception as problem:
            raise SailError(
                f"No SpaceMouse can be read ({said(problem)}): plug it in, install the system's hidapi "
                "(libhidapi-hidraw0), and give yourself the right to it by a udev rule (docs/arm.md)."
            ) from problem
        self._ended.clear()
        self._problem = None
        self._thread = threading.Thread(target=self._run, name="spacemouse", daemon=True)
        self._thread.start()

    def read(self) -> OperatorInput:
        """Return what the hand gives now, at once; raise SailError where the device is gone."""
        if self._device is None:
            raise SailError("The SpaceMouse is not open.")
        with self._lock:
            if self._problem is not None:
                raise SailError(f"The SpaceMouse is gone ({said(self._problem)}): plug it in and begin anew.")
            felt, toggles, word = self._motion, self._toggles, self._word
            self._toggles, self._word = 0, ""
            is_stale = self._clock() - self._felt[1] > STALE_S
        motion = [
            0.0 if is_stale or axis not in self._axes else self._speed * with_dead_band(felt[axis], self._dead_band)
            for axis in AXES
        ]
        return OperatorInput(tuple(motion), toggles, word)  # type: ignore[arg-type]

    def close(self) -> None:
        """Let go of the device; closing twice is allowed."""
        device, self._device = self._device, None
        self._ended.set()
        if self._thread is not None:
            self._thread.join(2.0)
        if device is not None:
            with contextlib.suppress(Exception):
                device.close()

    def _run(self) -> None:
        device = self._device
        while not self._ended.wait(POLL_S):
            try:
                state = device.read()
                # Copied: the package writes into one and the same state.
                motion = {axis: float(getattr(state, axis)) for axis in AXES}
                buttons = [*(int(one) for one in state.buttons[:2]), 0, 0][:2]
                if not all(map(math.isfinite, motion.values())):
                    raise ValueError(f"it feels {motion}")
            except Exception as problem:
                with self._lock:
                    self._problem = problem
                return
            with self._lock:
                if state.t != self._felt[0]:
                    self._felt = (state.t, self._clock())
                self._motion = motion
                self._toggles += buttons[0] > self._pressed[0]
                if buttons[1] > self._pressed[1]:
                    self._word = "hand back"
                self._pressed = buttons
