"""One thread a camera: read a frame, hand it on to be published, never wait for anybody.

What is no frame, for its picture or its time, is not published, and `problem` says why: so the age that the server
states, and a client sees, is that of the newest picture which can be driven by.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hardware.cameras.admission import REFUSED_WAIT_S, Admission
from hardware.cameras.capture import WatchedCamera
from hardware.server.complaints import Complaints
from hardware.server.precedence import CAMERAS, take_precedence
from hardware.wire.clocks import now
from hardware.wire.jpeg import encode_jpeg
from hardware.wire.messages import Message, pack
from robot.core.data import Image
from robot.core.errors import SailError
from robot.core.protocols import Camera

ENCODINGS = ("raw", "jpeg")
RETRY_S = 1.0
MOST_LOST = 2**31
MOST_SAID = 500
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
        self._admission = Admission(camera, clock=now)
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
        """Return how many frames the camera made that never came, 0 where nobody counts them, or nobody can have."""
        with contextlib.suppress(Exception):  # a camera of the user's own may say anything
            if isinstance(self._camera, WatchedCamera):
                return min(max(int(self._camera.health().lost), 0), MOST_LOST)
        return 0

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
                    image, captured_s = self._camera.read()
                    self._take(image, captured_s)
                except Exception as error:
                    self._fails(str(error) if isinstance(error, SailError) else repr(error))
                    opened = False
        finally:
            with contextlib.suppress(Exception):
                self._camera.close()

    def _say(self, problem: str) -> None:
        """Take note of what is wrong; it may be a maker's words, and goes to other programs and their terminals."""
        self.problem = "".join(letter if letter.isprintable() else " " for letter in problem)[:MOST_SAID]
        self._complaints.note(f"camera {self._camera.name} fails", self.problem)

    def _fails(self, problem: str) -> None:
        self._say(problem)
        with contextlib.suppress(Exception):
            self._camera.close()
        self._ending.wait(RETRY_S)

    def _take(self, image: Image, captured_s: float) -> None:
        """Publish a frame, or say why it is none; of the last one once more there is nothing to say."""
        refusal = self._admission.refusal(image, captured_s)
        if refusal is not None:
            if refusal:
                self._say(refusal)
            self._ending.wait(REFUSED_WAIT_S)
            return
        array: NDArray[np.uint8] = image if self._encoding == "raw" else encode_jpeg(image, self._quality)
        self.frames += 1
        body = {
            "camera": self._camera.name,
            "captured_s": float(captured_s),
            "number": self.frames,
            "encoding": self._encoding,
        }
        message = Message("image", body, (array,), self._session, self.frames, -1, now())
        self._publish(pack(message))
        self.captured_s = float(captured_s)
        self._latest_s.append(self.captured_s)
        self.problem = ""
