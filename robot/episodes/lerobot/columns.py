"""Say what of an episode goes into the rows of a LeRobot data set, and what is known of its success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robot.core.data import Episode
from robot.episodes.arbitration import worked_at
from robot.episodes.labels import Label
from robot.episodes.lerobot import form
from robot.episodes.lerobot.layout import Layout

SOMETIMES = (form.REWARD, form.SUCCESS, form.INTERVENTION)
"""Columns that a data set has where all of its episodes have them: LeRobot reads the same columns in every row."""

Columns = Mapping[str, NDArray[Any]]


def rows_of(episode: Episode, fps: float, number: int, first: int, task: int) -> Columns:
    """Return the columns that every data set has of an episode's rows, (T,) or (T, D).

    A row is an observation and the action after it. `first`: the number of its first row in the data set.
    """
    length = len(episode)
    steps = np.arange(length, dtype=np.int64)
    return {
        form.STATE: np.asarray(episode.proprio[:-1], np.float32),
        form.ACTION: np.asarray(episode.sent, np.float32),
        form.DONE: steps == length - 1,
        "timestamp": (steps / fps).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(length, number, np.int64),
        "index": steps + first,
        "task_index": np.full(length, task, np.int64),
    }


def known_of(episode: Episode, labels: Sequence[Label]) -> Columns:
    """Return those of the columns `SOMETIMES`, (T,), that are known of an episode."""
    known = {
        form.REWARD: episode.reward,
        form.SUCCESS: worked_at(episode, labels),
        form.INTERVENTION: episode.intervention,
    }
    kinds = {form.REWARD: np.float32, form.SUCCESS: np.bool_, form.INTERVENTION: np.bool_}
    return {name: np.asarray(values, kinds[name]) for name, values in known.items() if values is not None}


def shared(names: Sequence[str], known: Sequence[Columns]) -> tuple[list[Columns], list[str]]:
    """Return the columns `SOMETIMES` of all episodes, of each the same, and a sentence for each that is left out.

    `names`: the episodes' ids; `known`: what is known of each. Where nobody recorded a reward and all successes are
    known, the reward is 1 where the task was done.
    """
    kept: list[Columns] = [{} for _ in known]
    notices = []
    for name in SOMETIMES:
        lacking = [one for one, columns in zip(names, known, strict=True) if name not in columns]
        if not lacking:
            kept = [have | {name: columns[name]} for have, columns in zip(kept, known, strict=True)]  # type: ignore[operator]
        elif name == form.SUCCESS or len(lacking) < len(known):
            notices.append(_left_out(name, lacking, len(known)))
    if all(form.SUCCESS in columns for columns in kept) and not any(form.REWARD in columns for columns in known):
        kept = [{form.REWARD: have[form.SUCCESS].astype(np.float32), **have} for have in kept]
    return kept, notices


def _left_out(column: str, lacking: Sequence[str], total: int) -> str:
    few = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
    whose = "all episodes" if len(lacking) == total else f"{len(lacking)} of {total} episodes ({few})"
    advice = ": `sail label` says whether they worked" if column == form.SUCCESS else ""
    return f"{column} is left out: it is not known of {whose}{advice}."


def table_of(columns: Columns) -> pa.Table:
    """Return columns, (N,) or (N, D), as a table."""
    arrays: dict[str, pa.Array] = {}
    for name, values in columns.items():
        flat = pa.array(values.reshape(-1))
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim == 2 else flat
    return pa.table(arrays)


def features_of(layout: Layout, columns: Sequence[str]) -> dict[str, Any]:
    """Return the entries of `info.json` for all columns of numbers; `columns`: which of `SOMETIMES` there are."""
    features: dict[str, Any] = {
        form.STATE: {"dtype": "float32", "shape": [len(layout.state)], "names": list(layout.state)},
        form.ACTION: {"dtype": "float32", "shape": [len(layout.action)], "names": list(layout.action)},
    }
    kinds = {form.REWARD: "float32", form.SUCCESS: "bool", form.INTERVENTION: "bool"}
    kinds = {name: kind for name, kind in kinds.items() if name in columns} | {form.DONE: "bool"}
    kinds |= {"timestamp": "float32", **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")}
    return features | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}
