"""Read a video of somebody else: when each frame is shown, chosen frames alone, or their packets as they are."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from robot.core.data import Image
from robot.core.errors import SailError
from robot.episodes.arrival import UnfitError
from robot.episodes.video import AS_IT_CAME, VideoFacts, checksum_of, decode, pixels

COPIED = ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "ffv1")
"""Codecs whose packets mean the same in Matroska."""
DEEP = ("gray9", "gray10", "gray12", "gray14", "gray16", "grayf")
"""Beginnings of the formats of pictures with one channel of more than 8 bits: distances, not colours."""
NUMBERS = NDArray[np.int64]


class Footage:
    """Hold the index of a video file: its packets are read once, and none is decoded.

    Raises UnfitError where it is missing or no video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stamps: list[int] = []
        keys: list[bool] = []
        digests: list[bytes] = []
        with self._opened() as (container, stream):
            self._base = Fraction(stream.time_base or Fraction(1, 1000))
            self.codec = str(stream.codec_context.codec.canonical_name)
            self.format = stream.format.name
            self.size = (stream.codec_context.height, stream.codec_context.width)
            claimed = stream.frames
            self.cut_off = False
            try:
                for packet in container.demux(stream):
                    if packet.pts is not None and packet.size and not packet.is_discard:
                        stamps.append(packet.pts)
                        keys.append(packet.is_keyframe)
                        digests.append(hashlib.blake2b(bytes(packet), digest_size=16).digest())
            except av.error.FFmpegError:
                self.cut_off = True  # what comes before the damage is shown when it says
        self.cut_off = self.cut_off or len(stamps) < claimed
        self.stamps = np.array(stamps, np.int64)
        """When each packet's frame is shown, in the file's own units, in the order of decoding."""
        self.keys = np.array(keys, np.bool_)
        self.digests = digests
        self.order: NUMBERS = np.argsort(self.stamps, kind="stable").astype(np.int64)
        """The packets in the order in which their frames are shown."""
        self.shown_s = np.asarray(self.stamps[self.order] * float(self._base), np.float64)

    @property
    def lossless(self) -> bool:
        """Return whether its pictures are likely to be what was filmed, bit for bit: kept as RGB, or by FFV1."""
        return self.codec == "ffv1" or self.format.startswith(("gbr", "rgb", "bgr"))

    @property
    def deep(self) -> bool:
        """Return whether its pictures are distances of more than 8 bits."""
        return self.format.startswith(DEEP)

    def frames(self, stamps: NUMBERS) -> Iterator[Image]:
        """Yield the frames shown at `stamps`, which ascend; raise UnfitError where one cannot be decoded."""
        done = 0
        try:
            for frame in self._decoded(stamps, int(stamps[0])):
                yield frame
                done += 1
        except UnfitError:
            if done:
                raise
            yield from self._decoded(stamps, None)  # where there was nothing to seek by, from the file's beginning

    def _decoded(self, stamps: NUMBERS, start: int | None) -> Iterator[Image]:
        reformatter = VideoReformatter()
        wanted = iter(stamps.tolist())
        next_one = next(wanted)
        with self._opened() as (container, stream):
            if start is not None:
                container.seek(start, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None or frame.pts < next_one:
                    continue
                if frame.pts > next_one or frame.is_corrupt or (frame.height, frame.width) != self.size:
                    break
                yield pixels(frame, reformatter)
                following = next(wanted, None)
                if following is None:
                    return
                next_one = following
        raise UnfitError(f"the frame at {next_one * float(self._base):.3f} s of {self.path.name} is damaged")

    def copy(self, stamps: NUMBERS, path: Path) -> VideoFacts | None:
        """Write the frames shown at `stamps` to a Matroska file, packets unchanged, or return None.

        That can be done where they are all the frames of a stretch that begins with one that needs no other.
        """
        packets = self._stretch(stamps)
        if packets is None or self.codec not in COPIED:
            return None
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            self._mux(packets, int(stamps[0]), path)
            count, crc32 = checksum_of(self.frames(stamps))
            if _read_back(path) == (count, crc32):
                return VideoFacts(path.name, count, *self.size, self.codec, AS_IT_CAME, crc32)
        path.unlink(missing_ok=True)
        return None

    def _stretch(self, stamps: NUMBERS) -> range | None:
        """Return the packets, in the order of decoding, of these frames and no other; None where none are."""
        places = np.flatnonzero(np.isin(self.stamps, stamps))
        first = int(places[0])
        whole = len(places) == len(stamps) == int(places[-1]) - first + 1
        return range(first, first + len(places)) if whole and self._opens(first, int(stamps[0])) else None

    def _opens(self, packet: int, stamp: int) -> bool:
        return bool(self.keys[packet]) and int(self.stamps[packet]) == stamp

    def _mux(self, packets: range, zero: int, path: Path) -> None:
        wanted = set(self.stamps[packets.start : packets.stop].tolist())
        # Our own file, unbuffered, as in VideoWriter: its errors arrive as they are.
        with path.open("xb", buffering=0) as file, av.open(file, "w", format="matroska") as out:
            with self._opened() as (_, template):
                copied = out.add_stream_from_template(template, opaque=True)
            for packet in self._packets(zero):
                if packet.pts in wanted:
                    wanted.remove(packet.pts)
                    packet.pts -= zero
                    packet.dts = None if packet.dts is None else packet.dts - zero
                    packet.stream = copied
                    out.mux(packet)
                if not wanted:
                    return

    def _packets(self, stamp: int) -> Iterator[Any]:
        """Yield the packets from the one shown at `stamp` on, or all of them where it cannot be sought."""
        with self._opened() as (container, stream):
            container.seek(stamp, stream=stream)
            packets = container.demux(stream)
            first = next(packets)
            if first.pts is not None and first.pts <= stamp:
                yield first
                yield from packets
                return
        with self._opened() as (container, stream):
            yield from container.demux(stream)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """Lend the file and its first stream of video; what is wrong with them becomes UnfitError."""
        if not self.path.is_file():  # a pipe has no end
            raise UnfitError(f"{self.path.name} is missing")
        try:
            with self.path.open("rb") as file, cast(InputContainer, av.open(file)) as container:
                stream = container.streams.video[0]
                if stream.codec_context is None or stream.format is None:
                    raise UnfitError(f"{self.path.name} holds a kind of video that is not known")
                stream.codec_context.thread_count = 1
                stream.codec_context.options = {"err_detect": "explode"}
                yield container, stream
        except FileNotFoundError:
            raise UnfitError(f"{self.path.name} is missing") from None
        except IndexError:
            raise UnfitError(f"{self.path.name} holds no video") from None
        except av.error.FFmpegError as problem:
            raise UnfitError(f"{self.path.name} is damaged ({problem.strerror or problem})") from None


@dataclass(frozen=True, slots=True)
class Clip:
    """Hold the frames of an episode in a file, in order. A `robot.episodes.arrival.Pictures`."""

    footage: Footage
    chosen: NUMBERS
    """Which frames, in the order in which they are shown."""

    @property
    def size(self) -> tuple[int, int]:
        """Return rows and columns."""
        return self.footage.size

    @property
    def lossy(self) -> bool:
        """Return whether the pictures have lost something."""
        return not self.footage.lossless

    @property
    def _stamps(self) -> NUMBERS:
        return self.footage.stamps[self.footage.order[self.chosen]]

    def digest(self) -> bytes:
        """Return what is the same for the same packets."""
        digest = hashlib.blake2b(digest_size=16)
        for packet in self.footage.order[self.chosen]:
            digest.update(self.footage.digests[packet])
        return digest.digest()

    def frames(self) -> Iterator[Image]:
        """Yield the pictures."""
        return self.footage.frames(self._stamps)

    def copy(self, path: Path) -> VideoFacts | None:
        """Write the packets as they are, where that can be done."""
        return self.footage.copy(self._stamps, path)


def _read_back(path: Path) -> tuple[int, int] | None:
    """Return what `checksum_of` says of a video of ours; None where it is damaged."""
    try:
        return checksum_of(decode(path))
    except SailError:
        return None
