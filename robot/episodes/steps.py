"""Keep what happened at each step as one table, and as a growing stream while it is being recorded.

Row i holds observation i and, but for the last row, action i. A table can be read only once it is finished; a stream
can be read up to where it was cut off. The table is a Parquet file, or, on a machine without pyarrow, which takes more
room than all that an arm's machine needs beside it, an archive of NumPy arrays. Where there is pyarrow both are read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, Protocol

from numpy.typing import NDArray

from robot.core.errors import SailError
from robot.episodes import archive

SEEN = ("time_s", "proprio", "state")
"""Columns of an observation; `state` is there where there is a simulator."""
DONE = ("requested", "sent", "success", "reward", "intervention")
"""Columns of an action, empty in the last row; the last three are there where somebody knew."""
TABLES: Final = ("steps.parquet", "steps.npz")
STREAMS: Final = ("steps.arrows", "steps.npzs")
"""What the two are called: with pyarrow and without."""

Arrays = Mapping[str, NDArray[Any]]


class StepStream(Protocol):
    """What rows are appended to while an episode is recorded."""

    def append(self, arrays: Arrays) -> None:
        """Append rows, complete in every column; raises OSError when they cannot be written."""
        ...

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        ...


def has_pyarrow() -> bool:
    """Return whether this machine reads and writes Parquet."""
    return importlib.util.find_spec("pyarrow") is not None


def table_in(folder: Path) -> Path:
    """Return the table of an episode's folder; where there is none, the one that this machine would write."""
    return _there_or_ours(folder, TABLES)


def stream_in(folder: Path) -> Path:
    """Return the stream of an open episode's folder; where there is none, the one that this machine would write."""
    return _there_or_ours(folder, STREAMS)


def needs_pyarrow(folder: Path) -> bool:
    """Return whether what an episode's folder holds of its steps can be read on other machines alone."""
    return not has_pyarrow() and any((folder / names[0]).exists() for names in (TABLES, STREAMS))


def write_steps(path: Path, arrays: Arrays, target: BinaryIO | None = None) -> None:
    """Write columns as the table that `path` names, to `target` where that is given.

    A column, (N,) or (N, D) of any number type, may be one row shorter than the first. Raises OSError when they cannot
    be written.
    """
    _form_of(path).write(target or path, arrays)


def read_steps(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a table; raise SailError where it is missing or damaged, or needs pyarrow."""
    columns: dict[str, NDArray[Any]] = _form_of(path).read(path, DONE)
    return columns


def open_stream(path: Path) -> StepStream:
    """Begin a stream; raises OSError where it cannot be written."""
    stream: StepStream = _form_of(path).Stream(path)
    return stream


def read_stream(path: Path) -> dict[str, NDArray[Any]]:
    """Return the rows of a stream up to where it was cut off, every column of the same length; empty without any."""
    columns: dict[str, NDArray[Any]] = _form_of(path).read_stream(path)
    return columns


def _there_or_ours(folder: Path, names: tuple[str, str]) -> Path:
    ours = names[not has_pyarrow()]
    return folder / next((name for name in names if (folder / name).exists()), ours)


def _form_of(path: Path) -> ModuleType:
    """Return the module that reads and writes a file, by its name."""
    if path.name in (TABLES[1], STREAMS[1]):
        return archive
    if not has_pyarrow():
        raise SailError(f'{path} needs pyarrow, which is not installed: pip install "sail-stack[parquet]"')
    from robot.episodes import parquet

    return parquet
