"""Read the colour pictures of an Intel RealSense camera with pyrealsense2, which numbers its frames."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hardware.cameras.lens import checked_intrinsics, checked_latency_s, checked_rate_hz
from hardware.extras import maker_package, said
from robot.core.data import Image
from robot.core.errors import SailError


class RealSenseCamera:
    """Read the camera with this serial number, as printed on it.

    `size`: (H, W) in pixels and `rate_hz`, a pair the camera offers. `latency_s` is how long before its arrival a frame
    was taken. `timeout_s` is how long a frame may take to come. `intrinsics`: fx, fy, cx, cy in pixels of the colour
    pictures at that size, where they are known; `rs-enumerate-devices -c` prints them as Fx, Fy, PPX, PPY.
    """

    def __init__(
        self,
        name: str,
        serial: str,
        size: Sequence[int] = (480, 640),
        rate_hz: int = 30,
        latency_s: float = 0.0,
        timeout_s: float = 1.0,
        intrinsics: Sequence[float] | None = None,
    ) -> None:
        self._name = name
        self._serial = serial
        self._size = (int(size[0]), int(size[1]))
        self._rate_hz = round(checked_rate_hz(name, rate_hz))
        self._latency_s = checked_latency_s(name, latency_s)
        self._timeout_ms = round(1000 * timeout_s)
        self._intrinsics = checked_intrinsics(name, intrinsics)
        self._pipeline: Any = None
        self._number = 0

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
        return float(self._rate_hz)

    @property
    def intrinsics(self) -> tuple[float, float, float, float] | None:
        """Return fx, fy, cx, cy in pixels as they were given, None where they were not."""
        return self._intrinsics

    @property
    def frame_number(self) -> int:
        """Return the device's own number of the frame read last."""
        return self._number

    def open(self) -> None:
        """Begin to capture; raise SailError where there is no such camera or it lacks the size and rate."""
        if self._pipeline is not None:
            return
        package = maker_package("pyrealsense2", "realsense", "A RealSense camera")
        config, pipeline = package.config(), package.pipeline()
        height, width = self._size
        config.enable_device(self._serial)
        config.enable_stream(package.stream.color, width, height, package.format.rgb8, self._rate_hz)
        try:
            pipeline.start(config)
        except RuntimeError as problem:
            raise SailError(
                f"Camera {self._name!r}, RealSense {self._serial}, cannot be opened at {height}×{width} and "
                f"{self._rate_hz} Hz ({said(problem)}): check its cable and serial number."
            ) from None
        self._pipeline = pipeline

    def read(self) -> tuple[Image, float]:
        """Wait for the next frame; return it, uint8 (H, W, 3) RGB, and when it was captured (monotonic clock, s).

        Raises SailError where the camera is closed or gives no frame in time.
        """
        if self._pipeline is None:
            raise SailError(f"Camera {self._name!r} is not open.")
        try:
            frame = self._pipeline.wait_for_frames(self._timeout_ms).get_color_frame()
            arrived_s = time.monotonic()
            # A copy: the device writes its next frames where this one lies.
            image = np.array(frame.get_data(), np.uint8)
            self._number = int(frame.get_frame_number())
        except RuntimeError as problem:
            raise SailError(
                f"Camera {self._name!r}, RealSense {self._serial}, gives no picture ({said(problem)})."
            ) from None
        if image.shape != (*self._size, 3):
            raise SailError(f"Camera {self._name!r} changed its pictures to {image.shape}.")
        return image, arrived_s - self._latency_s

    def close(self) -> None:
        """Stop capturing; closing twice is allowed."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            with contextlib.suppress(RuntimeError):  # a camera that was pulled out has stopped already
                pipeline.stop()
