"""Decode each episode's frames once, at the size training wants them, into one file that is mapped into memory.

The file grows: episodes recorded later are appended. An index beside it says where each episode's frames lie; what the
index does not mention was left by a kill and is written over. All of it may be deleted at any time.
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

from robot.core.errors import SailError
from robot.core.pictures import shrink_frames
from robot.episodes.store import EpisodeStore

FOLDER = ".cache"


@dataclass(frozen=True, slots=True)
class CachedFrames:
    """Hold the frames of several episodes: `frames`, uint8 (N, S, S, 3), read from disk as they are touched.

    The frames of episode i are `first[i]` … `first[i] + count[i] − 1`, both int64 (E,).
    """

    frames: NDArray[np.uint8]
    first: NDArray[np.int64]
    count: NDArray[np.int64]


class FrameCache:
    """Keep the frames of one camera of a store at `size` × `size` pixels."""

    def __init__(self, store: EpisodeStore, camera: str, size: int, folder: str | Path | None = None) -> None:
        if size < 1:
            raise ValueError(f"Frames must be at least one pixel wide, got {size}.")
        self._store = store
        self._camera = camera
        self._size = size
        stem = f"{re.sub(r'[^A-Za-z0-9_-]', '_', camera)}-{size}"
        base = store.folder / FOLDER if folder is None else Path(folder)
        self._frames_path, self._index_path = base / f"{stem}.frames", base / f"{stem}.jsonl"

    def get(self, ids: Sequence[str]) -> CachedFrames:
        """Return the frames of the episodes named, decoding those that are not there yet.

        Raises SailError for an episode that is missing, damaged, or has no such camera, and for a full disk.
        """
        try:
            with self._held() as index:
                places = self._places(index)
                for name in dict.fromkeys(ids):
                    if self._mark(name) != places.get(name, ("", 0, 0))[0]:
                        places[name] = self._append(name, places, index)
        except OSError as problem:
            raise SailError(f"{self._frames_path} could not be written ({problem.strerror or problem}).") from problem
        total = max((first + count for _, first, count in places.values()), default=0)
        shape = (total, self._size, self._size, 3)
        if total:
            frames = np.asarray(np.memmap(self._frames_path, np.uint8, "r", shape=shape))
        else:
            frames = np.zeros(shape, np.uint8)
        rows = [places[name] for name in ids]
        return CachedFrames(
            frames, np.array([row[1] for row in rows], np.int64), np.array([row[2] for row in rows], np.int64)
        )

    @contextmanager
    def _held(self) -> Iterator[BinaryIO]:
        """Lend the index, with every other process kept out."""
        self._index_path.parent.mkdir(parents=True, exist_ok=True)
        with self._index_path.open("a+b") as index:
            fcntl.flock(index, fcntl.LOCK_EX)
            yield index

    def _places(self, index: BinaryIO) -> dict[str, tuple[str, int, int]]:
        """Return mark, first frame and count of each episode that is there, as far as the file of frames reaches."""
        held = self._frames_path.stat().st_size // self._bytes if self._frames_path.exists() else 0
        index.seek(0)
        content = index.read()
        places, sound = {}, []
        for line in content.split(b"\n")[:-1]:
            try:
                row = json.loads(line)
                place = (str(row["mark"]), int(row["first"]), int(row["count"]))
                if place[1] + place[2] <= held:
                    places[str(row["id"])] = place
                    sound.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        kept = b"".join(line + b"\n" for line in sound)
        if kept != content:  # a line that points past the end must not point at other frames once there are some
            index.truncate(0)
            index.write(kept)
            index.flush()
        return places

    def _append(self, name: str, places: dict[str, tuple[str, int, int]], index: BinaryIO) -> tuple[str, int, int]:
        mark = self._mark(name)
        episode = self._store.load(name, plans=False, cameras=(self._camera,))
        if self._camera not in episode.frames:
            cameras = ", ".join(self._store.about(name).get("cameras", episode.frames)) or "none"
            raise SailError(f"Episode {name!r} has no camera {self._camera!r}, only {cameras}.")
        small = shrink_frames(torch.from_numpy(episode.frames[self._camera]), self._size).numpy()
        first = max((start + count for _, start, count in places.values()), default=0)
        mode = "r+b" if self._frames_path.exists() else "w+b"
        with self._frames_path.open(mode) as file:
            file.seek(first * self._bytes)
            file.write(np.ascontiguousarray(small).data)
            file.flush()
        row = {"id": name, "mark": mark, "first": first, "count": len(small)}
        index.seek(0, os.SEEK_END)
        index.write(json.dumps(row).encode() + b"\n")
        index.flush()
        return mark, first, len(small)

    def _mark(self, name: str) -> str:
        """Return what changes when an episode is made anew, nothing that labels change."""
        try:
            facts = (self._store.path(name) / "episode.json").stat()
        except (FileNotFoundError, NotADirectoryError):
            raise SailError(f"There is no episode {name!r} in {self._store.folder}.") from None
        return f"{facts.st_mtime_ns}-{facts.st_size}"

    @property
    def _bytes(self) -> int:
        return self._size * self._size * 3
