"""Write episodes as a LeRobotDataset v3.0, for the tools that read those.

A row is an observation and the action after it, so an episode of T actions gives T rows; the last observation has no
action and is left out, as in LeRobot's own recordings. Simulator states, plans and verdicts stay behind.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from robot.data import Episode, Image
from robot.episodes import lerobot_format as form
from robot.episodes.description import measured_rate_hz
from robot.episodes.lerobot_stats import Stats
from robot.episodes.video import CAMERA, Quality
from robot.errors import SailError

Sized = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """Hold what all episodes of a data set have in common."""

    fps: float
    cameras: dict[str, Sized]
    state: tuple[str, ...]
    action: tuple[str, ...]
    robot: str

    @classmethod
    def of(cls, episode: Episode) -> Layout:
        """Return an episode's layout."""
        spec = episode.spec
        rate_hz = spec.action.rate_hz if spec else measured_rate_hz(episode.times_s) or 30.0
        fps = round(rate_hz) if abs(rate_hz - round(rate_hz)) < 0.01 * rate_hz else rate_hz
        return cls(
            fps,
            {name: (frames.shape[1], frames.shape[2]) for name, frames in sorted(episode.frames.items())},
            _named(spec.proprio_names if spec else (), "state", episode.proprio.shape[1]),
            _named(spec.action.names if spec else (), "action", episode.sent.shape[1]),
            episode.robot.partition("/")[0],
        )

    def difference(self, other: Layout) -> str:
        """Return in words how another layout differs, nothing where it does not."""
        for name in ("fps", "cameras", "state", "action"):
            if getattr(self, name) != getattr(other, name):
                return f"its {name} is {getattr(other, name)}, not {getattr(self, name)}"
        return ""


def export_lerobot(
    episodes: Iterable[Episode],
    out: str | Path,
    quality: Quality = CAMERA,
    on_episode: Callable[[Episode], None] | None = None,
) -> dict[str, Any]:
    """Write episodes, read one at a time, into a new folder and return what `meta/info.json` says.

    The folder appears once it is whole. Raises SailError where it exists already, episodes differ in rate, cameras or
    sizes, there is none with an action, or the disk is full.
    """
    target = Path(out)
    if target.exists():
        raise SailError(f"{target} exists already: choose another folder for the data set.")
    aside = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        aside.mkdir(parents=True)
        with contextlib.closing(_Writer(aside, quality)) as writer:
            for episode in episodes:
                if len(episode):
                    writer.add(episode)
                if on_episode is not None:
                    on_episode(episode)
            info = writer.finish()
        aside.rename(target)
    except (OSError, av.error.FFmpegError) as problem:
        said = getattr(problem, "strerror", "") or problem
        raise SailError(f"The data set could not be written to {target} ({said}).") from problem
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return info


class _Writer:
    def __init__(self, folder: Path, quality: Quality) -> None:
        self._folder = folder
        self._quality = quality
        self._layout: Layout | None = None
        self._tasks: dict[str, int] = {}
        self._ours: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._stats = Stats()
        self._videos: dict[str, _VideoFiles] = {}
        self._frames = 0
        self._waiting: list[pa.Table] = []
        self._data_file = 0

    def add(self, episode: Episode) -> None:
        """Append one episode."""
        layout = Layout.of(episode)
        if self._layout is None:
            _check_cameras(layout)
            self._layout = layout
            self._videos = {
                camera: _VideoFiles(self._folder, form.IMAGES + camera, size, layout.fps, self._quality)
                for camera, size in layout.cameras.items()
            }
        elif odd := self._layout.difference(layout):
            raise SailError(f"Episode {episode.episode_id!r} does not fit into one data set with the others: {odd}.")
        number, length = len(self._rows), len(episode)
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        table, columns = self._table(episode, number, task)
        stats = Stats()
        for name, values in columns.items():
            stats.add(name, values)
        for camera in self._videos:
            stats.add_pictures(form.IMAGES + camera, episode.frames[camera][:-1])
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [episode.instruction],
            "length": length,
            "data/chunk_index": self._data_file // form.FILES_A_CHUNK,
            "data/file_index": self._data_file % form.FILES_A_CHUNK,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        }
        for video in self._videos.values():
            row |= video.append(episode.frames[video.camera][:-1])
        row |= {
            f"stats/{name}/{kind}": value for name, kinds in stats.result().items() for kind, value in kinds.items()
        }
        self._rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._stats.merge(stats)
        self._ours.append(_ours(episode))
        self._frames += length
        self._waiting.append(table)
        if sum(table.nbytes for table in self._waiting) >= form.DATA_MIB * 2**20:
            self._write_data()

    def finish(self) -> dict[str, Any]:
        """Write what describes the data set and return its `info.json`."""
        if self._layout is None:
            raise SailError("There is nothing to export: no episode with an action was chosen.")
        self._write_data()
        for video in self._videos.values():
            video.close()
        info = self._info(self._layout)
        _write_json(self._folder / form.INFO, info)
        _write_json(self._folder / form.STATS, self._stats.result())
        _write_json(self._folder / form.OURS, {"version": 1, "episodes": self._ours})
        pq.write_table(form.tasks_table(list(self._tasks)), self._folder / form.TASKS)
        path = self._folder / form.EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), path)
        return info

    def close(self) -> None:
        """Let go of the videos."""
        for video in self._videos.values():
            with contextlib.suppress(OSError, av.error.FFmpegError):
                video.close()

    def _table(self, episode: Episode, number: int, task: int) -> tuple[pa.Table, dict[str, NDArray[Any]]]:
        assert self._layout is not None
        length = len(episode)
        steps = np.arange(length, dtype=np.int64)
        success = episode.success if episode.success is not None else np.zeros(length, np.bool_)
        columns: dict[str, NDArray[Any]] = {
            form.STATE: np.asarray(episode.proprio[:-1], np.float32),
            form.ACTION: np.asarray(episode.sent, np.float32),
            form.REWARD: np.asarray(episode.reward if episode.reward is not None else success, np.float32),
            form.SUCCESS: np.asarray(success, np.bool_),
            form.DONE: steps == length - 1,
            "timestamp": (steps / self._layout.fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(length, number, np.int64),
            "index": steps + self._frames,
            "task_index": np.full(length, task, np.int64),
        }
        arrays = {}
        for name, values in columns.items():
            flat = pa.array(values.reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim == 2 else flat
        return pa.table(arrays), columns

    def _write_data(self) -> None:
        if not self._waiting:
            return
        chunk, file = divmod(self._data_file, form.FILES_A_CHUNK)
        path = self._folder / form.DATA_PATH.format(chunk_index=chunk, file_index=file)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(self._waiting), path)
        self._waiting = []
        self._data_file += 1

    def _info(self, layout: Layout) -> dict[str, Any]:
        features: dict[str, Any] = {
            form.STATE: {"dtype": "float32", "shape": [len(layout.state)], "names": list(layout.state)},
            form.ACTION: {"dtype": "float32", "shape": [len(layout.action)], "names": list(layout.action)},
            form.REWARD: {"dtype": "float32", "shape": [1], "names": None},
            form.SUCCESS: {"dtype": "bool", "shape": [1], "names": None},
            form.DONE: {"dtype": "bool", "shape": [1], "names": None},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        }
        for name in ("frame_index", "episode_index", "index", "task_index"):
            features[name] = {"dtype": "int64", "shape": [1], "names": None}
        for video in self._videos.values():
            features[video.key] = video.feature()
        return {
            "codebase_version": form.VERSION,
            "robot_type": layout.robot,
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": form.FILES_A_CHUNK,
            "data_files_size_in_mb": form.DATA_MIB,
            "video_files_size_in_mb": form.VIDEO_MIB,
            "fps": layout.fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": form.DATA_PATH,
            "video_path": form.VIDEO_PATH if self._videos else None,
            "features": features,
        }


class _VideoFiles:
    """Write the episodes of one camera one after the other into MP4 files of limited size."""

    def __init__(self, folder: Path, key: str, size: Sized, fps: float, quality: Quality) -> None:
        self.key, self.camera = key, key.removeprefix(form.IMAGES)
        self._folder, self._size, self._fps, self._quality = folder, size, fps, quality
        self._file = -1
        self._path = folder
        self._frames = 0
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def append(self, frames: NDArray[np.uint8]) -> dict[str, Any]:
        """Append an episode and return where it lies, as columns of the table of episodes."""
        full = self._path.is_file() and self._path.stat().st_size >= form.VIDEO_MIB * 2**20
        if self._container is None or full:
            self._begin()
        first = self._frames
        for frame in frames:
            self._encode(frame)
        self._frames += len(frames)
        chunk, file = divmod(self._file, form.FILES_A_CHUNK)
        return {
            f"videos/{self.key}/chunk_index": chunk,
            f"videos/{self.key}/file_index": file,
            f"videos/{self.key}/from_timestamp": first / self._fps,
            f"videos/{self.key}/to_timestamp": self._frames / self._fps,
        }

    def feature(self) -> dict[str, Any]:
        """Return the entry of `info.json`."""
        height, width = self._size
        about = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": self._pixels(),
            "video.is_depth_map": False,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channels"]
        return {"dtype": "video", "shape": [height, width, 3], "names": names, "info": about}

    def close(self) -> None:
        """Finish the file; closing twice is allowed."""
        container, self._container = self._container, None
        if container is not None and self._stream is not None:
            for packet in self._stream.encode(None):
                container.mux(packet)
            container.close()

    def _begin(self) -> None:
        self.close()
        self._file += 1
        self._frames = 0
        chunk, file = divmod(self._file, form.FILES_A_CHUNK)
        self._path = self._folder / form.VIDEO_PATH.format(video_key=self.key, chunk_index=chunk, file_index=file)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._path), "w")
        # A key every other frame, as theirs: any frame is reached at once. No B-frames: times begin at 0.
        options = {"crf": str(self._quality.crf), "preset": "veryfast", "g": "2", "bf": "0"}
        rate = Fraction(self._fps).limit_denominator(1000)
        stream = self._container.add_stream(self._quality.codec, rate=rate, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = self._size
        stream.pix_fmt = "rgb24" if self._quality.lossless else self._pixels()
        stream.codec_context.thread_count = 1
        self._stream = stream

    def _encode(self, frame: Image) -> None:
        assert self._stream is not None
        assert self._container is not None
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
            self._container.mux(packet)

    def _pixels(self) -> str:
        if self._quality.lossless:
            return "gbrp"
        return "yuv444p" if self._size[0] % 2 or self._size[1] % 2 else "yuv420p"


def _check_cameras(layout: Layout) -> None:
    """Raise SailError for a camera that cannot name a folder: its name may have come over a wire."""
    for name in layout.cameras:
        if any(character in name for character in "/\\") or not name.isprintable():
            raise SailError(
                f"Camera {name!r} cannot name a folder of the data set: record with one called by letters and digits."
            )


def _ours(episode: Episode) -> dict[str, Any]:
    names = ("episode_id", "task", "spoken", "robot", "seed", "config_hash")
    return {**{name: getattr(episode, name) for name in names}, "outcome": episode.outcome.value}


def _named(known: Sequence[str], what: str, count: int) -> tuple[str, ...]:
    return tuple(known) if len(known) == count else tuple(f"{what}_{number}" for number in range(count))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
