"""Keep pictures as video: bit for bit for simulator frames and imagined ones, at a stated quality for large cameras.

Lossless video is H.264 in RGB with nothing quantised, in Matroska, which is readable up to where a kill cut it off.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from robot.core.data import Image
from robot.core.errors import SailError

KEY_EVERY = 20
"""Frames from one that can be decoded by itself to the next: what seeking costs at most."""
AS_IT_CAME = -1
"""Stands for the rate factor of a video whose packets were copied from elsewhere: nobody knows it."""
GREEN_BLUE_RED = (1, 2, 0)
"""Where the planes of FFmpeg's `gbrp` belong in RGB."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Say how much a video may lose: nothing (`crf` 0), or H.264's constant rate factor (18 is hard to tell apart)."""

    crf: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise ValueError(f"A video's rate factor must lie in 0 … 51 (0 loses nothing), got {self.crf}.")

    @property
    def lossless(self) -> bool:
        """Return whether every bit comes back."""
        return self.crf == 0

    @property
    def codec(self) -> str:
        """Return the encoder's name."""
        return "libx264rgb" if self.lossless else "libx264"


LOSSLESS = Quality()
CAMERA = Quality(18)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """Describe a finished video: its file's name, its pictures, how it was encoded and a checksum of what went in.

    `crc32` runs over the RGB bytes of all frames; a lossless video must give it again. `crf` is `AS_IT_CAME` for one
    that was encoded elsewhere.
    """

    file: str
    frames: int
    height: int
    width: int
    codec: str
    crf: int
    crc32: int

    @property
    def lossless(self) -> bool:
        """Return whether every bit comes back."""
        return self.crf == 0

    def as_json(self) -> dict[str, Any]:
        """Return the facts as a JSON object."""
        return {**asdict(self), "lossless": self.lossless}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> VideoFacts:
        """Return the facts that `as_json` wrote; raise KeyError or TypeError where one is missing."""
        return cls(**{name: row[name] for name in cls.__slots__})


class VideoWriter:
    """Append frames, uint8 (H, W, 3) RGB and all of one size, to a video file.

    Each frame's bytes are handed to the system as soon as the frame is encoded, so that a kill loses the last one or
    two at most. `rate_hz` is for players alone: exact times belong beside the video.
    """

    def __init__(self, path: Path, height: int, width: int, rate_hz: float, quality: Quality = LOSSLESS) -> None:
        self.path = path
        self._quality = quality
        self._shape = (height, width, 3)
        self._frames = 0
        self._crc32 = 0
        self._is_sound = True
        # Our own file, unbuffered: its errors (a full disk) arrive as they are, and it can be synchronised.
        self._file = path.open("xb", buffering=0)
        options = {"flush_packets": "1", "cluster_time_limit": "0"}
        self._container: OutputContainer = av.open(self._file, "w", format="matroska", options=options)
        rate = Fraction(min(max(rate_hz, 1.0), 500.0)).limit_denominator(1000)  # Matroska counts milliseconds
        options = {"crf": str(quality.crf), "preset": "ultrafast", "tune": "zerolatency", "g": str(KEY_EVERY)}
        self._stream = cast(VideoStream, self._container.add_stream(quality.codec, rate=rate, options=options))
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "rgb24" if quality.lossless else self._subsampled(height, width)
        self._stream.codec_context.thread_count = 1

    @staticmethod
    def _subsampled(height: int, width: int) -> str:
        return "yuv444p" if height % 2 or width % 2 else "yuv420p"

    def append(self, image: Image) -> None:
        """Encode one more frame; raise ValueError for another size or type, OSError when it cannot be written."""
        if image.dtype != np.uint8 or image.shape != self._shape:
            raise ValueError(
                f"The frames of {self.path.name} are uint8 {self._shape}, got {image.dtype} {image.shape}."
            )
        pixels = np.ascontiguousarray(image)
        self._crc32 = zlib.crc32(pixels.data, self._crc32)
        self._write(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        self._frames += 1

    def close(self) -> VideoFacts:
        """Finish the file and return what it holds; raises OSError when it cannot be written."""
        try:
            if self._frames and self._is_sound:
                self._write(None)
            self._container.close()
        finally:
            self._file.close()
        height, width, _ = self._shape
        return VideoFacts(
            self.path.name, self._frames, height, width, self._quality.codec, self._quality.crf, self._crc32
        )

    def _write(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame; after one that could not be written nothing more is: FFmpeg does not bear it."""
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except BaseException:
            self._is_sound = False
            raise

    def abandon(self) -> None:
        """Finish the file if that can be done and let go of it in any case; doing so after `close` is allowed."""
        if not self._file.closed:
            with contextlib.suppress(OSError, av.error.FFmpegError):
                self.close()


def decode(path: Path) -> Iterator[Image]:
    """Yield the frames of a video, uint8 (H, W, 3) RGB; raise av.error.FFmpegError where it is damaged."""
    with path.open("rb") as file, cast(InputContainer, av.open(file)) as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise SailError(f"{path} is damaged: it holds a kind of video that is not known.")
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode"}
        reformatter = VideoReformatter()  # one for all frames: each new one computes its tables again
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise SailError(f"A frame of {path} is damaged.")
            yield pixels(frame, reformatter)


def pixels(frame: av.VideoFrame, reformatter: VideoReformatter) -> Image:
    """Return a decoded frame's picture, uint8 (H, W, 3) RGB."""
    height, width = frame.height, frame.width
    if frame.format.name == "gbrp":
        image = np.empty((height, width, 3), np.uint8)
        for channel, plane in zip(GREEN_BLUE_RED, frame.planes, strict=True):
            image[:, :, channel] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
                :height, :width
            ]
        return image
    rgb = reformatter.reformat(frame, format="rgb24")
    plane = rgb.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return np.asarray(rows[:height, : 3 * width].reshape(height, width, 3))


def read_video(folder: Path, facts: VideoFacts) -> NDArray[np.uint8]:
    """Return all frames of a video, uint8 (N, H, W, 3); raise SailError where the file is not what `facts` say."""
    path = folder / facts.file
    frames = np.empty((facts.frames, facts.height, facts.width, 3), np.uint8)
    count = 0
    try:
        for count, image in enumerate(decode(path), start=1):
            if count > facts.frames or image.shape != frames.shape[1:]:
                raise SailError(f"{path} holds other frames than its description says.")
            frames[count - 1] = image
    except FileNotFoundError:
        raise SailError(f"{path} is missing.") from None
    except (av.error.FFmpegError, IndexError) as problem:
        raise SailError(f"{path} is damaged ({_said(problem)}).") from None
    if count != facts.frames:
        raise SailError(f"{path} is damaged: it holds {count} of {facts.frames} frames.")
    return frames


def read_what_is_there(path: Path) -> list[Image]:
    """Return the frames of a video that was cut off, up to where it was: none where nothing can be read."""
    frames: list[Image] = []
    try:
        for image in decode(path):
            frames.append(image)
    except (OSError, av.error.FFmpegError, IndexError, SailError):
        pass  # what comes after the damage is lost, what came before is whole
    return frames


def checksum(frames: NDArray[np.uint8]) -> int:
    """Return the checksum that a lossless video of these frames carries."""
    return zlib.crc32(np.ascontiguousarray(frames).data)


def checksum_of(frames: Iterable[Image]) -> tuple[int, int]:
    """Return how many pictures there are, one at a time, and the checksum of their bytes."""
    count, crc32 = 0, 0
    for frame in frames:
        count, crc32 = count + 1, zlib.crc32(np.ascontiguousarray(frame).data, crc32)
    return count, crc32


def _said(problem: Exception) -> str:
    return getattr(problem, "strerror", "") or str(problem)
