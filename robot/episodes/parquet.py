"""Steps as a Parquet table, and as a growing Arrow stream; see `robot.episodes.steps`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robot.core.errors import SailError

Arrays = Mapping[str, NDArray[Any]]


def table_of(arrays: Arrays) -> pa.Table:
    """Return columns as a table. A column, (N,) or (N, D) of any number type, may be one row shorter than the first."""
    rows = len(arrays["time_s"])
    return pa.table({name: _column(values, rows) for name, values in arrays.items()})


def write(target: Path | BinaryIO, arrays: Arrays) -> None:
    """Write columns as a Parquet file; raises OSError when it cannot be written."""
    pq.write_table(
        table_of(arrays),
        target,
        compression="zstd",
        use_dictionary=False,  # numbers that never repeat: a dictionary or statistics cost time and save nothing
        write_statistics=False,
        write_page_checksum=True,
    )


def read(path: Path, shorter: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the columns of a Parquet file, those named `shorter` without their last row.

    Raises SailError where it is missing or damaged.
    """
    try:
        table = pq.read_table(path, use_threads=False, page_checksum_verification=True)
        return {name: _array(table, name, len(table) - (name in shorter)) for name in table.column_names}
    except FileNotFoundError:
        raise SailError(f"{path} is missing.") from None
    except (OSError, pa.ArrowException, ValueError) as problem:
        said = str(problem).splitlines()[0].replace(f"Could not open Parquet input source '{path}': ", "").rstrip(".")
        raise SailError(f"{path} is damaged ({said}).") from None


class Stream:
    """Append rows to an Arrow stream; what was appended is in the system's hands when `append` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._writer: pa.RecordBatchStreamWriter | None = None

    def append(self, arrays: Arrays) -> None:
        """Append rows, complete in every column; raises OSError when they cannot be written."""
        table = table_of(arrays)
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        finally:
            self._file.close()


def read_stream(path: Path) -> dict[str, NDArray[Any]]:
    """Return the rows of a stream up to where it was cut off, every column of the same length; empty without any."""
    batches: list[pa.RecordBatch] = []
    try:
        with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                batches.append(batch)
    except (OSError, pa.ArrowException):
        pass  # what comes after the damage is lost, what came before is whole
    if not batches:
        return {}
    table = pa.Table.from_batches(batches)
    return {name: _array(table, name, len(table)) for name in table.column_names}


def _column(values: NDArray[Any], rows: int) -> pa.Array:
    """Return an array as an Arrow column of `rows` rows, empty where there is no value."""
    kind = pa.from_numpy_dtype(values.dtype)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
    if values.ndim == 2:
        column: pa.Array = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    else:
        column = flat
    missing = rows - len(values)
    return pa.concat_arrays([column, pa.nulls(missing, column.type)]) if missing else column


def _array(table: pa.Table, name: str, rows: int) -> NDArray[Any]:
    """Return the first `rows` rows of a column, (N,) or (N, D), for the reader to keep; raise ValueError for a gap."""
    column = table.column(name).slice(0, max(rows, 0)).combine_chunks()
    if column.null_count:
        raise ValueError(f"its column {name} has gaps")
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return np.array(flat).reshape(len(column), column.type.list_size)
    return np.array(column.to_numpy(zero_copy_only=False))
