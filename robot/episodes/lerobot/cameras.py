"""Find the pictures of an episode of a LeRobotDataset: in its videos by time, or in its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from robot.core.errors import UnknownNameError
from robot.episodes.arrival import Pictures, Refusal, UnfitError
from robot.episodes.lerobot import form
from robot.episodes.lerobot.description import DAMAGE, Description, table_number
from robot.episodes.lerobot.footage import Clip, Footage
from robot.episodes.lerobot.frame_times import FrameTimes, Window
from robot.episodes.lerobot.rows import DataFile, Positions, brief
from robot.episodes.lerobot.stills import Stills

Row = Mapping[str, Any]
Kind = TypeVar("Kind")
DEPTH = "it holds distances, not colours, which a store has no place for"


class Latest(Generic[Kind]):
    """Keep what was opened last, or why it could not be, since one file holds many episodes."""

    def __init__(self, opened: Callable[[Path], Kind]) -> None:
        self._opened = opened
        self._path: Path | None = None
        self._held: Kind | UnfitError | None = None

    def get(self, path: Path) -> Kind:
        """Return what is in a file; raise UnfitError as often as it is asked for where it cannot be opened."""
        if path != self._path:
            self._path = path
            try:
                self._held = self._opened(path)
            except UnfitError as problem:
                self._held = problem
            except (*DAMAGE, OSError) as problem:
                self._held = UnfitError(f"{path.name} is damaged ({brief(problem)})")
        if isinstance(self._held, UnfitError):
            raise UnfitError(str(self._held))
        assert self._held is not None
        return self._held


class Cameras:
    """Lend the pictures of the cameras named, or of all where none is. Raises UnknownNameError where one is none."""

    def __init__(self, about: Description, wanted: Sequence[str]) -> None:
        self._about = about
        names = {key: about.camera_name(key) for kind in ("video", "image") for key in about.cameras(kind)}
        unknown = sorted(set(wanted) - set(names.values()))
        if unknown:
            raise UnknownNameError("camera", unknown[0], list(names.values()))
        self._names = {key: name for key, name in names.items() if not wanted or name in wanted}
        self._videos = [key for key in about.cameras("video") if key in self._names]
        self._footage = {key: Latest(self._opener(key)) for key in self._videos}
        self._parts = {key: self._parts_of(key) for key in self._videos}

    def span_s(self, row: Row) -> float:
        """Return how long the shortest of an episode's videos is, without end where there is none."""
        windows = [self._window(key, row) for key in self._videos]
        return min((window.end_s - window.begin_s for window in windows), default=np.inf)

    def pictures(
        self, row: Row, table: DataFile, rows: Positions, times_s: NDArray[np.float64]
    ) -> tuple[dict[str, Pictures], tuple[Refusal, ...]]:
        """Return the pictures of an episode by its cameras, and which cameras stay behind.

        Of a video they are those at `times_s`, of which there may be one more than rows (`Description.ours`).
        """
        found: dict[str, Pictures] = {}
        left_out: list[Refusal] = []
        for key, name in self._names.items():
            try:
                is_video = key in self._videos
                pictures = self._clip(key, row, len(rows), times_s) if is_video else self._stills(key, table, rows)
            except UnfitError as problem:
                raise UnfitError(f"camera {name}: {problem}") from None
            if pictures is None:
                left_out.append(Refusal(f"camera {name}", DEPTH))
            else:
                found[name] = pictures
        return found, tuple(left_out)

    def _clip(self, key: str, row: Row, rows: int, times_s: NDArray[np.float64]) -> Clip | None:
        footage, shown = self._footage[key].get(self._path(key, row))
        if footage.deep or self._about.features[key].info.get("video.is_depth_map") is True:
            return None
        window = self._window(key, row)
        more_s = (len(times_s) - rows) / self._about.fps
        return Clip(footage, shown.frames(Window(window.begin_s, window.end_s + more_s), times_s))

    def _stills(self, key: str, table: DataFile, rows: Positions) -> Stills | None:
        if key not in table.columns:
            raise UnfitError(f"{table.path.name} has no column {key}")
        stills = Stills.of(table, key, rows, self._about.folder)
        return None if stills.deep else stills

    def _path(self, key: str, row: Row) -> Path:
        prefix = f"videos/{key}"
        numbers = {name: table_number(row, f"{prefix}/{name}") for name in ("chunk_index", "file_index")}
        return form.path_in(self._about.folder, self._about.video_path, video_key=key, **numbers)

    def _window(self, key: str, row: Row) -> Window:
        ends = [row.get(f"videos/{key}/{end}_timestamp") for end in ("from", "to")]
        begin_s, end_s = (float(end) if isinstance(end, int | float) else np.nan for end in ends)
        if not np.isfinite([begin_s, end_s]).all():
            raise UnfitError(f"meta/episodes does not say where it is in the video {key}")
        return Window(begin_s, end_s)

    def _opener(self, key: str) -> Callable[[Path], tuple[Footage, FrameTimes]]:
        def opened(path: Path) -> tuple[Footage, FrameTimes]:
            footage = Footage(path)
            windows, shortest = self._parts[key].get(path, ([], 1))
            fps = self._about.fps
            tail_s = 1 / fps if self._about.is_ours else 0.0  # what was seen after the last action
            return footage, FrameTimes(footage.shown_s, fps, windows, shortest, tail_s, footage.cut_off)

        return opened

    def _parts_of(self, key: str) -> dict[Path, tuple[list[Window], int]]:
        """Return, for each file of a camera, which parts of it are whose and how many rows its shortest episode has."""
        parts: dict[Path, tuple[list[Window], int]] = {}
        for row in self._about.rows:
            try:
                length = table_number(row, "length")
                path, window = self._path(key, row), self._window(key, row)
            except (UnfitError, *DAMAGE):
                continue  # what is said of that episode itself
            windows, shortest = parts.setdefault(path, ([], length))
            if length > 0:
                windows.append(window)
                parts[path] = (windows, min(length, shortest) if shortest > 0 else length)
        return parts
