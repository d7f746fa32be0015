"""A double of pyrealsense2: devices by serial number that give the frames a test puts in."""

from __future__ import annotations

import enum
import queue

import numpy as np

_devices: dict[str, queue.Queue] = {}


class stream(enum.Enum):
    color = 2


class format(enum.Enum):
    rgb8 = 5


class config:
    def __init__(self):
        self._serial = ""
        self._size = (0, 0)

    def enable_device(self, serial):
        self._serial = serial

    def enable_stream(self, stream_type, width, height, format, framerate):
        assert stream_type is stream.color
        self._size = (height, width)


class video_frame:
    def __init__(self, number, image):
        self._number, self._image = number, image

    def get_data(self):
        return self._image

    def get_frame_number(self):
        return self._number


class composite_frame:
    def __init__(self, number, image):
        self._frame = video_frame(number, image)

    def get_color_frame(self, index=0):
        return self._frame


class pipeline:
    def __init__(self):
        self._frames = None

    def start(self, config):
        if config._serial not in _devices:
            raise RuntimeError("No device connected")
        self._frames = _devices[config._serial]

    def wait_for_frames(self, timeout_ms=5000):
        try:
            number, value = self._frames.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            raise RuntimeError(f"Frame didn't arrive within {timeout_ms}") from None
        return composite_frame(number, np.array(value, np.uint8))

    def stop(self):
        self._frames = None
