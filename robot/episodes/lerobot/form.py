"""Name what both directions need of LeRobotDataset v3.0: paths, feature names and how tasks are written.

Source: the data set format of LeRobot 0.4 (`codebase_version` v3.0).

What that format has no place for lies beside it, in files that other programs pass over; `robot.episodes.lerobot.ours`
writes and reads them. All of them are by the number of an episode in the data set:

- `OURS`, one JSON object: `version` (2; in version 1 it and the first seven keys below are all there is), `specs` (each
  as `episode.json` has its `spec`) and `episodes`, a list with an object for each: `episode_id`, `task`, `spoken`,
  `robot`, `seed`, `config_hash`, `outcome`; `spec`, a place in `specs` or null; `rows`, how many rows of the data set
  are its own; `crc32`, over the bytes of these rows' `observation.state` and then of their `action`, both float32:
  where it is another, the rows were changed since and nothing here belongs to them any more.
- `OUR_STEPS`, a row an observation, `rows` + 1 an episode and in order: `episode_index`, `time_s` (when it was, where
  the data set counts at its nominal rate), and, empty in an episode's last row, `requested`, `success`, `reward` and
  `intervention` (these three empty as well where nobody knew); `proprio` is empty in all but the last row.
- `OUR_LABELS`, a line a label in force: a line of `labels.jsonl` with the number of its `episode`.
- In every video, after the last frame of an episode's rows and so from its `to_timestamp` on, one frame more: what was
  seen after the last action. With it and the last row of `OUR_STEPS` N rows come back as the N actions they were.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow as pa

from robot.episodes.arrival import UnfitError

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
OURS, OUR_STEPS, OUR_LABELS = "meta/sail.json", "meta/sail/steps.parquet", "meta/sail/labels.jsonl"
OUR_VERSION = 2
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
REWARD, SUCCESS, DONE = "next.reward", "next.success", "next.done"
TIME, ROW, EPISODE, INDEX, TASK = "timestamp", "frame_index", "episode_index", "index", "task_index"
SUBTASKS, SUBTASK = "meta/subtasks.parquet", "subtask_index"
INTERVENTION = "intervention"
"""As LeRobot 0.6 calls it where a person takes over: bool, a person gave the action."""
FILES_A_CHUNK = 1000
DATA_MIB, VIDEO_MIB = 100, 200
"""Sizes at which a further file is begun."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as they do; raises OSError when it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def there(path: Path) -> Path:
    """Return the path of a file; raise FileNotFoundError where there is none: a pipe or a device, which has no end."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "it is no file" if path.exists() else "it is missing", str(path))
    return path


def tasks_table(tasks: list[str]) -> pa.Table:
    """Return tasks and their numbers as the table that pandas would write, the tasks being its index."""
    about = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": [
            {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
                "metadata": None,
            },
            {
                "name": "task",
                "field_name": "task",
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": None,
            },
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def task_names(table: pa.Table) -> dict[int, str]:
    """Return the tasks of such a table, or the subtasks, by their numbers, whatever its index is called.

    Raises KeyError where there is none, ValueError where a number stands twice.
    """
    (numbers,) = [name for name in (TASK, SUBTASK) if name in table.column_names][:1] or [TASK]
    words = [name for name in table.column_names if pa.types.is_string(_kind(table, name))]
    likely = [name for name in (*_index_columns(table), "task", "subtask", "__index_level_0__") if name in words]
    if not (likely or words):
        raise KeyError("task")
    pairs = list(zip(table[numbers].to_pylist(), table[(likely or words)[0]].to_pylist(), strict=True))
    found = {int(number): str(words) for number, words in pairs if words is not None}
    if len(found) != len(pairs):
        raise ValueError("a task has no words, or a number of its own")
    return found


def _kind(table: pa.Table, name: str) -> pa.DataType:
    kind = table.schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if pa.types.is_large_string(kind) else kind


def _index_columns(table: pa.Table) -> list[str]:
    """Return what pandas calls the index of a table that it wrote."""
    try:
        about = json.loads((table.schema.metadata or {})[b"pandas"])
        return [name for name in about["index_columns"] if isinstance(name, str)]
    except (KeyError, TypeError, ValueError):
        return []


PLACE = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")


def path_in(folder: Path, template: object, **values: object) -> Path:
    """Return the file of a data set that one of its templates of paths names.

    Links in the folder are followed: a cache of downloads is made of them. Raises UnfitError where the template has a
    place for what is not known, or its words lead out of the folder.
    """

    def filled(place: re.Match[str]) -> str:
        name, width = place.groups()
        if name not in values:
            raise UnfitError(f"a path of the set has a place for {name}, which is not known")
        value = values[name]
        return f"{value:0{int(width or 0)}d}" if isinstance(value, int) else str(value)

    name = PLACE.sub(filled, template) if isinstance(template, str) else ""
    steps = PurePosixPath(name)
    outside = steps.is_absolute() or PureWindowsPath(name).is_absolute() or ".." in steps.parts or "\\" in name
    if not name or outside or "\0" in name:
        raise UnfitError(f"the path {name!r} names a file outside the set")
    return folder / steps
