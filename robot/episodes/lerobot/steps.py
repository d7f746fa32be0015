"""Turn the columns of one episode of a LeRobotDataset into steps of ours, and say what was mended on the way.

`notes` grows by a sentence for each thing that was mended or assumed. Every function raises UnfitError where it would
have to guess.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robot.core.data import FloatArray
from robot.episodes.arrival import UnfitError
from robot.episodes.description import measured_rate_hz
from robot.episodes.labels import LONGEST_TEXT, Field, Label
from robot.episodes.lerobot import form
from robot.episodes.lerobot.rows import DataFile, Positions, numbers

NEEDED = (form.STATE, form.ACTION)
WANTED = (*NEEDED, form.TIME, form.TASK, form.SUBTASK, form.REWARD, form.SUCCESS, form.INTERVENTION)
SOURCE = "lerobot"
"""Who says of a segment what it is called."""
FASTER = 1.02
"""How many times as fast or as slow as stated rows may come before it is said."""

Floats = NDArray[np.float64]
Notes = list[str]


def in_order(file: DataFile, rows: Positions, notes: Notes) -> tuple[Positions, Floats | None]:
    """Return the rows of an episode in their order, and the place each says it has, None where that is no order."""
    if form.ROW not in file.columns:
        return rows, None
    places = _single(file.take(rows, [form.ROW]), form.ROW)
    if not np.isfinite(places).all() or len(np.unique(places)) < len(places):
        return rows, None
    order = np.argsort(places)
    if (np.diff(order) != 1).any():
        notes.append(f"its rows were out of order and are sorted by {form.ROW}")
    return rows[order], places[order]


def times(table: pa.Table, places: Floats | None, fps: float, span_s: float, notes: Notes) -> Floats:
    """Return when each row was, float64 (N,), in seconds from where its videos begin, which last `span_s`."""
    times_s = _single(table, form.TIME) if form.TIME in table.column_names else np.full(len(table), np.nan)
    if not np.isfinite(times_s).all() or (np.diff(times_s) <= 0).any():
        if places is None:
            raise UnfitError(f"neither {form.TIME} nor {form.ROW} puts its rows in order")
        notes.append(f"its times do not increase: they follow from {form.ROW} and the rate stated")
        times_s = (places - places[0]) / fps
    elif times_s[0] >= span_s:
        notes.append(f"its times began at {times_s[0]:.3f} s, past the end of its videos: they are counted from there")
        times_s = times_s - times_s[0]
    rate_hz = measured_rate_hz(times_s) or fps
    if not 1 / FASTER < rate_hz / fps < FASTER:
        notes.append(f"its rows come at {rate_hz:.3g} Hz, not at the {fps:g} Hz stated")
    return times_s


def vectors(table: pa.Table, key: str, size: int, last: bool = True) -> FloatArray:
    """Return a column of vectors as float32 (N, D); its last row is looked at where `last` says so."""
    if key not in table.column_names:
        raise UnfitError(f"its table has no column {key}")
    values = numbers(table[key], key)
    if values.shape[1] != size:
        raise UnfitError(f"its {key} has {values.shape[1]} numbers a row, {form.INFO} says {size}")
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32)
    odd = ~np.isfinite(kept[: len(kept) if last else -1]).all(axis=1)
    if odd.any():
        raise UnfitError(f"its {key} is not finite in row {int(np.argmax(odd))}")
    return kept


def flags(table: pa.Table, key: str, notes: Notes) -> NDArray[np.bool_] | None:
    """Return a column of yes and no, bool (N,); an empty one counts as no, and None where all are."""
    values = _optional(table, key, notes)
    return None if values is None else np.nan_to_num(values) > 0.5


def success_of(flags: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return the flags of all actions but the last, bool (N − 1,): what came of that one goes to the one before."""
    if flags is None:
        return None
    return np.append(flags[:-2], flags[-2:].any())


def rewards(table: pa.Table, notes: Notes) -> FloatArray | None:
    """Return the rewards of all actions but the last, float32 (N − 1,), None where there are none.

    The last one's is added to that of the action before, so that the sum stays; where all are 0 or 1, and so flags
    rather than amounts, the larger of both stands.
    """
    values = _optional(table, form.REWARD, notes)
    if values is None:
        return None
    values = np.nan_to_num(values, nan=0.0).astype(np.float32)
    are_flags = bool(np.isin(values, (0.0, 1.0)).all())
    kept: FloatArray = np.append(values[:-2], values[-2:].max() if are_flags else values[-2:].sum()).astype(np.float32)
    return kept


LARGEST_NUMBER = 2**53
"""Whole numbers up to it survive in float64."""


def task_numbers(table: pa.Table, key: str) -> NDArray[np.int64]:
    """Return the number of each row's task or subtask, int64 (N,)."""
    values = _single(table, key)
    if not np.isfinite(values).all():
        raise UnfitError(f"its {key} is empty in row {int(np.argmax(~np.isfinite(values)))}")
    if (np.abs(values) > LARGEST_NUMBER).any():
        raise UnfitError(f"its {key} is no number of a task in row {int(np.argmax(np.abs(values) > LARGEST_NUMBER))}")
    return values.astype(np.int64)


def segments(found: NDArray[np.int64], words: Mapping[int, str]) -> Iterator[Label]:
    """Yield a segment for each run of rows with one task, named as `words` name it; those without words have none."""
    begins = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist(), len(found)]
    for first, end in itertools.pairwise(begins):
        if name := words.get(int(found[first]), ""):
            yield Label(Field.SEGMENT, name[:LONGEST_TEXT], SOURCE, span=(first, end - 1))


def extremes(file: DataFile, key: str, size: int) -> Iterator[tuple[Floats, Floats]]:
    """Yield the least and the largest finite value of each entry of a column, float64 (D,), a row group at a time."""
    for column in file.groups(key):
        values = numbers(column, key)
        if values.shape[1] == size and len(values):
            sound = np.isfinite(values)
            yield np.where(sound, values, np.inf).min(axis=0), np.where(sound, values, -np.inf).max(axis=0)


def _optional(table: pa.Table, key: str, notes: Notes) -> Floats | None:
    """Return a column of single numbers that may be missing; what is no such column is left out, with a note."""
    if key not in table.column_names:
        return None
    try:
        values = _single(table, key)
    except UnfitError as problem:
        notes.append(f"{problem}: it is left out")
        return None
    empty = ~np.isfinite(values)
    if empty.all():
        return None
    if empty.any():
        notes.append(f"its {key} is empty in {int(empty.sum())} of {len(values)} rows, which count as 0")
    return np.where(empty, np.nan, values)


def _single(table: pa.Table, key: str) -> Floats:
    values = numbers(table[key], key)
    if values.shape[1] != 1:
        raise UnfitError(f"its {key} has {values.shape[1]} numbers a row instead of one")
    return values[:, 0]
