"""Steps as an archive of NumPy arrays, and as a growing row of such archives; see `robot.episodes.steps`.

An archive is a zip file with a checksum for each array (`numpy.savez`), and an array of their names, so that none can
be missed. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from robot.core.errors import SailError

Arrays = Mapping[str, NDArray[Any]]
NAMES = "columns"
SIZE = struct.Struct("<Q")
"""Before each archive of a stream: how many bytes it has."""
DAMAGE = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise for bytes that are no archive, or no longer."""


def write(target: Path | BinaryIO, arrays: Arrays) -> None:
    """Write columns, (N,) or (N, D) of any number type, as an archive; raises OSError when it cannot be written."""
    if isinstance(target, Path):
        with target.open("wb") as file:
            np.savez_compressed(file, **_plain(arrays))
    else:
        np.savez_compressed(target, **_plain(arrays))


def read(path: Path, shorter: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the columns of an archive, in which those named `shorter` lack the last row.

    Raises SailError where it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            columns = _columns(file)
        if odd := [
            name for name, values in columns.items() if len(values) != len(columns["time_s"]) - (name in shorter)
        ]:
            raise ValueError(f"its column {odd[0]} has another length")
        return columns
    except FileNotFoundError:
        raise SailError(f"{path} is missing.") from None
    except DAMAGE as problem:
        raise SailError(f"{path} is damaged ({(str(problem) or type(problem).__name__).rstrip('.')}).") from None


class Stream:
    """Append rows to a stream; what was appended is in the system's hands when `append` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)

    def append(self, arrays: Arrays) -> None:
        """Append rows, complete in every column; raises OSError when they cannot be written."""
        rows = io.BytesIO()
        np.savez(rows, **_plain(arrays))
        content = memoryview(SIZE.pack(rows.tell()) + rows.getvalue())
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        self._file.close()


def read_stream(path: Path) -> dict[str, NDArray[Any]]:
    """Return the rows of a stream up to where it was cut off, every column of the same length; empty without any."""
    parts = list(_whole_parts(path))
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _whole_parts(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the archives of a stream that are whole, up to the first that is not."""
    try:
        with path.open("rb") as file:
            first: list[tuple[str, np.dtype[Any], tuple[int, ...]]] | None = None
            while len(head := file.read(SIZE.size)) == SIZE.size:
                columns = _columns(io.BytesIO(file.read(*SIZE.unpack(head))))
                form = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
                if (first := first or form) != form or len({len(values) for values in columns.values()}) != 1:
                    return
                yield columns
    except (*DAMAGE, OverflowError, MemoryError):
        return  # what comes after the damage is lost, what came before is whole


def _columns(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no archive")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        names = [str(name) for name in archive[NAMES]]
        if sorted([NAMES, *names]) != sorted(archive.files):
            raise ValueError(f"it has the columns {', '.join(archive.files)} and not {', '.join(names)}")
        return {name: archive[name] for name in names}


def _plain(arrays: Arrays) -> dict[str, Any]:
    """Return columns as numpy.savez takes them, for which no array of objects may be among them."""
    if odd := [name for name, values in arrays.items() if values.dtype.hasobject]:
        raise ValueError(f"Column {odd[0]} holds no numbers.")
    return {NAMES: np.array(list(arrays), np.str_), **arrays}
