"""Cameras of a simulated arm. They look at a copy of its pose, so that drawing never holds the physics up."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Image
from robot.core.errors import SailError, UnknownNameError
from sim.arms.painter import PainterProcess
from sim.rendering import camera_matrix


class Scene(Protocol):
    """What a camera looks at."""

    @property
    def model(self) -> Any:
        """Return the physics' own mujoco.MjModel."""
        ...

    @property
    def snapshot(self) -> tuple[NDArray[np.float64], float]:
        """Return the latest pose (`painter.read_pose`), never changed afterwards, and when it was so (s)."""
        ...


class SimulatedCamera:
    """Draw what a camera of the scene sees, `rate_hz` times a second, in a process of its own.

    Drawn in a thread of the servo's process instead, pictures come a millisecond sooner, but the servo waits for the
    interpreter: on a quiet machine with two cores and two cameras, the 99th percentile of its lateness rose from
    0.2 to 1.2 ms.
    """

    def __init__(
        self,
        scene: Scene,
        name: str,
        size: tuple[int, int] = (128, 128),
        rate_hz: float = 30.0,
        upside_down: bool = False,
        sites: bool = True,
    ) -> None:
        """Look at `scene` with the model's camera `name`; pictures are of `size` (H, W) pixels.

        Raises UnknownNameError where it has no such camera, ValueError for a rate or a size that is not positive.
        """
        if rate_hz <= 0 or min(size) < 1:
            raise ValueError(f"Camera {name!r} needs a positive rate and size, got {rate_hz} Hz and {size}.")
        known = tuple(scene.model.camera(index).name for index in range(scene.model.ncam))
        if name not in known:
            raise UnknownNameError("camera", name, known)
        self._scene, self._name, self._size = scene, name, size
        self._period_s = 1 / rate_hz
        self.upside_down, self._sites = upside_down, sites
        self._painter: PainterProcess | None = None
        self._closed = threading.Event()
        self._closed.set()
        self._due_s = 0.0

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
        """Return how many pictures a second it gives."""
        return 1 / self._period_s

    @property
    def intrinsics(self) -> tuple[float, float, float, float]:
        """Return fx, fy, cx, cy in pixels, centres of pixels being whole."""
        height, width = self._size
        fovy_deg = float(self._scene.model.camera(self._name).fovy[0])
        focal_px = 0.5 * height / math.tan(math.radians(0.5 * fovy_deg))
        return (focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)

    def open(self) -> None:
        """Begin to capture; raise RenderingError where nothing can be drawn here, SailError where it takes too long."""
        if self._painter is None:
            self._painter = PainterProcess(self._scene.model, self._name, self._size, self.upside_down, self._sites)
            self._due_s = time.monotonic()
            self._closed.clear()

    def read(self) -> tuple[Image, float]:
        """Wait for the next frame; return it, uint8 (H, W, 3) RGB, and when the scene was so (the arm's clock, s).

        Raises SailError where the camera is closed, also while it is read, or what draws it has died.
        """
        painter, now_s = self._painter, time.monotonic()
        self._due_s = max(self._due_s, now_s - self._period_s)  # frames that were missed are not made up for
        if self._closed.wait(self._due_s - now_s) or painter is None:
            raise SailError(f"Camera {self._name!r} is closed; open it before reading.")
        self._due_s += self._period_s
        pose, time_s = self._scene.snapshot
        return painter.draw(pose), time_s

    def close(self) -> None:
        """Stop capturing; closing twice is allowed."""
        self._closed.set()
        painter, self._painter = self._painter, None
        if painter is not None:
            painter.close()


def fixed_camera_matrices(model: Any, data: Any, cameras: Sequence[SimulatedCamera]) -> dict[str, NDArray[np.float64]]:
    """Return world_to_image, float64 (3, 4), of those of the cameras that hang on the world and not on the arm."""
    return {
        camera.name: camera_matrix(data, model, camera.name, camera.size, camera.upside_down)
        for camera in cameras
        if model.camera(camera.name).bodyid[0] == 0
    }
