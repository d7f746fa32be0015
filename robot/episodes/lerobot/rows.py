"""Read the rows of one episode out of a table that holds many, a row group at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robot.core.text import visible
from robot.episodes.arrival import UnfitError
from robot.episodes.lerobot import form

Positions = NDArray[np.int64]
PICTURES_AT_ONCE = 8
"""Pictures in a table that are read together: each may be a megabyte."""
READ_AHEAD = 2**20
LONGEST_SAID = 200
"""Characters, at most."""


class DataFile:
    """Hold a Parquet file of rows open and know whose they are. Raises UnfitError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_table(path)
        self.columns: list[str] = self._file.schema_arrow.names
        if form.EPISODE not in self.columns:
            raise UnfitError(f"{path.name} has no column {form.EPISODE}")
        whose = numbers(self.table(range(self._file.num_row_groups), [form.EPISODE])[form.EPISODE], form.EPISODE)
        self._whose = whose.reshape(-1)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._ends = np.cumsum([0, *sizes])
        self._held: tuple[range, tuple[str, ...], pa.Table] = (range(0), (), None)

    def rows_of(self, episode: int) -> Positions:
        """Return the places of an episode's rows in the file, int64 (N,)."""
        return np.flatnonzero(self._whose == episode)

    def take(self, rows: Positions, names: Sequence[str]) -> pa.Table:
        """Return columns at these rows, in their order."""
        groups = self._groups(rows)
        if self._held[:2] != (groups, tuple(names)):
            self._held = (groups, tuple(names), self.table(groups, names))
        return self._held[2].take(pa.array(rows - self._ends[groups.start]))

    def one_by_one(self, rows: Positions, name: str) -> Iterator[Any]:
        """Yield the values of a column at these rows, in their order, of which few are in memory at once."""
        if (np.diff(rows) < 1).any():
            yield from self.take(rows, [name])[name].to_pylist()
            return
        groups, wanted = self._groups(rows), iter(rows.tolist())
        row, next_one = int(self._ends[groups.start]), next(wanted)
        for batch in self._batches(groups, name):
            for place in range(len(batch)):
                if row + place == next_one:
                    yield batch[place].as_py()
                    next_one = next(wanted, -1)
                if next_one < 0:
                    return
            row += len(batch)

    def groups(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield a column, a row group at a time."""
        for group in range(self._file.num_row_groups):
            yield self.table(range(group, group + 1), [name])[name]

    def table(self, groups: range, names: Sequence[str]) -> pa.Table:
        """Return columns of some row groups; raise UnfitError where they are damaged."""
        try:
            return self._file.read_row_groups(list(groups), columns=list(names), use_threads=False)
        except (OSError, pa.ArrowException, ValueError, KeyError) as problem:
            raise UnfitError(f"{self.path.name} is damaged ({brief(problem)})") from None

    def _batches(self, groups: range, name: str) -> Iterator[pa.Array]:
        try:
            batches = self._file.iter_batches(PICTURES_AT_ONCE, list(groups), [name], use_threads=False)
            yield from (batch.column(name) for batch in batches)
        except (OSError, pa.ArrowException, ValueError, KeyError) as problem:
            raise UnfitError(f"{self.path.name} is damaged ({brief(problem)})") from None

    def _groups(self, rows: Positions) -> range:
        first, last = np.searchsorted(self._ends, [rows.min(), rows.max()], side="right") - 1
        return range(int(first), int(last) + 1)


def open_table(path: Path) -> pq.ParquetFile:
    """Return a Parquet file, of which nothing is read yet; raise UnfitError where it is missing or damaged."""
    try:
        if not path.is_file():
            raise UnfitError(f"{path.name} is missing")
        return pq.ParquetFile(path, buffer_size=READ_AHEAD, pre_buffer=False)
    except (OSError, pa.ArrowException, ValueError) as problem:
        raise UnfitError(f"{path.name} is damaged ({brief(problem)})") from None


def numbers(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """Return a column of numbers, or of vectors or tables of them, as float64 (N, D), NaN where there is none.

    Raises UnfitError where it holds something else, or its rows are of several sizes.
    """
    try:
        values = column.combine_chunks()
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        rows = len(values)
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
        while pa.types.is_nested(values.type):
            values = _opened(values, name)
        values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        kind = values.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise UnfitError(f"its {name} holds {kind}, not numbers")
        values = values.cast(pa.uint8()) if pa.types.is_boolean(kind) else values
        flat = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
        return flat.reshape(rows, -1) if rows else flat.reshape(0, 1)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as problem:
        raise UnfitError(f"its {name} is damaged ({brief(problem)})") from None


def _opened(values: Any, name: str) -> Any:
    """Return what lists, all of one length, hold, one after the other."""
    if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or _is_fixed(values.type)):
        raise UnfitError(f"its {name} holds {str(values.type)[:60]}, not numbers")
    if values.null_count:
        raise UnfitError(f"its {name} is empty in {values.null_count} of its rows")
    if not _is_fixed(values.type) and len(pc.unique(pc.list_value_length(values))) > 1:
        raise UnfitError(f"its {name} has rows of several lengths")
    return values.flatten()


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def brief(problem: BaseException) -> str:
    """Return what a library says of a damaged file, in one line without its end, and visible."""
    lines = itertools.chain(str(problem).splitlines(), [""])
    return visible(next(lines).rstrip("."), LONGEST_SAID) or type(problem).__name__
