"""Keep the newest frame of a camera, from a thread of its own, and know whether it is fresh.

Three things look alike to whoever only sees pictures: a still scene, a camera that hangs and repeats its last frame,
and one that sends nothing. Where the device numbers its frames, a number that stands still means that it hangs,
whatever is in the picture. Where it does not, pictures that stay the same bit for bit for longer than a set time are
taken for a camera that hangs: a living one has noise. A frame's age counts from when it was new.

A frame that is none, for its picture or its time, is refused, and what is wrong with it is said (see `admission`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

import numpy as np

from hardware.cameras.admission import REFUSED_WAIT_S, STILL_S, Admission
from hardware.cameras.lens import intrinsics_of, rate_of
from hardware.wire.reports import Intrinsics
from robot.core.data import Image
from robot.core.errors import SailError
from robot.core.protocols import Camera

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0


@runtime_checkable
class NumberedCamera(Camera, Protocol):
    """A camera whose device numbers its frames."""

    @property
    def frame_number(self) -> int:
        """Return the device's own number of the frame read last."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """Hold a frame: `image`, uint8 (H, W, 3) RGB, not to be written to, and `time_s` of its capture (monotonic clock).

    `count` grows with every frame that was new, from 1.
    """

    image: Image
    time_s: float
    count: int


@runtime_checkable
class WatchedCamera(Camera, Protocol):
    """A camera that says how it does."""

    def health(self) -> Health:
        """Return how the camera does now; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """Say how a camera does.

    `age_s`: since the newest frame was new; infinite before the first. `frames`: new ones so far. `lost`: frames that
    the device made and that never came. `repeated`: frames that came again. `frozen`: it hangs, or sends nothing.
    `reopened`: how often it was opened anew. `problem`: what is wrong, empty where it does well.
    """

    age_s: float
    frames: int = 0
    lost: int = 0
    repeated: int = 0
    frozen: bool = False
    reopened: int = 0
    problem: str = ""


class CapturedCamera:
    """Read a camera in a thread of its own; `newest` and `health` answer at once, whatever the camera does.

    It is a camera itself, one that gives only frames that are new: its `read` waits for the next and raises SailError
    where the camera hangs or sends nothing, so that no old frame is ever taken for a fresh one.

    `rate_hz`, where known, is how often a camera without frame numbers should give one; without it no lost frames are
    counted for such a camera. `frozen_after_s`: how long pictures may stay the same. A camera that fails is closed and
    opened anew, at first after 0.2 s and then after ever longer, 5 s at most.
    """

    def __init__(
        self,
        camera: Camera,
        rate_hz: float = 0.0,
        frozen_after_s: float = STILL_S,
        first_wait_s: float = FIRST_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera = camera
        self._period_s = 1.0 / rate_hz if rate_hz > 0 else 0.0
        self._frozen_after_s = frozen_after_s
        self._first_wait_s = first_wait_s
        self._clock = clock
        self._frame: Frame | None = None
        self._admission = Admission(camera, frozen_after_s, clock)
        self._health = Health(age_s=float("inf"))
        self._last: tuple[Image, float] | None = None
        self._same_since_s = 0.0
        self._renewed_s = clock()
        self._numbered = camera if isinstance(camera, NumberedCamera) else None
        self._number: int | None = None
        self._ended = threading.Event()
        self._arrived = threading.Condition()
        self._given = 0
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """Return what the camera is called in observations."""
        return self._camera.name

    @property
    def size(self) -> tuple[int, int]:
        """Return the image size (H, W) in pixels."""
        return self._camera.size

    @property
    def rate_hz(self) -> float:
        """Return how many pictures a second it is meant to give, 0 where that is not known."""
        return 1.0 / self._period_s if self._period_s else rate_of(self._camera)

    @property
    def intrinsics(self) -> Intrinsics | None:
        """Return fx, fy, cx, cy in pixels, None where they are not known."""
        return intrinsics_of(self._camera)

    def open(self) -> None:
        """Open the camera, which may take a while, and begin; raise SailError where there is no such camera."""
        if self._thread is not None and self._thread.is_alive():
            if not self._ended.is_set():
                return
            raise SailError(f"Camera {self.name!r} has not let go of its last frame yet.")
        self._camera.open()
        self._ended = threading.Event()
        self._last = self._number = None
        self._renewed_s = self._clock()
        self._thread = threading.Thread(target=self._run, args=(self._ended,), name=f"camera {self.name}", daemon=True)
        self._thread.start()

    def read(self) -> tuple[Image, float]:
        """Wait for a frame newer than the last one read; return it, uint8 (H, W, 3) RGB, and when it was captured.

        Frames that came in between are skipped. Raises SailError where the camera is closed, hangs or sends nothing.
        """
        while True:
            if self._thread is None or self._ended.is_set():
                raise SailError(f"Camera {self.name!r} is not open.")
            frame, health = self._frame, self.health()
            if health.frozen:
                raise SailError(health.problem)
            if frame is not None and frame.count > self._given:
                self._given = frame.count
                return frame.image, frame.time_s
            with self._arrived:
                if self._frame is frame:
                    self._arrived.wait(0.05)

    def newest(self) -> Frame | None:
        """Return the newest frame that was new, None before the first; never waits."""
        return self._frame

    def health(self) -> Health:
        """Return how the camera does now; never waits."""
        health, frame, now_s = self._health, self._frame, self._clock()
        silent_s = now_s - self._renewed_s
        if silent_s > self._frozen_after_s:
            said = health.problem or f"Camera {self.name!r} has sent nothing new for {silent_s:.1f} s."
            health = replace(health, frozen=True, problem=said)
        return health if frame is None else replace(health, age_s=now_s - frame.time_s)

    def close(self, timeout_s: float = 3.0) -> None:
        """Stop; a camera that does not let go of its thread in time is left to it. Closing twice is allowed."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        if thread is None or not thread.is_alive():
            self._camera.close()

    def _run(self, ended: threading.Event) -> None:
        wait_s = self._first_wait_s
        while not ended.is_set():
            try:
                image, time_s = self._camera.read()
                wait_s = self._first_wait_s
                if (refusal := self._admission.refusal(image, time_s)) is None:
                    self._take(np.array(image), float(time_s))  # a copy: a camera may use its buffer again
                else:
                    self._refuse(refusal)
                    ended.wait(REFUSED_WAIT_S)
            except SailError as problem:
                self._note(problem=str(problem))
                wait_s = self._open_anew(wait_s, ended)
            except Exception as problem:  # a package's own error must not end the thread without a word
                self._note(problem=f"Camera {self.name!r} failed ({problem}).")
                wait_s = self._open_anew(wait_s, ended)

    def _open_anew(self, wait_s: float, ended: threading.Event) -> float:
        """Close the camera, wait, open it, again and again with longer waits; return how long to wait the next time.

        The wait is short again only after a frame: what opens and gives nothing would be opened over and over.
        """
        with contextlib.suppress(Exception):
            self._camera.close()
        while not ended.wait(wait_s):
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            try:
                self._camera.open()
            except Exception as problem:
                self._note(problem=str(problem))
                continue
            self._number = None  # a device that begins anew counts anew
            self._note(reopened=self._health.reopened + 1)
            break
        return wait_s

    def _take(self, image: Image, time_s: float) -> None:
        """Take a frame: as a new one, or as a repeated one that makes the newest no younger."""
        last, before = self._last, self._number
        self._last = (image, time_s)
        if self._numbered is not None:
            number = self._number = int(self._numbered.frame_number)
            repeated = is_old = number == before
            lost = max(number - before - 1, 0) if before is not None else 0
        else:
            repeated = last is not None and np.array_equal(image, last[0])
            lost = self._lost_between(last[1] if last else None, time_s)
            if not repeated:
                self._same_since_s = time_s
            is_old = time_s - self._same_since_s > self._frozen_after_s
        self._note(repeated=self._health.repeated + repeated, lost=self._health.lost + lost)
        if is_old:
            self._hang()
        else:
            self._show(image, time_s)

    def _refuse(self, refusal: str) -> None:
        """Say why a frame is none; the last one once more is a repeated one, of which there is nothing to say."""
        if refusal:
            self._note(problem=refusal)
        else:
            self._note(repeated=self._health.repeated + 1)

    def _show(self, image: Image, time_s: float) -> None:
        image.flags.writeable = False
        count = self._health.frames + 1
        self._renewed_s = self._clock()
        self._note(frames=count, frozen=False, problem="")
        with self._arrived:
            self._frame = Frame(image, time_s, count)
            self._arrived.notify_all()

    def _hang(self) -> None:
        """Say that the camera hangs, and give the newest frame the age it really has."""
        frame = self._frame
        if self._numbered is None and frame is not None:
            self._frame = Frame(frame.image, self._same_since_s, frame.count)
        elif self._clock() - self._renewed_s <= self._frozen_after_s:
            return  # a number seen twice may only have been asked for too early
        self._note(frozen=True, problem=f"Camera {self.name!r} hangs: it repeats one picture.")

    def _lost_between(self, before_s: float | None, time_s: float) -> int:
        if before_s is None or self._period_s == 0.0:
            return 0
        return max(round((time_s - before_s) / self._period_s) - 1, 0)

    def _note(self, **changes: int | bool | str) -> None:
        """Replace what is known in one step, so that whoever reads sees all of it or none."""
        self._health = replace(self._health, **changes)  # type: ignore[arg-type]
