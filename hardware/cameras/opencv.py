"""Read a USB camera, a network camera or a video file with OpenCV.

OpenCV tells no frame numbers, so a camera that hangs can be known only by its frames not changing or not coming.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from hardware.cameras.lens import checked_intrinsics, checked_latency_s, checked_rate_hz
from hardware.extras import said
from robot.core.data import Image
from robot.core.errors import SailError

OPEN_TIMEOUT_MS: Final = 5000
READ_TIMEOUT_MS: Final = 2000


class OpenCVCamera:
    """Read a camera by `source`: a USB camera's number, the URL of a stream (rtsp://…), or the path of a video file.

    `size`: (H, W) in pixels, which the device is asked for and must deliver. `rate_hz` is asked of a device; a file
    plays at its own rate, and begins anew at its end with `loop`. `latency_s` is how long before its arrival a frame
    was taken; docs/arm.md says how to measure it. `intrinsics`: fx, fy, cx, cy in pixels, where they were measured.
    """

    def __init__(
        self,
        name: str,
        source: int | str,
        size: Sequence[int] = (480, 640),
        rate_hz: float = 30.0,
        latency_s: float = 0.0,
        loop: bool = False,
        intrinsics: Sequence[float] | None = None,
    ) -> None:
        self._name = name
        self._source = source
        self._size = (int(size[0]), int(size[1]))
        self._rate_hz = checked_rate_hz(name, rate_hz)
        self._latency_s = checked_latency_s(name, latency_s)
        self._loop = loop
        self._intrinsics = checked_intrinsics(name, intrinsics)
        self._capture: Any = None
        self._cv2: Any = None
        self._is_file = isinstance(source, str) and "://" not in source
        self._due_s = 0.0
        self._period_s = 1.0 / self._rate_hz

    @property
    def name(self) -> str:
        """Return what the camera is called in observations."""
        return self._name

    @property
    def size(self) -> tuple[int, int]:
        """Return the image size (H, W) in pixels."""
        return self._size

    @property
    def rate_hz(self) -> float:
        """Return how many pictures a second were asked for."""
        return self._rate_hz

    @property
    def intrinsics(self) -> tuple[float, float, float, float] | None:
        """Return fx, fy, cx, cy in pixels as they were given, None where they were not."""
        return self._intrinsics

    def open(self) -> None:
        """Begin to capture; raise SailError where there is no such camera or it has another size."""
        if self._capture is not None:
            return
        if self._is_file and not Path(str(self._source)).is_file():
            raise SailError(f"Camera {self._name!r}: there is no video file {self._source}.")
        try:
            import cv2
        except ModuleNotFoundError:
            raise SailError(
                f"Camera {self._name!r} needs OpenCV, which is not installed: install it with "
                '`pip install "sail-stack[opencv]"`.'
            ) from None
        except ImportError as problem:
            raise SailError(
                f"Camera {self._name!r} needs OpenCV, which cannot be imported ({said(problem)}); on Debian or Ubuntu, "
                "`apt-get install libgl1` may be what is missing."
            ) from None
        self._cv2 = cv2
        capture = self._opened(cv2)
        if not capture.isOpened():
            capture.release()
            raise SailError(
                f"Camera {self._name!r} at {self._source} cannot be opened: check its cable or address, that no other "
                "program uses it, and that you may (on Linux: join the group video)."
            )
        self._capture = capture
        if self._is_file:
            self._period_s = 1.0 / (capture.get(cv2.CAP_PROP_FPS) or self._rate_hz)
            self._due_s = time.monotonic()
        height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        if (height, width) != self._size:
            self.close()
            raise SailError(
                f"Camera {self._name!r} gives pictures of {height}×{width} and not of {self._size[0]}×{self._size[1]} "
                "(H×W): ask for a size it has."
            )

    def read(self) -> tuple[Image, float]:
        """Wait for the next frame; return it, uint8 (H, W, 3) RGB, and when it was captured (monotonic clock, s).

        Raises SailError where the camera is closed, gives nothing in time, or a file has come to its end.
        """
        if self._capture is None:
            raise SailError(f"Camera {self._name!r} is not open.")
        if self._is_file:
            time.sleep(max(0.0, self._due_s - time.monotonic()))
            self._due_s += self._period_s
        there, frame = self._capture.read()
        if not there and self._is_file and self._loop:
            self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)
            there, frame = self._capture.read()
        arrived_s = time.monotonic()
        if not there:
            what = "has come to its end" if self._is_file else "gives no pictures any more"
            raise SailError(f"Camera {self._name!r} at {self._source} {what}.")
        if frame.shape != (*self._size, 3):
            raise SailError(f"Camera {self._name!r} changed its pictures to {frame.shape}.")
        image = np.ascontiguousarray(frame[:, :, ::-1])  # OpenCV gives blue first
        return image, arrived_s - self._latency_s

    def close(self) -> None:
        """Stop capturing; closing twice is allowed."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    def _opened(self, cv2: Any) -> Any:
        if isinstance(self._source, int):
            capture = cv2.VideoCapture(self._source)
            height, width = self._size
            for key, value in (
                (cv2.CAP_PROP_FRAME_HEIGHT, height),
                (cv2.CAP_PROP_FRAME_WIDTH, width),
                (cv2.CAP_PROP_FPS, self._rate_hz),
                (cv2.CAP_PROP_BUFFERSIZE, 1),
            ):
                capture.set(key, value)
            return capture
        if self._is_file:
            return cv2.VideoCapture(self._source)
        # Without these a dead network camera holds its thread for half a minute.
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
        return cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, limits)
