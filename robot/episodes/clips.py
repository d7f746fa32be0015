"""Show pictures as they come, in a window, or keep them as a GIF or MP4 that anything plays."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from robot.core.data import Image
from robot.core.errors import SailError
from robot.episodes.pace import KEYS

SHOWN = 384
"""Rows that a small picture is enlarged to, about."""


def side_by_side(images: Mapping[str, Image]) -> Image:
    """Return the pictures of all cameras in a row, enlarged by a whole number where they are small, sides even."""
    if not images:
        raise SailError("The episode has no camera: there is nothing to show.")
    height = max(image.shape[0] for image in images.values())
    padded = [np.pad(image, ((0, height - image.shape[0]), (0, 0), (0, 0))) for image in images.values()]
    row = np.concatenate(padded, axis=1)
    times = max(1, SHOWN // height)
    row = row.repeat(times, axis=0).repeat(times, axis=1)
    return np.pad(row, ((0, row.shape[0] % 2), (0, row.shape[1] % 2), (0, 0)))


def write_clip(path: Path, pictures: Sequence[Image], rate_hz: float) -> Path:
    """Write pictures of one size, uint8 (H, W, 3), as a GIF or an MP4, whichever the path's end says.

    Raises SailError for another end or where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".gif":
            _write_gif(path, pictures, rate_hz)
        elif path.suffix == ".mp4":
            _write_mp4(path, pictures, rate_hz)
        else:
            raise SailError(f"{path} must end in .gif or .mp4.")
    except (OSError, av.error.FFmpegError) as problem:
        said = getattr(problem, "strerror", "") or problem
        raise SailError(f"{path} could not be written ({said}).") from problem
    return path


def _write_gif(path: Path, pictures: Sequence[Image], rate_hz: float) -> None:
    from PIL import Image as PillowImage

    skip = max(1, round(rate_hz / 20.0))  # browsers show GIFs no faster than some twenty pictures a second
    shown = [PillowImage.fromarray(picture) for picture in pictures[::skip]]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=round(1000 * skip / rate_hz), loop=0)


def _write_mp4(path: Path, pictures: Sequence[Image], rate_hz: float) -> None:
    with av.open(str(path), "w") as container:
        rate = Fraction(rate_hz).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"  # the one that browsers play
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


class Window:
    """Show pictures in a window of OpenCV, whose keys control the replay."""

    @staticmethod
    def is_possible() -> bool:
        """Return whether OpenCV is installed; without it what is shown is saved."""
        return importlib.util.find_spec("cv2") is not None

    def __init__(self, title: str) -> None:
        import cv2

        self._cv2: Any = cv2
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)

    def show(self, picture: Image) -> None:
        """Show a picture, uint8 (H, W, 3) RGB."""
        self._cv2.imshow(self._title, picture[:, :, ::-1])

    def poll(self) -> str:
        """Return what the key pressed asks for; closing the window stops."""
        key = self._cv2.waitKey(1)
        if self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1:
            return "stop"
        return KEYS.get(chr(key & 0xFF), "") if key >= 0 else ""

    def close(self) -> None:
        """Close the window."""
        self._cv2.destroyWindow(self._title)
