"""One thread a camera: read a frame, hand it on to be published, never wait for anybody."""

from __future__ import annotations

import contextlib
import io
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hardware.clocks import now
from hardware.complaints import Complaints
from hardware.messages import Message, pack
from hardware.precedence import CAMERAS, take_precedence
from robot.data import Image
from robot.errors import SailError
from robot.protocols import Camera

ENCODINGS = ("raw", "jpeg")
RETRY_S = 1.0
RATE_OVER = 31
"""Over how many frames the rate is measured."""


class CameraFeed(threading.Thread):
    """Hand on one camera's frames. A camera that fails is opened again every second."""

    def __init__(
        self,
        camera: Camera,
        publish: Callable[[Sequence[bytes]], None],
        session: str,
        complaints: Complaints,
        encoding: str = "raw",
        quality: int = 90,
        ready: Callable[[], bool] = lambda: True,
        realtime: bool = False,
    ) -> None:
        """Take a function that publishes the parts of a message, and returns at once."""
        if encoding not in ENCODINGS:
            raise ValueError(f"The encoding of images is one of {', '.join(ENCODINGS)}, got {encoding!r}.")
        super().__init__(name=f"camera {camera.name}", daemon=True)
        self._camera, self._publish, self._session, self._complaints = camera, publish, session, complaints
        self._encoding, self._quality, self._arm_is_ready = encoding, quality, ready
        self._realtime = realtime
        self._ending = threading.Event()
        self.captured_s = float("-inf")
        self.frames = 0
        self.problem = "no frame has come yet"
        self._latest_s: deque[float] = deque(maxlen=RATE_OVER)

    @property
    def rate_hz(self) -> float:
        """Return how many frames a second came of late, 0 where too few came to say, or none any more."""
        times_s = list(self._latest_s)
        if len(times_s) < 2 or now() - times_s[-1] > 2.0 or times_s[-1] <= times_s[0]:
            return 0.0
        return (len(times_s) - 1) / (times_s[-1] - times_s[0])

    @property
    def lost(self) -> int:
        """Return how many frames the camera made that never came, where somebody counts them."""
        health = getattr(self._camera, "health", None)
        return 0 if health is None else int(health().lost)

    def end(self) -> None:
        """Ask the thread to end; it does so after the frame it waits for."""
        self._ending.set()

    def run(self) -> None:
        """Open the camera, publish until the end, close it."""
        opened = False
        if self._realtime:
            take_precedence(CAMERAS)
        try:
            while not self._ending.is_set():
                if not self._arm_is_ready():
                    self._ending.wait(0.01)
                    continue
                try:
                    if not opened:
                        self._camera.open()
                        opened = True
                    self._take(*self._camera.read())
                    self.problem = ""
                except SailError as error:
                    self._fails(str(error))
                    opened = False
                except Exception as error:
                    self._fails(repr(error))
                    opened = False
        finally:
            with contextlib.suppress(Exception):
                self._camera.close()

    def _fails(self, problem: str) -> None:
        self.problem = problem
        self._complaints.note(f"camera {self._camera.name} fails", problem)
        with contextlib.suppress(Exception):
            self._camera.close()
        self._ending.wait(RETRY_S)

    def _take(self, image: Image, captured_s: float) -> None:
        self.captured_s = captured_s
        self._latest_s.append(captured_s)
        self.frames += 1
        array: NDArray[np.uint8] = image if self._encoding == "raw" else encode_jpeg(image, self._quality)
        body = {
            "camera": self._camera.name,
            "captured_s": captured_s,
            "number": self.frames,
            "encoding": self._encoding,
        }
        message = Message("image", body, (array,), self._session, self.frames, -1, now())
        self._publish(pack(message))


def encode_jpeg(image: Image, quality: int = 90) -> NDArray[np.uint8]:
    """Return a picture, uint8 (H, W, 3), as a JPEG file, uint8 (bytes,)."""
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.fromarray(image).save(file, "JPEG", quality=quality)
    return np.frombuffer(file.getvalue(), np.uint8)


def decode_jpeg(data: NDArray[np.uint8], size: tuple[int, int]) -> Image:
    """Return the picture in a JPEG file, uint8 (H, W, 3); raise SailError unless it is one of that size (H, W)."""
    from PIL import Image as Pictures

    try:
        with Pictures.open(io.BytesIO(data.tobytes()), formats=["JPEG"]) as file:
            if (file.height, file.width) != size:
                raise SailError(f"A picture of {size} was expected, got {(file.height, file.width)}.")
            return np.asarray(file.convert("RGB"), np.uint8).copy()
    except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise SailError(f"A picture cannot be read ({error}).") from None
