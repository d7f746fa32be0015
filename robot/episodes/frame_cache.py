"""Decode each episode's frames once, at the size training wants them, into one file that is mapped into memory.

The file grows: episodes recorded later are appended. An index beside it says where the frames lie, by their mark
(`Episode.mark`), which is known without decoding; what the index does not mention was left by a kill and is written
over. All of it may be deleted at any time.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from robot.core.data import Episode
from robot.core.errors import SailError
from robot.core.files import told
from robot.core.pictures import shrink_frames

FOLDER = ".cache"
"""In a store: where its frames are kept unless another place is named."""
Places = dict[str, tuple[int, int]]
"""First frame and count, by mark."""


@dataclass(frozen=True, slots=True)
class CachedFrames:
    """Hold the frames of several episodes: `frames`, uint8 (N, S, S, 3), read from disk as they are touched.

    The frames of episode i are `first[i]` … `first[i] + count[i] − 1`, both int64 (E,).
    """

    frames: NDArray[np.uint8]
    first: NDArray[np.int64]
    count: NDArray[np.int64]


class FrameCache:
    """Keep the frames of one camera at `size` × `size` pixels in a folder."""

    def __init__(self, folder: str | Path, camera: str, size: int) -> None:
        if size < 1:
            raise ValueError(f"Frames must be at least one pixel wide, got {size}.")
        self._camera = camera
        self._size = size
        stem = f"{re.sub(r'[^A-Za-z0-9_-]', '_', camera)}-{size}"
        self._known: tuple[tuple[int, int], Places] | None = None
        self._frames_path, self._index_path = Path(folder) / f"{stem}.frames", Path(folder) / f"{stem}.jsonl"

    def get(self, episodes: Sequence[Episode]) -> CachedFrames:
        """Return the frames of episodes, decoding and shrinking those that are not there yet.

        Raises SailError for an episode that is damaged or has no such camera, and for a full disk.
        """
        marks = [self._mark(episode) for episode in episodes]
        with told(self._frames_path), self._held() as index:
            places = self._places(index)
            for mark, episode in zip(marks, episodes, strict=True):
                if mark not in places:
                    places[mark] = self._append(mark, episode, places, index)
            # Read again only where another process has written meanwhile, or somebody has harmed the files.
            self._known = ((os.fstat(index.fileno()).st_size, self._reach()), places)
        total = _end(places)
        shape = (total, self._size, self._size, 3)
        if total:
            frames = np.asarray(np.memmap(self._frames_path, np.uint8, "r", shape=shape))
        else:
            frames = np.zeros(shape, np.uint8)
        rows = np.array([places[mark] for mark in marks], np.int64).reshape(-1, 2)
        return CachedFrames(frames, rows[:, 0], rows[:, 1])

    def of(self, episode: Episode) -> NDArray[np.uint8]:
        """Return the frames of one episode, uint8 (T+1, S, S, 3); otherwise as `get`."""
        cached = self.get([episode])
        return cached.frames[cached.first[0] :][: cached.count[0]]

    @contextmanager
    def _held(self) -> Iterator[BinaryIO]:
        """Lend the index, with every other process kept out."""
        self._index_path.parent.mkdir(parents=True, exist_ok=True)
        with self._index_path.open("a+b") as index:
            fcntl.flock(index, fcntl.LOCK_EX)
            yield index

    def _places(self, index: BinaryIO) -> Places:
        """Return where the frames are that are there, as far as the file of frames reaches."""
        held = self._reach()
        size = os.fstat(index.fileno()).st_size
        if self._known is not None and self._known[0] == (size, held):
            return self._known[1]
        index.seek(0)
        content = index.read()
        places, sound = {}, []
        for line in content.split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                place = (int(row["first"]), int(row["count"]))
                if sum(place) <= held:
                    places[str(row["mark"])] = place
                    sound.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        kept = b"".join(line + b"\n" for line in sound)
        if kept != content:  # a line that points past the end must not point at other frames once there are some
            index.truncate(0)
            index.write(kept)
            index.flush()
        return places

    def _append(self, mark: str, episode: Episode, places: Places, index: BinaryIO) -> tuple[int, int]:
        small = shrink_frames(torch.from_numpy(episode.frames[self._camera]), self._size).numpy()
        first = _end(places)
        mode = "r+b" if self._frames_path.exists() else "w+b"
        with self._frames_path.open(mode) as file:
            file.seek(first * self._bytes)
            file.write(np.ascontiguousarray(small).data)
            file.flush()
        row = {"id": episode.episode_id, "mark": mark, "first": first, "count": len(small)}
        index.seek(0, os.SEEK_END)
        index.write(json.dumps(row).encode() + b"\n")
        index.flush()
        return first, len(small)

    def _mark(self, episode: Episode) -> str:
        if self._camera not in episode.frames:
            cameras = ", ".join(episode.frames) or "none"
            raise SailError(f"Episode {episode.episode_id!r} has no camera {self._camera!r}, only {cameras}.")
        return episode.mark(self._camera)

    def _reach(self) -> int:
        """Return how many frames the file of frames holds."""
        return self._frames_path.stat().st_size // self._bytes if self._frames_path.exists() else 0

    @property
    def _bytes(self) -> int:
        return self._size * self._size * 3


def _end(places: Places) -> int:
    return max((first + count for first, count in places.values()), default=0)
