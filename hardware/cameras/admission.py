"""Decide whether what a camera gives may be taken for a frame: its picture, and the time that it bears.

How old a picture is says whether an arm may be driven by it, so a time that cannot be true must get no further than
here: one that is not a number would be fresh for ever or never, one in the future stays fresh while the camera hangs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from robot.core.protocols import Camera

FUTURE_S: Final = 0.02
"""How far ahead of the clock a time may lie: what two readings of one clock, converted to and fro, may differ by."""
STILL_S: Final = 0.5
"""How long a camera may bear one and the same time: it may be asked for its next picture too early."""
REFUSED_WAIT_S: Final = 0.01
"""How long to wait after a frame that is none: who gives such may give them without waiting."""


class Admission:
    """Let one camera's frames in: uint8 (H, W, 3) of its own size, later than the last, and not in the future.

    `still_s`: how long a time may stand still before that is told. `clock`: that of the camera's times (s).
    """

    def __init__(self, camera: Camera, still_s: float = STILL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._camera = camera
        self._still_s = still_s
        self._clock = clock
        self._last_s = -math.inf
        self._since_s = clock()

    def refusal(self, image: object, time_s: object) -> str | None:
        """Return None where a frame is let in; else why not, in a sentence, which is empty for the last one again."""
        said = self._picture_problem(image) or self._time_problem(time_s)
        if said:
            return said
        assert isinstance(time_s, int | float | np.integer | np.floating)
        seen_s, now_s = float(time_s), self._clock()
        if seen_s == self._last_s:
            is_still = now_s - self._since_s > self._still_s
            return f"Camera {self._camera.name!r} hangs: the time of its pictures stands still." if is_still else ""
        self._last_s, self._since_s = seen_s, now_s
        return None

    def _picture_problem(self, image: object) -> str:
        size = tuple(self._camera.size)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != (*size, 3):
            given = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            return f"Camera {self._camera.name!r} must give pictures of uint8 {(*size, 3)}, and gave {given}."
        return ""

    def _time_problem(self, time_s: object) -> str:
        if not isinstance(time_s, int | float | np.integer | np.floating) or not math.isfinite(time_s):
            return f"Camera {self._camera.name!r} gives pictures whose time is no number: {time_s!r:.40}."
        ahead_s = float(time_s) - self._clock()
        if ahead_s > FUTURE_S:
            return (
                f"Camera {self._camera.name!r} gives pictures that are {ahead_s:.3g} s in the future: their time must "
                "be that of this machine's monotonic clock."
            )
        if float(time_s) < self._last_s:
            back_s = self._last_s - float(time_s)
            return f"The time of camera {self._camera.name!r}'s pictures has gone back by {back_s:.3g} s."
        return ""
