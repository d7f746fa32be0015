"""Name what both directions need of LeRobotDataset v3.0: paths, feature names and how tasks are written.

Source: the data set format of LeRobot 0.4 (`codebase_version` v3.0).
"""

from __future__ import annotations

import json

import pyarrow as pa

VERSION = "v3.0"
INFO, STATS, TASKS, OURS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/sail.json"
"""`OURS` holds what their format has no place for; other programs pass over it."""
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"
REWARD, SUCCESS, DONE = "next.reward", "next.success", "next.done"
FILES_A_CHUNK = 1000
DATA_MIB, VIDEO_MIB = 100, 200
"""Sizes at which a further file is begun."""


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
    """Return the tasks of such a table by their numbers, whatever its index is called."""
    (column,) = [name for name in table.column_names if name != "task_index"][:1]
    return dict(zip(table["task_index"].to_pylist(), map(str, table[column].to_pylist()), strict=True))
