"""Write episodes as a LeRobotDataset v3.0, for the tools that read those.

A row is an observation and the action after it, so an episode of T actions gives T rows, as in LeRobot's own
recordings. The last observation has no row: it lies beside them, with all else that has no place there
(`robot.episodes.lerobot.form`). Plans and simulator states stay behind.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq

from robot.core.data import Episode
from robot.core.errors import SailError
from robot.core.files import FolderLock, synchronise
from robot.episodes.description import measured_rate_hz
from robot.episodes.labels import Label
from robot.episodes.lerobot import form
from robot.episodes.lerobot.columns import Columns, features_of, known_of, rows_of, shared, table_of
from robot.episodes.lerobot.layout import Layout, MisfitError, check_fit, is_other_rate
from robot.episodes.lerobot.ours import OursWriter
from robot.episodes.lerobot.statistics import Stats
from robot.episodes.lerobot.videos import VideoFiles
from robot.episodes.video import CAMERA, Quality


@dataclass(frozen=True, slots=True)
class Exported:
    """Hold what became of an export: what `meta/info.json` says, and in sentences what is not in the data set."""

    info: dict[str, Any]
    notices: tuple[str, ...] = ()


class Exporter:
    """Write a data set into a new folder: `add` each episode, then `finish`. The folder appears once it is whole.

    `fps`: the rate of its rows, whatever they came at; else all must have come at the rate they were to come at.
    Left without `finish`, or by an error, nothing stays behind. Raises SailError where the folder exists already or the
    disk is full.
    """

    def __init__(self, out: str | Path, quality: Quality = CAMERA, fps: float | None = None) -> None:
        self.target = Path(out)
        if self.target.exists() or self.target.is_symlink():
            raise SailError(f"{self.target} exists already: choose another folder for the data set.")
        if fps is not None and not 0 < fps < 1000:
            raise SailError(f"fps must lie between 0 and 1000 rows a second, got {fps:g}.")
        self._quality, self._fps = quality, fps
        self._aside = self.target.with_name(f".{self.target.name}-{secrets.token_hex(4)}")
        self._set: _DataSet | None = None
        self._lock = FolderLock(self.target, "name another folder with out=…", beside=True)
        self._held = contextlib.ExitStack()

    def _begin(self) -> None:
        """Make the folder aside; raises SailError where another export has just become the target."""
        if self.target.exists():
            raise SailError(f"{self.target} exists already: choose another folder for the data set.")
        with self._told():
            self._aside.mkdir(parents=True)

    def add(self, episode: Episode, labels: Sequence[Label] = ()) -> None:
        """Append an episode and what was said about it.

        Raises MisfitError where it does not fit, the others not being touched by it: it holds no action or numbers that
        are none, its rows came at another rate than was asked for, or its layout is not that of the first.
        """
        check_fit(episode)
        layout = Layout.of(episode, self._fps)
        if self._set is not None and (odd := self._set.layout.difference(layout)):
            raise MisfitError(f"it does not fit into one data set with the others: {odd}")
        with self._told():
            if self._set is None:
                self._set = _DataSet(self._aside, layout, self._quality)
            self._set.add(episode, labels)

    def finish(self) -> Exported:
        """Write what describes the data set, give its folder its name and return what became of it.

        Raises SailError where there is no episode in it.
        """
        if self._set is None:
            raise SailError("There is nothing to export: no episode with an action was chosen.")
        with self._told():
            exported = self._set.finish()
            for path in sorted(self._aside.rglob("*"), reverse=True):
                synchronise(path)
            self._aside.rename(self.target)
        return exported

    def __enter__(self) -> Exporter:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lock)
            self._begin()
            self._held = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._set is not None:
            self._set.abandon()
        shutil.rmtree(self._aside, ignore_errors=True)
        self._held.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the system says of the disk into one sentence."""
        try:
            yield
        except (OSError, pa.ArrowException, av.error.FFmpegError) as problem:
            said = getattr(problem, "strerror", "") or str(problem).rstrip(".")
            raise SailError(f"The data set could not be written to {self.target} ({said}).") from problem


def export_lerobot(
    episodes: Iterable[Episode],
    out: str | Path,
    quality: Quality = CAMERA,
    on_episode: Callable[[Episode], None] | None = None,
) -> dict[str, Any]:
    """Write episodes, read one at a time, into a new folder and return what `meta/info.json` says.

    Those without an action are passed over. Raises SailError as `Exporter` does, and where one does not fit.
    """
    with Exporter(out, quality) as exporter:
        for episode in episodes:
            try:
                if len(episode):
                    exporter.add(episode)
            except MisfitError as problem:
                raise SailError(f"Episode {episode.episode_id!r}: {problem}.") from None
            if on_episode is not None:
                on_episode(episode)
        return exporter.finish().info


class _DataSet:
    """Write the files of a data set; every method raises OSError, or FFmpeg's or Arrow's own, for a full disk."""

    def __init__(self, folder: Path, layout: Layout, quality: Quality) -> None:
        self.layout = layout
        self._folder = folder
        self._tasks: dict[str, int] = {}
        self._robots: list[str] = []
        self._rates_hz: list[float] = []
        self._ids: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._known: list[Columns] = []
        self._stats = Stats()
        self._frames = 0
        self._waiting: list[pa.Table] = []
        self._data_files: list[Path] = []
        self._videos: dict[str, VideoFiles] = {}
        for camera, size in layout.cameras.items():
            self._videos[camera] = VideoFiles(folder, form.IMAGES + camera, size, layout.fps, quality)
        self._ours = OursWriter(folder)

    def add(self, episode: Episode, labels: Sequence[Label]) -> None:
        """Append one episode."""
        number, length = len(self._rows), len(episode)
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        columns = rows_of(episode, self.layout.fps, number, self._frames, task)
        stats = Stats()
        for name, values in columns.items():
            stats.add(name, values)
        chunk, file = divmod(len(self._data_files), form.FILES_A_CHUNK)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [episode.instruction],
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        }
        for camera, video in self._videos.items():
            stats.add_pictures(video.key, episode.frames[camera][:-1])
            row |= video.append(episode.frames[camera])
        self._ours.add(episode, labels)
        self._rows.append(row | _stats_columns(stats) | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._stats.merge(stats)
        self._known.append(known_of(episode, labels))
        self._ids.append(episode.episode_id)
        self._robots.append(episode.robot.partition("/")[0])
        self._rates_hz.append(measured_rate_hz(episode.times_s) or self.layout.fps)
        self._frames += length
        self._waiting.append(table_of(columns))
        if sum(table.nbytes for table in self._waiting) >= form.DATA_MIB * 2**20:
            self._write_data()

    def finish(self) -> Exported:
        """Write what is left and what describes the data set."""
        self._write_data()
        for video in self._videos.values():
            video.close()
        self._ours.finish()
        columns, notices = shared(self._ids, self._known)
        self._add_columns(columns)
        slowest, fastest = min(self._rates_hz), max(self._rates_hz)
        if any(is_other_rate(rate_hz, self.layout.fps) for rate_hz in (slowest, fastest)):
            came = f"{slowest:.4g}" if fastest - slowest < 0.01 * fastest else f"{slowest:.4g} to {fastest:.4g}"
            notices.append(f"The rows are counted at {self.layout.fps:g} Hz; they came at {came} Hz.")
        if len(set(self._robots)) > 1:
            notices.append(f"robot_type is left out: the robots are {', '.join(sorted(set(self._robots)))}.")
        info = self._info(list(columns[0]))
        form.write_json(self._folder / form.INFO, info)
        form.write_json(self._folder / form.STATS, self._stats.result())
        pq.write_table(form.tasks_table(list(self._tasks)), self._folder / form.TASKS)
        path = self._folder / form.EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), path)
        return Exported(info, tuple(notices))

    def abandon(self) -> None:
        """Let go of every file, whatever state it is in."""
        for video in self._videos.values():
            video.abandon()
        self._ours.abandon()

    def _write_data(self) -> None:
        if not self._waiting:
            return
        chunk, file = divmod(len(self._data_files), form.FILES_A_CHUNK)
        path = self._folder / form.DATA_PATH.format(chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(self._waiting), path)
        self._waiting = []
        self._data_files.append(path)

    def _add_columns(self, columns: Sequence[Columns]) -> None:
        """Write the columns that turned out to be known of all episodes into the files that are there."""
        if not columns[0]:
            return
        for row, own in zip(self._rows, columns, strict=True):
            stats = Stats()
            for name, values in own.items():
                stats.add(name, values)
            row |= _stats_columns(stats)
            self._stats.merge(stats)
        added = pa.concat_tables(table_of(own) for own in columns)
        first = 0
        for path in self._data_files:
            table = pq.read_table(path, use_threads=False)
            for name in added.column_names:
                table = table.append_column(name, added[name].slice(first, len(table)).combine_chunks())
            first += len(table)
            pq.write_table(table, path)

    def _info(self, columns: Sequence[str]) -> dict[str, Any]:
        layout = self.layout
        pictures = {video.key: video.feature() for video in self._videos.values()}
        return {
            "codebase_version": form.VERSION,
            "robot_type": self._robots[0] if len(set(self._robots)) == 1 else None,
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": form.FILES_A_CHUNK,
            "data_files_size_in_mb": form.DATA_MIB,
            "video_files_size_in_mb": form.VIDEO_MIB,
            "fps": int(layout.fps) if layout.fps.is_integer() else layout.fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": form.DATA_PATH,
            "video_path": form.VIDEO_PATH if self._videos else None,
            "features": features_of(layout, columns) | pictures,
        }


def _stats_columns(stats: Stats) -> dict[str, Any]:
    """Return statistics as columns of the table of episodes."""
    return {f"stats/{name}/{kind}": value for name, kinds in stats.result().items() for kind, value in kinds.items()}
