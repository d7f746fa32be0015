"""Write the pictures of a LeRobot data set: MP4 files with the episodes of one camera, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from robot.core.data import Image
from robot.episodes.lerobot import form
from robot.episodes.video import Quality

Sized = tuple[int, int]
"""Rows and columns of a picture."""


class Mp4:
    """Write frames, uint8 (H, W, 3) RGB of one size, to an MP4 file; every method raises OSError for a full disk.

    After one that could not be written no frame goes to the file any more, not even those the encoder still holds:
    FFmpeg writes a header again that failed once, and that ends the process.
    """

    def __init__(self, path: Path, size: Sized, fps: float, quality: Quality) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0
        self._container: OutputContainer = av.open(str(path), "w")
        self._is_sound, self._is_open = True, True
        # A key every other frame, as theirs: any frame is reached at once. No B-frames: times begin at 0.
        options = {"crf": str(quality.crf), "preset": "veryfast", "g": "2", "bf": "0"}
        rate = Fraction(fps).limit_denominator(1000)
        stream = self._container.add_stream(quality.codec, rate=rate, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = "rgb24" if quality.lossless else pixel_format(size, quality)
        stream.codec_context.thread_count = 1
        self._stream = stream

    def append(self, frame: Image) -> None:
        """Encode one more frame."""
        self._write(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
        self.frames += 1

    def size_bytes(self) -> int:
        """Return how much of it is there so far; the encoder holds some frames back."""
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Finish the file, or let go of it where something could not be written; closing twice is allowed."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._is_sound and self.frames:
                self._write(None)
        finally:
            self._container.close()

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        with contextlib.suppress(OSError, av.error.FFmpegError):
            self.close()

    def _write(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except BaseException:
            self._is_sound = False
            raise


class VideoFiles:
    """Write the episodes of one camera into MP4 files of limited size."""

    def __init__(self, folder: Path, key: str, size: Sized, fps: float, quality: Quality) -> None:
        self.key, self.camera = key, key.removeprefix(form.IMAGES)
        self._folder, self._size, self._fps, self._quality = folder, size, fps, quality
        self._number = -1
        self._file: Mp4 | None = None

    def append(self, frames: Iterable[Image]) -> dict[str, Any]:
        """Append an episode and return where its rows lie, as columns of the table of episodes.

        The last frame has no row: the episode is said to end before it, and the next one begins after it.
        """
        file = self._next_file()
        first = file.frames
        for frame in frames:
            file.append(frame)
        chunk, number = divmod(self._number, form.FILES_A_CHUNK)
        return {
            f"videos/{self.key}/chunk_index": chunk,
            f"videos/{self.key}/file_index": number,
            f"videos/{self.key}/from_timestamp": first / self._fps,
            f"videos/{self.key}/to_timestamp": (file.frames - 1) / self._fps,
        }

    def feature(self) -> dict[str, Any]:
        """Return the entry of `info.json`."""
        height, width = self._size
        about = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": pixel_format(self._size, self._quality),
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channels"]
        return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": about}

    def close(self) -> None:
        """Finish the last file."""
        if self._file is not None:
            self._file.close()

    def abandon(self) -> None:
        """Let go of the last file, whatever state it is in."""
        if self._file is not None:
            self._file.abandon()

    def _next_file(self) -> Mp4:
        """Return the file that the next episode goes to."""
        if self._file is None or self._file.size_bytes() >= form.VIDEO_MIB * 2**20:
            self.close()
            self._number += 1
            chunk, number = divmod(self._number, form.FILES_A_CHUNK)
            name = form.VIDEO_PATH.format(video_key=self.key, chunk_index=chunk, file_index=number)
            self._file = Mp4(self._folder / name, self._size, self._fps, self._quality)
        return self._file


def pixel_format(size: Sized, quality: Quality) -> str:
    """Return in which pixel format pictures of a size are kept."""
    if quality.lossless:
        return "gbrp"
    return "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
