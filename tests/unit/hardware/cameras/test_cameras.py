"""Cameras: what OpenCV and RealSense deliver, and whether the thread that keeps the newest frame knows its age."""

from __future__ import annotations

import contextlib
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from hardware.cameras.capture import CapturedCamera, NumberedCamera
from hardware.cameras.lens import intrinsics_of, rate_of
from hardware.cameras.opencv import OpenCVCamera
from hardware.cameras.realsense import RealSenseCamera
from robot.core.errors import SailError
from robot.core.protocols import Camera, DescribedCamera
from tests.doubles import pyrealsense2
from tests.doubles.benches import wait_until

SIZE = (48, 64)


def picture(number: int) -> np.ndarray:
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:, :, 0] = 200
    image[:, :, 2] = 20 * (number % 10)
    return image


class HandFed:
    """A camera whose frames a test puts in: an image, or an error to raise. It waits as a real one does."""

    name, size = "hand", SIZE

    def __init__(self) -> None:
        self.frames: queue.Queue = queue.Queue()
        self.opened = 0
        self.refuses = 0
        self.closed = 0
        self.ended = False
        self.number = 0

    def open(self) -> None:
        if self.refuses:
            self.refuses -= 1
            raise SailError("Camera 'hand' cannot be opened.")
        self.opened += 1

    def read(self) -> tuple[np.ndarray, float]:
        while True:
            try:
                frame = self.frames.get(timeout=0.02)
            except queue.Empty:
                if self.ended:
                    raise SailError("Camera 'hand' is not open.") from None
                continue
            if isinstance(frame, Exception):
                raise frame
            image, time_s, self.number = frame
            return image.copy(), time_s

    def close(self) -> None:
        self.closed += 1

    def put(self, image: np.ndarray, time_s: float, number: int = 0) -> None:
        self.frames.put((image, time_s, number))


class Waiting(HandFed):
    """A camera that hands on the very thing that was put in."""

    def read(self) -> tuple[np.ndarray, float]:
        while not self.ended:
            with contextlib.suppress(queue.Empty):
                image, time_s, self.number = self.frames.get(timeout=0.02)
                return image, time_s
        raise SailError("Camera 'hand' is not open.")


class WaitingNumbered(Waiting):
    @property
    def frame_number(self) -> int:
        return self.number


class HandFedNumbered(HandFed):
    @property
    def frame_number(self) -> int:
        return self.number


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def captured(clock: Clock) -> Iterator[Callable[..., tuple[CapturedCamera, HandFed]]]:
    started = []

    def start(camera: HandFed | None = None, **options: float) -> tuple[CapturedCamera, HandFed]:
        camera = camera or HandFed()
        thread = CapturedCamera(camera, first_wait_s=0.01, clock=clock, **options)
        thread.open()
        started.append((thread, camera))
        return thread, camera

    yield start
    for thread, camera in started:
        camera.ended = True
        thread.close()


def test_a_lens_is_told_through_every_wrapping_and_checked() -> None:
    lens = [615.2, 614.9, 319.5, 239.5]
    for camera in (
        OpenCVCamera("front", 0, [480, 640], intrinsics=lens),  # lists, as settings have them
        RealSenseCamera("front", "123", [480, 640], intrinsics=lens),
    ):
        wrapped = CapturedCamera(camera)
        assert isinstance(wrapped, DescribedCamera) and isinstance(camera, DescribedCamera)
        assert wrapped.intrinsics == tuple(lens) and wrapped.rate_hz == 30.0 and wrapped.size == (480, 640)
    assert CapturedCamera(HandFed()).intrinsics is None and CapturedCamera(HandFed()).rate_hz == 0.0
    with pytest.raises(SailError, match="fx, fy, cx, cy"):
        OpenCVCamera("front", 0, intrinsics=[615.2, 0.0, 319.5, 239.5])


# What is no frame


def after(thread: CapturedCamera, camera: HandFed, image: object, time_s: object, number: int = 0) -> CapturedCamera:
    """Put a frame in and wait until it has been looked at."""
    camera.put(image, time_s, number)  # type: ignore[arg-type]
    taken(thread, camera)
    return thread


TIMES = [
    (float("nan"), "whose time is no number: .*nan"),
    (float("inf"), "whose time is no number: inf"),
    (-float("inf"), "whose time is no number: -inf"),
    (np.float32("nan"), "whose time is no number: .*nan"),
    (None, "whose time is no number: None"),
    ("now", "whose time is no number: 'now'"),
    (100.5, "are 0.5 s in the future"),
    (1.7e9, r"are 1.7e\+09 s in the future"),  # the time of day
    (99.5, "has gone back by 0.4 s"),
]
PICTURES = [
    (np.zeros((64, 48, 3), np.uint8), r"pictures of uint8 \(48, 64, 3\), and gave uint8 \(64, 48, 3\)"),
    (np.zeros((48, 64), np.uint8), r"and gave uint8 \(48, 64\)"),
    (np.zeros((48, 64, 4), np.uint8), r"and gave uint8 \(48, 64, 4\)"),
    (np.zeros((48, 64, 3), np.float32), r"and gave float32 \(48, 64, 3\)"),
    (None, "and gave NoneType"),
]


@pytest.mark.parametrize(
    ("image", "time_s", "said"),
    [(picture(1), time_s, said) for time_s, said in TIMES] + [(image, 99.95, said) for image, said in PICTURES],
)
def test_what_is_no_frame_is_refused_and_said(captured, image: object, time_s: object, said: str) -> None:
    thread, camera = captured(Waiting())
    after(thread, camera, picture(0), 99.9)
    after(thread, camera, image, time_s)
    health = thread.health()
    assert re.search(said, health.problem) and health.reopened == 0
    assert health.frames == 1 and health.age_s == pytest.approx(0.1)
    assert thread.newest().time_s == 99.9
    np.testing.assert_array_equal(thread.newest().image, picture(0))
    after(thread, camera, picture(2), 100.0)
    assert thread.health().problem == "" and thread.health().frames == 2


def test_a_camera_that_gives_nothing_but_refused_frames_is_frozen_and_says_why(captured, clock: Clock) -> None:
    thread, camera = captured(Waiting())
    after(thread, camera, picture(0), float("nan"))
    clock.now_s = 100.6
    health = thread.health()
    assert health.frozen and "whose time is no number" in health.problem and health.age_s == float("inf")
    with pytest.raises(SailError, match="whose time is no number"):
        thread.read()


@pytest.mark.parametrize("number", [0, 1])
def test_a_time_that_stands_still_is_a_hang_whatever_the_picture(captured, clock: Clock, number: int) -> None:
    thread, camera = captured(WaitingNumbered() if number else Waiting())
    after(thread, camera, picture(0), 100.0, 0)
    after(thread, camera, picture(1), 100.0, number)
    assert thread.health().problem == "" and thread.health().repeated == 1  # it may only have been asked too early
    clock.now_s = 100.6
    after(thread, camera, picture(2), 100.0, 2 * number)
    health = thread.health()
    assert health.frozen and "time of its pictures stands still" in health.problem
    assert health.age_s == pytest.approx(0.6) and health.frames == 1
    after(thread, camera, picture(3), 100.6, 3 * number)
    assert thread.health().problem == "" and not thread.health().frozen


@pytest.mark.parametrize("make", [OpenCVCamera, RealSenseCamera])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1])
def test_settings_that_would_give_pictures_no_time_or_no_rate_are_refused(make: Any, wrong: float) -> None:
    for key in ("latency_s", "rate_hz"):
        with pytest.raises(SailError, match=f"{key} of camera 'front' must be"):
            make("front", "123", **{key: wrong})
    with pytest.raises(SailError, match="rate_hz"):
        make("front", "123", rate_hz=0)


def test_a_camera_may_use_its_buffer_again(captured) -> None:
    thread, camera = captured(Waiting())
    buffer = picture(0)
    after(thread, camera, buffer, 99.8)
    buffer[:] = picture(1)
    after(thread, camera, buffer, 99.9)
    assert thread.health().repeated == 0 and thread.health().frames == 2
    buffer[:] = 0
    np.testing.assert_array_equal(thread.newest().image, picture(1))


@pytest.mark.parametrize("claim", [float("nan"), float("inf"), -3.0, "many", None])
def test_what_a_camera_says_of_itself_and_cannot_be_is_not_known(claim: object) -> None:
    camera = HandFed()
    camera.rate_hz, camera.intrinsics = claim, (claim, claim, claim, claim)  # type: ignore[attr-defined]
    assert rate_of(camera) == 0.0 and intrinsics_of(camera) is None

    class Raising(HandFed):
        @property
        def rate_hz(self) -> float:
            raise RuntimeError("not open yet")

        intrinsics = rate_hz

    assert rate_of(Raising()) == 0.0 and intrinsics_of(Raising()) is None
    assert rate_of(CapturedCamera(Raising())) == 0.0


def taken(thread: CapturedCamera, camera: HandFed) -> None:
    """Wait until every frame that was put in has been looked at."""
    wait_until(lambda: camera.frames.empty())
    health = None
    while health != thread.health():  # the last one may just be on its way in
        health = thread.health()
        time.sleep(0.05)


# The thread


def test_the_newest_frame_is_there_at_once_with_its_time_and_age(captured, clock: Clock) -> None:
    thread, camera = captured()
    assert thread.newest() is None
    assert thread.health().age_s == float("inf")
    clock.now_s = 100.25
    for number in range(3):
        camera.put(picture(number), 100.0 + number / 10)
    wait_until(lambda: thread.newest() is not None and thread.newest().count == 3)
    frame = thread.newest()
    np.testing.assert_array_equal(frame.image, picture(2))
    assert frame.time_s == pytest.approx(100.2)
    assert thread.health().age_s == pytest.approx(0.05)
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0, 0] = 1


def test_a_reader_never_waits_for_a_camera_that_blocks(captured, clock: Clock) -> None:
    thread, camera = captured(frozen_after_s=0.5)
    camera.put(picture(0), 100.0)
    wait_until(lambda: thread.newest() is not None)
    clock.now_s = 107.0
    began_s = time.monotonic()
    for _ in range(1000):
        assert thread.newest().count == 1
        health = thread.health()
    assert time.monotonic() - began_s < 5
    assert health.age_s == pytest.approx(7.0)
    assert health.frozen
    assert "nothing new for 7.0 s" in health.problem


def test_a_still_scene_with_numbered_frames_is_fresh(captured, clock: Clock) -> None:
    thread, camera = captured(HandFedNumbered(), frozen_after_s=0.5)
    assert isinstance(camera, NumberedCamera) and not isinstance(HandFed(), NumberedCamera)
    for number in range(30):
        clock.now_s = 100.0 + number / 10
        camera.put(picture(0), clock.now_s, number)
    taken(thread, camera)
    health = thread.health()
    assert not health.frozen and health.age_s == pytest.approx(0.0) and health.repeated == 0 and health.frames == 30


def test_a_hanging_camera_with_numbered_frames_is_told_though_its_picture_may_change(captured, clock: Clock) -> None:
    thread, camera = captured(HandFedNumbered(), frozen_after_s=0.5)
    camera.put(picture(0), 100.0, 7)
    wait_until(lambda: thread.newest() is not None)
    for number in range(1, 11):
        clock.now_s = 100.0 + number / 10
        camera.put(picture(number), clock.now_s, 7)
        taken_before = number
        wait_until(lambda taken_before=taken_before: thread.health().repeated == taken_before)
    health = thread.health()
    assert health.frozen and "repeats one picture" in health.problem
    assert health.age_s == pytest.approx(1.0) and health.frames == 1
    np.testing.assert_array_equal(thread.newest().image, picture(0))
    clock.now_s = 101.1
    camera.put(picture(3), 101.1, 8)
    wait_until(lambda: thread.newest().count == 2)
    taken(thread, camera)
    assert not thread.health().frozen and thread.health().problem == ""


def test_without_numbers_sameness_for_long_is_a_hang_and_for_a_moment_is_not(captured, clock: Clock) -> None:
    thread, camera = captured(frozen_after_s=0.5)
    for number in range(6):
        clock.now_s = 100.0 + number / 10
        camera.put(picture(0), clock.now_s)
    taken(thread, camera)
    assert not thread.health().frozen and thread.health().age_s == pytest.approx(0.0)
    clock.now_s = 100.7
    camera.put(picture(0), 100.7)
    wait_until(lambda: thread.health().frozen)
    taken(thread, camera)
    health = thread.health()
    assert health.repeated == 6
    assert health.age_s == pytest.approx(0.7)  # since it was new, not since it came last
    clock.now_s = 100.8
    camera.put(picture(1), 100.8)
    wait_until(lambda: not thread.health().frozen)
    assert thread.newest().time_s == pytest.approx(100.8)


def test_lost_frames_are_counted_by_number_or_by_time(captured, clock: Clock) -> None:
    clock.now_s = 100.6
    thread, camera = captured(HandFedNumbered())
    for number in (1, 2, 5, 6, 10):
        camera.put(picture(number), 100.0 + number / 30, number)
    taken(thread, camera)
    assert thread.health().lost == 2 + 3

    thread, camera = captured(rate_hz=10.0)
    for time_s in (100.0, 100.11, 100.19, 100.5, 100.6):
        camera.put(picture(int(100 * time_s)), time_s)
    taken(thread, camera)
    assert thread.health().lost == 2


def test_a_camera_that_fails_is_opened_anew_until_it_works(captured, clock: Clock) -> None:
    thread, camera = captured(HandFedNumbered())
    camera.put(picture(0), 100.0, 500)
    wait_until(lambda: thread.newest() is not None)
    camera.refuses = 3
    camera.frames.put(SailError("Camera 'hand' was pulled out."))
    wait_until(lambda: thread.health().reopened == 1)
    assert camera.opened == 2 and camera.refuses == 0 and camera.closed >= 1
    clock.now_s = 101.0
    camera.put(picture(1), 101.0, 500)  # counts anew: neither lost nor repeated
    wait_until(lambda: thread.newest().count == 2)
    taken(thread, camera)
    assert thread.health().problem == "" and thread.health().lost == 0


def test_an_error_of_the_package_itself_ends_nothing(captured) -> None:
    thread, camera = captured()
    camera.frames.put(KeyError("depth"))
    wait_until(lambda: thread.health().reopened == 1)
    camera.put(picture(1), 100.0)
    wait_until(lambda: thread.newest() is not None)


def test_what_fails_over_and_over_is_opened_ever_more_rarely(captured) -> None:
    camera = HandFed()
    waits: list[float] = []
    original = threading.Event.wait

    thread, _ = captured(camera)

    def wait(self: threading.Event, timeout: float | None = None) -> bool:
        if self is thread._ended and timeout is not None:
            waits.append(timeout)
            return original(self, 0.0)
        return original(self, timeout)

    with patch.object(threading.Event, "wait", wait):
        for _ in range(12):
            camera.frames.put(SailError("Camera 'hand' gives no pictures."))
        wait_until(lambda: len(waits) >= 12)
    assert waits[:4] == [0.01, 0.02, 0.04, 0.08]
    assert waits[11] == 5.0


def test_closing_twice_is_allowed_and_closes_the_camera(captured) -> None:
    thread, camera = captured()
    camera.closed = 0
    camera.frames.put(SailError("Camera 'hand' gives no pictures."))
    thread.close()
    thread.close()
    assert camera.closed >= 1


def test_no_camera_at_all_is_told_at_the_start() -> None:
    camera = HandFed()
    camera.refuses = 1
    thread = CapturedCamera(camera)
    with pytest.raises(SailError, match="cannot be opened"):
        thread.open()
    thread.close()


def test_as_a_camera_it_gives_each_new_frame_once_and_never_an_old_one(captured, clock: Clock) -> None:
    thread, camera = captured(HandFedNumbered(), frozen_after_s=0.5)
    assert isinstance(thread, Camera) and thread.size == SIZE
    for number in range(3):
        camera.put(picture(number), 99.0 + number / 10, number)
    taken(thread, camera)
    np.testing.assert_array_equal(thread.read()[0], picture(2))  # those between were skipped
    threading.Timer(0.1, camera.put, (picture(3), 99.3, 3)).start()
    image, time_s = thread.read()
    np.testing.assert_array_equal(image, picture(3))
    assert time_s == 99.3
    threading.Timer(0.1, setattr, (clock, "now_s", 101.0)).start()
    with pytest.raises(SailError, match="nothing new for 1.0 s"):
        thread.read()
    camera.put(picture(4), 99.4, 4)
    taken(thread, camera)
    np.testing.assert_array_equal(thread.read()[0], picture(4))


def test_it_may_be_closed_and_opened_again(captured, clock: Clock) -> None:
    thread, camera = captured()
    camera.put(picture(0), 100.0)
    thread.read()
    camera.ended = True
    thread.close()
    with pytest.raises(SailError, match="not open"):
        thread.read()
    camera.ended = False
    clock.now_s = 200.0
    thread.open()
    camera.put(picture(0), 200.0)  # the same picture, and yet a new one: nothing is known of the time between
    assert thread.read()[1] == 200.0
    assert thread.health().repeated == 0


# OpenCV


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import cv2

    path = tmp_path_factory.mktemp("video") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50.0, SIZE[::-1])
    assert writer.isOpened()
    for number in range(10):
        writer.write(picture(number)[:, :, ::-1])
    writer.release()
    return path


def test_a_file_plays_at_its_rate_in_rgb_and_ends(video: Path) -> None:
    camera = OpenCVCamera("film", str(video), SIZE)
    assert isinstance(camera, Camera)
    camera.open()
    began_s = time.monotonic()
    frames = [camera.read() for _ in range(10)]
    assert time.monotonic() - began_s >= 9 / 50 - 0.01
    for number, (image, time_s) in enumerate(frames):
        assert image.dtype == np.uint8 and image.shape == (*SIZE, 3) and image.flags.c_contiguous
        assert np.abs(image.astype(int) - picture(number)).mean() < 8  # the film loses a little
        assert began_s <= time_s <= time.monotonic()
    assert np.all(np.diff([time_s for _, time_s in frames]) > 0)
    with pytest.raises(SailError, match="come to its end"):
        camera.read()
    camera.close()
    camera.close()
    with pytest.raises(SailError, match="not open"):
        camera.read()


def test_a_file_may_begin_anew(video: Path) -> None:
    camera = OpenCVCamera("film", str(video), SIZE, loop=True)
    camera.open()
    frames = [camera.read()[0] for _ in range(13)]
    np.testing.assert_array_equal(frames[12], frames[2])
    camera.close()


def test_the_latency_is_taken_off_the_time_of_arrival(video: Path) -> None:
    camera = OpenCVCamera("film", str(video), SIZE, latency_s=5.0)
    camera.open()
    before_s = time.monotonic()
    _, time_s = camera.read()
    assert before_s - 5.0 <= time_s <= time.monotonic() - 5.0
    camera.close()


def test_another_size_than_promised_is_refused(video: Path) -> None:
    with pytest.raises(SailError, match="48×64 and not of 480×640"):
        OpenCVCamera("film", str(video)).open()


def test_what_is_no_camera_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SailError, match="no video file"):
        OpenCVCamera("film", str(tmp_path / "none.avi")).open()
    text = tmp_path / "text.avi"
    text.write_text("not a film")
    with pytest.raises(SailError, match="cannot be opened"):
        OpenCVCamera("film", str(text)).open()


def test_a_film_is_captured_and_its_end_is_no_crash(video: Path) -> None:
    thread = CapturedCamera(OpenCVCamera("film", str(video), SIZE), rate_hz=50.0, first_wait_s=0.01)
    thread.open()
    wait_until(lambda: thread.health().frames >= 15)  # it ends and is opened anew
    assert thread.health().reopened >= 1
    thread.close()


def test_a_usb_camera_is_asked_for_its_size_and_told_where_it_has_another() -> None:
    asked: dict[int, float] = {}

    class Capture:
        def __init__(self, source: int) -> None:
            assert source == 2

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def set(self, key: int, value: float) -> bool:
            asked[key] = value
            return True

        def get(self, key: int) -> float:
            import cv2

            return {cv2.CAP_PROP_FRAME_HEIGHT: 480.0, cv2.CAP_PROP_FRAME_WIDTH: 640.0}[key]

        def read(self) -> tuple[bool, np.ndarray | None]:
            return False, None

        def release(self) -> None:
            asked[-1] = 1

    with patch("cv2.VideoCapture", Capture):
        camera = OpenCVCamera("wrist", 2, (480, 640), rate_hz=60.0)
        camera.open()
        with pytest.raises(SailError, match="no pictures any more"):
            camera.read()
        camera.close()
        assert {480, 640, 60.0, 1} <= set(asked.values()) and asked[-1] == 1
        with pytest.raises(SailError, match="480×640 and not of 720×1280"):
            OpenCVCamera("wrist", 2, (720, 1280)).open()


# RealSense


@pytest.fixture
def realsense() -> Iterator[queue.Queue]:
    frames: queue.Queue = queue.Queue()
    pyrealsense2._devices["123"] = frames
    with patch.dict(sys.modules, {"pyrealsense2": pyrealsense2}):
        yield frames
    pyrealsense2._devices.clear()


def test_a_realsense_gives_its_frames_with_their_numbers(realsense: queue.Queue) -> None:
    camera = RealSenseCamera("top", "123", SIZE, latency_s=0.03)
    assert isinstance(camera, Camera) and isinstance(camera, NumberedCamera)
    camera.open()
    for number in (4, 5, 9):
        realsense.put((number, picture(number)))
    for number in (4, 5, 9):
        image, time_s = camera.read()
        np.testing.assert_array_equal(image, picture(number))
        assert camera.frame_number == number
        assert time_s <= time.monotonic() - 0.03
    camera.close()
    camera.close()
    with pytest.raises(SailError, match="not open"):
        camera.read()


def test_a_realsense_that_is_missing_or_silent_is_told_in_one_sentence(realsense: queue.Queue) -> None:
    with pytest.raises(SailError, match="check its cable and serial number"):
        RealSenseCamera("top", "999", SIZE).open()
    camera = RealSenseCamera("top", "123", SIZE, timeout_s=0.01)
    camera.open()
    with pytest.raises(SailError, match="gives no picture"):
        camera.read()
    camera.close()
    with patch.dict(sys.modules, {"pyrealsense2": None}), pytest.raises(SailError, match=r"sail-stack\[realsense\]"):
        RealSenseCamera("top", "123", SIZE).open()
