"""Harm a LeRobot data set in a drawn way: its JSON, its tables, its files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.hostile import HOSTILE

Harm = Callable[[st.DataObject, Path], str]
"""Harms the data set in a folder and says how; where nothing could be harmed, it says nothing."""
WILD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2.5,
    7,
    10**6,
    2**31,
    2**63,
    10**30,
    -(10**400),
    1e308,
    -1e-320,
    float("nan"),
    float("inf"),
    "",
    "7",
    "nan",
    "../../outside",
    "/etc/passwd",
    "{chunk_index:99999999d}",
    [],
    [[]],
    [None],
    [[[[1]]]],
    {},
    {"a": None},
    {"": {"": []}},
    [1, "a", None, {}],
    ["a", "a"],
    *HOSTILE,
)
MOVING = ("swapped", "copied", "flipped", "shuffled", "observation.state", "'proprio'")
"""Words of harms after which a frame may stand beside another row's state, and nothing can tell."""
RAW = (b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"\0" * 100, b"[" * 100_000, b'{"a":' * 50_000, b"PAR1")
KINDS = (pa.string(), pa.float64(), pa.int8(), pa.bool_(), pa.binary(), pa.decimal128(38, 5), pa.timestamp("us"))


def in_json(data: st.DataObject, folder: Path) -> str:
    """Change, add or leave out something in a JSON file, wherever it stands."""
    found = [(path, content) for path in sorted(folder.glob("meta/*.json")) if (content := _json(path))]
    if not found:
        return ""
    path, content = data.draw(st.sampled_from(found))
    parent = content
    while True:
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
        if not (isinstance(parent[key], dict | list) and parent[key] and data.draw(st.integers(0, 3))):
            break
        parent = parent[key]
    what = data.draw(st.sampled_from(["other", "other", "other", "none", "more"]))
    value = data.draw(st.sampled_from(WILD))
    if what == "none":
        del parent[key]
    elif what == "more" and isinstance(parent, dict):
        parent[value if isinstance(value, str) else "more"] = parent[key]
    else:
        parent[key] = value
    path.write_text(json.dumps(content))
    return f"{path.name}: {what} {key!r} {str(value)[:40]!r}"


def in_table(data: st.DataObject, folder: Path) -> str:
    """Change the columns or the rows of a table."""
    found = [(path, table) for path in sorted(folder.rglob("*.parquet")) if (table := _table(path)) is not None]
    if not found:
        return ""
    path, table = data.draw(st.sampled_from(found))
    names = table.column_names
    name, other = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    changes: dict[str, Callable[[], pa.Table]] = {
        "dropped": lambda: table.drop_columns([name]),
        "renamed": lambda: table.rename_columns({name: data.draw(st.sampled_from(["", "x", *HOSTILE[:-3]]))}),
        "twice": lambda: table.append_column(name, table[other]),
        "swapped": lambda: _with(_with(table, name, table[other]), other, table[name]),
        "empty": lambda: _with(table, name, pa.nulls(len(table), table[name].type)),
        "of nothing": lambda: _with(table, name, pa.nulls(len(table))),
        "wild": lambda: _with(table, name, _cells(data, len(table))),
        "another kind": lambda: _with(table, name, _cast(table[name], data.draw(st.sampled_from(KINDS)))),
        "in lists": lambda: _with(table, name, pa.array([[one] for one in table[name].to_pylist()])),
        "in ragged lists": lambda: _with(table, name, _ragged(table[name].to_pylist())),
        "in a struct": lambda: _with(table, name, pa.array([{"bytes": one} for one in table[name].to_pylist()])),
        "one cell": lambda: _one_cell(data, table, name),
        "without rows": lambda: table.slice(0, 0),
        "cut short": lambda: table.slice(0, data.draw(st.integers(0, len(table)))),
        "turned round": lambda: table.take(pa.array(range(len(table))[::-1], pa.int64())),
        "longer": lambda: pa.concat_tables([table, table]),
        "shuffled": lambda: _with(table, name, table[name].take(pa.array(range(len(table))[::-1], pa.int64()))),
        "foul words": lambda: table.replace_schema_metadata({"pandas": data.draw(st.sampled_from(RAW))}),
    }
    what = data.draw(st.sampled_from(sorted(changes)))
    try:
        changed = changes[what]()
        pq.write_table(changed, path)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError):
        pq.write_table(table, path)
        return ""
    return f"{path.relative_to(folder)}: {what} {name!r} {other!r}"


def in_file(data: st.DataObject, folder: Path) -> str:
    """Harm a file as a whole."""
    kind = data.draw(st.sampled_from([".json", ".parquet", ".png", ".mp4"]))
    files = sorted(path for path in folder.rglob("*" + kind) if path.is_file())
    if not files:
        return ""
    path, other = data.draw(st.sampled_from(files)), data.draw(st.sampled_from(files))
    what = data.draw(st.sampled_from(sorted(FILES)))
    content = path.read_bytes()
    FILES[what](data, path, other)
    return f"{path.relative_to(folder)}: {what} {other.relative_to(folder)} of {len(content)}"


def _cut(data: st.DataObject, path: Path, other: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])


def _flip(data: st.DataObject, path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, max(len(content) - 1, 0)), min_size=1, max_size=5)):
        if content:
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))


def _swap(data: st.DataObject, path: Path, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _raw(data: st.DataObject, path: Path, other: Path) -> None:
    path.write_bytes(data.draw(st.sampled_from(RAW)))


def _gone(data: st.DataObject, path: Path, other: Path) -> None:
    path.unlink()


def _folder(data: st.DataObject, path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(data: st.DataObject, path: Path, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _loop(data: st.DataObject, path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _endless(data: st.DataObject, path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _copy(data: st.DataObject, path: Path, other: Path) -> None:
    if path != other:
        shutil.copyfile(other, path)


FILES: dict[str, Callable[[st.DataObject, Path, Path], None]] = {
    "cut": _cut,
    "flipped": _flip,
    "swapped": _swap,
    "copied": _copy,
    "raw": _raw,
    "gone": _gone,
    "a folder": _folder,
    "a pipe": _pipe,
    "a loop": _loop,
    "endless": _endless,
}
HARMS: tuple[Harm, ...] = (in_json, in_table, in_file)


def _json(path: Path) -> Any:
    """Return the object or list in a file that may have been harmed already, nothing where there is none."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict | list) else None


def _table(path: Path) -> pa.Table | None:
    """Return a table that may have been harmed already, nothing where it cannot be read."""
    try:
        table = pq.read_table(path) if path.is_file() else None
    except (pa.ArrowException, OSError, ValueError):
        return None
    return table if table is not None and table.column_names else None


def _with(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _cells(data: st.DataObject, rows: int) -> pa.Array:
    """Return a column of one wild value."""
    value = data.draw(st.sampled_from(WILD))
    return pa.array([value] * rows)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind, safe=False)
    except pa.ArrowException:
        return pa.array([str(one) for one in column.to_pylist()])


def _ragged(values: list[Any]) -> pa.Array:
    return pa.array([[one] * (row % 3) for row, one in enumerate(values)])


def _one_cell(data: st.DataObject, table: pa.Table, name: str) -> pa.Table:
    values = table[name].to_pylist()
    if not values:
        return table
    value = data.draw(st.sampled_from(WILD))
    row = data.draw(st.integers(0, len(values) - 1))
    values[row] = [value] * len(values[row]) if isinstance(values[row], list) else value
    try:
        return _with(table, name, pa.array(values, table[name].type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _with(table, name, pa.array(values))
