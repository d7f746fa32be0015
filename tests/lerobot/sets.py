"""Write a LeRobotDataset v3.0 from a plain description, a barcode in every frame, whole or broken in a stated way.

Nothing of this project is used: it stands for the recorders of other people. What a frame, a state or an action must be
follows from camera, episode and row alone (`barcode`, `state_of`, `action_of`), so that any exchange of them shows.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIDE = 8
"""Cells of a barcode along each side."""
DARK, LIGHT = 32, 224
SPREAD = 0x9E3779B97F
"""An odd number that spreads a place over all cells: an encoder passes over a frame in which only one has changed."""
TICKS = 90_000
"""Of a video, in a second."""
MOST_KEPT = 256
"""Files of video that are kept, not to be encoded again, at most."""
_ENCODED: dict[str, bytes] = {}
KINDS = {"success": pa.bool_(), "reward": pa.float32()}
Split = int | Sequence[int]
"""How many episodes there are in each file: as many in all, or so many in the first, so many in the second, …."""
DEFAULTS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Camera:
    """Describe a camera and how its pictures are kept.

    `kept`: `video`, `png`, `jpeg`, `path` (a file that the table names), `depth` (16-bit PNG) or `depth video`.
    `density`: frames a row. `rate`: frames a second that the video really has, where that is not what the rows need.
    `lost`: (episode, row) whose frame is missing; `closed_up`: the later ones moved up. `doubled`: (episode, row) whose
    frame is there twice, the later ones moved on. `keys`: each episode begins with a key frame. `a_file`: as `a_video`
    of a plan, for this camera alone.
    """

    name: str = "top"
    height: int = 64
    width: int = 64
    kept: str = "video"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=lambda: {"crf": "18", "g": "2"})
    density: int = 1
    rate: float | None = None
    lost: tuple[tuple[int, int], ...] = ()
    doubled: tuple[tuple[int, int], ...] = ()
    closed_up: bool = False
    keys: bool = True
    suffix: str = ".mp4"
    key: str = ""
    a_file: Split | None = None

    @property
    def feature(self) -> str:
        """Return the name of its feature."""
        return self.key or f"observation.images.{self.name}"

    @property
    def is_video(self) -> bool:
        return self.kept in ("video", "depth video")


@dataclass(frozen=True)
class Take:
    """Describe an episode: how many rows it has, what was asked, and what is odd about it.

    `tasks`: one for all rows, or one each. `success`, `reward`: one value a row, None within for an empty one.
    `states`, `actions`: what stands there instead, (rows, …). `times`: the rows' timestamps. `order`: the rows as they
    are stored. `stated`: entries of its row in meta/episodes that are not as they should be.
    """

    rows: int
    tasks: Sequence[str] = ("pick it up",)
    success: Sequence[Any] | None = None
    reward: Sequence[Any] | None = None
    states: Any = None
    actions: Any = None
    times: Sequence[float | None] | None = None
    order: Sequence[int] | None = None
    more: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    stated: Mapping[str, Any] = field(default_factory=dict)

    def task(self, row: int) -> str:
        """Return what is asked in a row."""
        return self.tasks[min(row, len(self.tasks) - 1)]


@dataclass(frozen=True)
class Plan:
    """Describe a data set.

    `a_data_file`, `a_video`, `a_table`: episodes in each file of rows, of pictures and of meta/episodes. `chunk`: files
    in a folder. `one_group`: all rows of a file are one row group, as pandas writes them. `lists`: vectors are `fixed`
    or `variable` lists. `statistics`: `right`, `none`, `null`, `nan`, `short`, or `episodes`, those of each episode
    alone. `names`: what names each feature's entries. `page`: rows in a page of a column, at most; the default is
    pyarrow's. `task_form`: how the table of tasks is written. `seed`: of the order of features, columns and rows of
    meta/episodes, 0 being the usual one. `info`: entries of info.json that are not as they should be.
    """

    takes: Sequence[Take]
    cameras: Sequence[Camera] = (Camera(),)
    fps: float = 30
    state: tuple[int, ...] = (3,)
    action: tuple[int, ...] = (2,)
    a_data_file: Split = 1000
    a_video: Split = 1000
    a_table: Split = 1000
    chunk: int = 1000
    one_group: bool = False
    lists: str = "fixed"
    scalar_lists: bool = False
    statistics: str = "right"
    names: Mapping[str, Any] = field(default_factory=dict)
    task_form: str = "pandas"
    seed: int = 0
    time_type: str = "float32"
    page: int = 1024
    info: Mapping[str, Any] = field(default_factory=dict)


def barcode(camera: int, episode: int, row: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Return a picture that says where it belongs, uint8 (H, W, 3), fit to survive encoders at a rate factor of 18."""
    word = (camera << 28) | (episode << 16) | row
    value = (word * SPREAD % 2**40) << 8 | (zlib.crc32(word.to_bytes(5, "big")) & 0xFF)
    bits = np.array([value >> place & 1 for place in range(SIDE * SIDE)]).reshape(SIDE, SIDE)
    cells = np.where(bits, LIGHT, DARK).astype(np.uint8)
    rows, columns = np.arange(height) * SIDE // height, np.arange(width) * SIDE // width
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_barcode(picture: np.ndarray) -> tuple[int, int, int]:
    """Return camera, episode and row of a picture; raise ValueError where it is no whole barcode."""
    height, width = picture.shape[:2]
    rows = (2 * np.arange(SIDE) + 1) * height // (2 * SIDE)
    columns = (2 * np.arange(SIDE) + 1) * width // (2 * SIDE)
    bits = picture[rows][:, columns].mean(axis=-1).reshape(-1) > (DARK + LIGHT) / 2
    value = sum(int(bit) << place for place, bit in enumerate(bits))
    word = (value >> 8) * pow(SPREAD, -1, 2**40) % 2**40
    if value >> 48 or word >> 32 or zlib.crc32(word.to_bytes(5, "big")) & 0xFF != value & 0xFF:
        raise ValueError("no barcode")
    return word >> 28, word >> 16 & 0xFFF, word & 0xFFFF


def state_of(episode: int, row: int, shape: tuple[int, ...] = (3,)) -> np.ndarray:
    """Return the state of a row, float32."""
    return (episode + row / 1000 + np.arange(math.prod(shape)).reshape(shape) / 10).astype(np.float32)


def action_of(episode: int, row: int, shape: tuple[int, ...] = (2,)) -> np.ndarray:
    """Return the action of a row, float32."""
    return (-episode - row / 500 + np.arange(math.prod(shape)).reshape(shape)).astype(np.float32)


def write_set(folder: Path, plan: Plan) -> Path:
    """Write the data set and return its folder."""
    tasks = list(dict.fromkeys(take.task(row) for take in plan.takes for row in range(max(take.rows, 1))))
    rows = [_about(plan, number, tasks) for number in range(len(plan.takes))]
    for number, takes in _groups(len(plan.takes), plan.a_data_file):
        path = folder / "data" / _place(plan, number, ".parquet")
        _write_tables(path, [_table(plan, episode, tasks, folder) for episode in takes], plan.one_group, plan.page)
    for index, camera in enumerate(plan.cameras):
        for number, takes in _groups(len(plan.takes), _split(plan, camera)) if camera.is_video else ():
            path = folder / "videos" / camera.feature / _place(plan, number, camera.suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_video(plan, index, takes))
    for number, takes in _groups(len(plan.takes), plan.a_table):
        path = folder / "meta/episodes" / _place(plan, number, ".parquet")
        listed = [rows[episode] for episode in _shuffled(list(takes), plan.seed)]
        _write_tables(path, [_ordered(pa.Table.from_pylist(listed), plan.seed)], True)
    if plan.task_form != "none":
        _write_tables(folder / "meta/tasks.parquet", [_tasks_table(tasks, plan.task_form)], True)
    write_json(folder / "meta/info.json", _info(plan, len(tasks)))
    if plan.statistics not in ("none", "episodes"):
        write_json(folder / "meta/stats.json", _statistics(plan))
    return folder


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def change_json(path: Path, **changes: Any) -> None:
    """Change entries of a JSON object in a file."""
    write_json(path, json.loads(path.read_text()) | changes)


def cut(path: Path, share: float = 0.5) -> None:
    """Keep the beginning of a file alone."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def spoil(path: Path, share: float = 0.5, count: int = 200) -> None:
    """Write nonsense over some bytes of a file."""
    content = bytearray(path.read_bytes())
    start = int(share * len(content))
    content[start : start + count] = bytes(byte ^ 0xA5 for byte in content[start : start + count])
    path.write_bytes(content)


def _groups(takes: int, split: Split) -> Iterator[tuple[int, range]]:
    sizes = itertools.repeat(split) if isinstance(split, int) else itertools.chain(split, itertools.repeat(takes))
    first = 0
    for number, size in enumerate(sizes):
        if first >= takes:
            return
        yield number, range(first, min(first + size, takes))
        first += size


def _file_of(takes: int, split: Split, episode: int) -> tuple[int, range]:
    """Return the number of the file that an episode is in, and all that are in it."""
    return next((number, whose) for number, whose in _groups(takes, split) if episode in whose)


def _split(plan: Plan, camera: Camera) -> Split:
    return plan.a_video if camera.a_file is None else camera.a_file


def _shuffled(values: Sequence[Any], seed: int) -> list[Any]:
    """Return values in an order that follows from a seed; 0 leaves them as they are."""
    return random.Random(seed).sample(list(values), len(values)) if seed else list(values)


def _ordered(table: pa.Table, seed: int) -> pa.Table:
    return table.select(_shuffled(table.column_names, seed))


def _place(plan: Plan, number: int, suffix: str) -> str:
    return f"chunk-{number // plan.chunk:03d}/file-{number % plan.chunk:03d}{suffix}"


def _begin_s(plan: Plan, camera: Camera, episode: int) -> float:
    """Return where an episode begins in its video."""
    _, whose = _file_of(len(plan.takes), _split(plan, camera), episode)
    return sum(take.rows for take in plan.takes[whose.start : episode]) / plan.fps


def _about(plan: Plan, episode: int, tasks: Sequence[str]) -> dict[str, Any]:
    """Return an episode's row of meta/episodes."""
    take = plan.takes[episode]
    before = sum(other.rows for other in plan.takes[:episode])
    data = divmod(_file_of(len(plan.takes), plan.a_data_file, episode)[0], plan.chunk)
    row: dict[str, Any] = {
        "episode_index": episode,
        "tasks": list(dict.fromkeys(take.task(row) for row in range(max(take.rows, 1)))),
        "length": take.rows,
        "data/chunk_index": data[0],
        "data/file_index": data[1],
        "dataset_from_index": before,
        "dataset_to_index": before + take.rows,
    }
    for camera in plan.cameras:
        if camera.is_video:
            key = f"videos/{camera.feature}"
            video = divmod(_file_of(len(plan.takes), _split(plan, camera), episode)[0], plan.chunk)
            row |= {f"{key}/chunk_index": video[0], f"{key}/file_index": video[1]}
            row[f"{key}/from_timestamp"] = _begin_s(plan, camera, episode)
            row[f"{key}/to_timestamp"] = _begin_s(plan, camera, episode) + take.rows / plan.fps
    if plan.statistics == "episodes":
        found = _statistics(plan, [episode])
        row |= {f"stats/{name}/{kind}": value for name, kinds in found.items() for kind, value in kinds.items()}
    return row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0} | dict(take.stated)


def _table(plan: Plan, episode: int, tasks: Sequence[str], folder: Path) -> pa.Table:
    """Return an episode's rows."""
    take = plan.takes[episode]
    before = sum(other.rows for other in plan.takes[:episode])
    states = _made(state_of, episode, take.rows, plan.state) if take.states is None else take.states
    actions = _made(action_of, episode, take.rows, plan.action) if take.actions is None else take.actions
    times = [row / plan.fps for row in range(take.rows)] if take.times is None else take.times
    columns = {
        "observation.state": _vectors(states, plan.state, plan),
        "action": _vectors(actions, plan.action, plan),
        "timestamp": pa.array(np.array(times, np.float64).astype(plan.time_type)),
        "frame_index": pa.array(range(take.rows), pa.int64()),
        "episode_index": pa.array([episode] * take.rows, pa.int64()),
        "index": pa.array(range(before, before + take.rows), pa.int64()),
        "task_index": pa.array([tasks.index(take.task(row)) for row in range(take.rows)], pa.int64()),
    }
    for name, kind in KINDS.items():
        if any(getattr(other, name) is not None for other in plan.takes):
            values = getattr(take, name)
            columns[f"next.{name}"] = _single([None] * take.rows if values is None else values, kind, plan)
    columns |= {name: pa.array(values) for name, values in take.more.items()}
    for index, camera in enumerate(plan.cameras):
        if not camera.is_video:
            columns[camera.feature] = _pictures(camera, index, episode, take.rows, folder)
    table = _ordered(pa.table(columns), plan.seed)
    return table if take.order is None else table.take(pa.array(take.order, pa.int64()))


def _single(given: Sequence[Any], kind: pa.DataType, plan: Plan) -> pa.Array:
    values = [None if value is None else bool(value) if kind == pa.bool_() else value for value in given]
    if plan.scalar_lists:
        return pa.array([[value] for value in values], pa.list_(kind))
    return pa.array(values, kind)


def _made(make: Callable[..., np.ndarray], episode: int, rows: int, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [make(episode, row, shape) for row in range(rows)]


def _vectors(values: Any, shape: tuple[int, ...], plan: Plan) -> pa.Array:
    """Return vectors as theirs are kept: a single number for the shape (1,), lists of lists for tables."""
    rows = [np.asarray(value, np.float32) for value in values]
    if shape == (1,) and not plan.scalar_lists:
        return pa.array([float(row.reshape(-1)[0]) for row in rows], pa.float32())
    kind: pa.DataType = pa.float32()
    for side in reversed(shape):
        kind = pa.list_(kind, side) if plan.lists == "fixed" else pa.list_(kind)
    return pa.array([row.tolist() for row in rows], kind)


def _pictures(camera: Camera, index: int, episode: int, rows: int, folder: Path) -> pa.Array:
    """Return the pictures of an episode as a column of PNG or JPEG, or of the names of their files."""
    cells = []
    for row in range(rows):
        encoded = _still(camera, index, episode, row)
        name = f"images/{camera.feature}/episode-{episode:06d}/frame-{row:06d}.png"
        if camera.kept == "path":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(encoded)
        cells.append({"bytes": None if camera.kept == "path" else encoded, "path": name})
    return pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _still(camera: Camera, index: int, episode: int, row: int) -> bytes:
    from PIL import Image

    pixels = barcode(index, episode, row, camera.height, camera.width)
    if camera.kept == "depth":
        pixels = pixels[:, :, 0].astype(np.uint16) * 200
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg" if camera.kept == "jpeg" else "png")
    return file.getvalue()


def _write_tables(path: Path, tables: Sequence[pa.Table], one_group: bool, page: int = 1024) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema, write_batch_size=page) as writer:
        for table in [pa.concat_tables(tables)] if one_group else tables:
            writer.write_table(table)


def _shown(plan: Plan, camera: Camera, takes: range) -> Iterator[tuple[float, int, int]]:
    """Yield when each frame of a video is shown, and the episode and row that it is of."""
    rate = plan.fps * camera.density
    frames = [
        (_begin_s(plan, camera, episode) + row / plan.fps + part / rate, episode, row)
        for episode in takes
        for row in range(plan.takes[episode].rows)
        for part in range(camera.density)
        for _ in range(2 if (episode, row) in camera.doubled else 1)
        if (episode, row) not in camera.lost
    ]
    for place, (time_s, episode, row) in enumerate(frames):
        moved = camera.closed_up or camera.doubled
        yield (place / camera.rate if camera.rate else place / rate if moved else time_s), episode, row


def _video(plan: Plan, index: int, takes: range) -> bytes:
    """Return a file of video; the same one is encoded once."""
    shown = list(_shown(plan, plan.cameras[index], takes))
    key = repr((plan.cameras[index], index, plan.fps, shown))
    if key not in _ENCODED:
        if len(_ENCODED) >= MOST_KEPT:
            _ENCODED.clear()
        _ENCODED[key] = _encoded(plan.cameras[index], index, plan.fps, shown)
    return _ENCODED[key]


def _encoded(camera: Camera, index: int, fps: float, shown: Sequence[tuple[float, int, int]]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format={".mp4": "mp4", ".mkv": "matroska"}[camera.suffix]) as container:
        rate = Fraction(camera.rate or fps * camera.density).limit_denominator(1001)
        stream: Any = container.add_stream(camera.codec, rate=rate, options=dict(camera.options))
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, camera.pixels
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.thread_count = 1
        last = -1
        for time_s, episode, row in shown:
            frame = _frame(camera, index, episode, row)
            frame.pts, frame.time_base = round(time_s * TICKS), Fraction(1, TICKS)
            if camera.keys and episode != last:
                frame.pict_type, last = av.video.frame.PictureType.I, episode
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _frame(camera: Camera, index: int, episode: int, row: int) -> Any:
    pixels = barcode(index, episode, row, camera.height, camera.width)
    if camera.kept == "depth video":
        return av.VideoFrame.from_ndarray(pixels[:, :, 0].astype(np.uint16) * 200, format="gray16le")
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def _tasks_table(tasks: Sequence[str], form: str) -> pa.Table:
    """Return the tasks as pandas writes a frame whose index they are (`pandas`, `named`), or as a plain table."""
    name = {"pandas": "__index_level_0__"}.get(form, "task")
    words = pa.array(list(tasks), pa.large_string() if form == "large" else pa.string())
    columns = {"task_index": pa.array(range(len(tasks)), pa.int64())}
    columns[name] = words.dictionary_encode() if form == "dictionary" else words
    if form not in ("pandas", "named"):
        return pa.table(dict(reversed(columns.items())))
    about = {"index_columns": [name], "column_indexes": [], "columns": [], "pandas_version": "2.2.0"}
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps(about)})


def _info(plan: Plan, tasks: int) -> dict[str, Any]:
    shapes = {"observation.state": plan.state, "action": plan.action}
    features: dict[str, Any] = {key: {"dtype": "float32", "shape": list(shape)} for key, shape in shapes.items()}
    there = {name for take in plan.takes for name in KINDS if getattr(take, name) is not None}
    features |= {f"next.{name}": {"dtype": str(KINDS[name]), "shape": [1]} for name in sorted(there)}
    features |= {name: {"dtype": "float32", "shape": [1]} for take in plan.takes for name in take.more}
    for name in DEFAULTS:
        features[name] = {"dtype": plan.time_type if name == "timestamp" else "int64", "shape": [1]}
    for camera in plan.cameras:
        shape = [camera.height, camera.width, 1 if "depth" in camera.kept else 3]
        dtype = "video" if camera.is_video else "image"
        features[camera.feature] = {"dtype": dtype, "shape": shape, "names": ["height", "width", "channels"]}
    for name, feature in features.items():
        feature.setdefault("names", None)
        feature["names"] = plan.names.get(name, feature["names"])
    videos = [camera for camera in plan.cameras if camera.is_video]
    place = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    return {
        "codebase_version": "v3.0",
        "robot_type": "so100",
        "total_episodes": len(plan.takes),
        "total_frames": sum(take.rows for take in plan.takes),
        "total_tasks": tasks,
        "chunks_size": plan.chunk,
        "fps": plan.fps,
        "splits": {"train": f"0:{len(plan.takes)}"},
        "data_path": f"data/{place}.parquet",
        "video_path": f"videos/{{video_key}}/{place}{videos[0].suffix}" if videos else None,
        "features": dict(_shuffled(list(features.items()), plan.seed)),
        **plan.info,
    }


def _statistics(plan: Plan, episodes: Sequence[int] | None = None) -> dict[str, Any]:
    if plan.statistics == "null":
        return {"action": None, "observation.state": None}
    found = {}
    for name, make, shape in (("action", action_of, plan.action), ("observation.state", state_of, plan.state)):
        numbers = range(len(plan.takes)) if episodes is None else episodes
        rows = [make(number, row, shape) for number in numbers for row in range(plan.takes[number].rows)]
        values = np.array(rows or [np.zeros(shape)], np.float64)
        stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
        found[name] = {kind: value.tolist() for kind, value in stats.items()} | {"count": [len(values)]}
        if plan.statistics == "nan":
            found[name] |= {"min": np.full(shape, np.nan).tolist(), "max": None}
        if plan.statistics == "short":
            found[name] |= {"min": [0.0], "max": [1.0]}
    return found
