"""Carry beside a LeRobot data set what its format has no place for, so that an episode of ours comes back whole.

The form of the files is written down in `robot.episodes.lerobot.form`.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robot.core.data import Episode, Outcome, RobotSpec
from robot.core.errors import SailError
from robot.core.text import visible
from robot.episodes.description import begins_from_json, spec_as_json, spec_from_json
from robot.episodes.labels import DAMAGE, Label, as_row, from_row, in_force
from robot.episodes.lerobot import form

FACTS = ("episode_id", "task", "spoken", "robot", "seed", "config_hash")
WRONG = (*DAMAGE, IndexError, OverflowError, RecursionError, OSError, pa.ArrowException)
"""What reading a damaged file raises."""
KNOWN = {"success": np.bool_, "reward": np.float32, "intervention": np.bool_}
"""What of a step is there where somebody knew, and the type of each."""
ROWS_AT_ONCE = 50_000


def checksum(state: NDArray[np.float32], action: NDArray[np.float32]) -> int:
    """Return the checksum of an episode's rows: float32 (N, Dq) and (N, Da)."""
    first = zlib.crc32(np.ascontiguousarray(state, np.float32).data)
    return zlib.crc32(np.ascontiguousarray(action, np.float32).data, first)


class OursWriter:
    """Write it, an episode at a time; every method raises OSError for a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs: list[dict[str, Any]] = []
        self._episodes: list[dict[str, Any]] = []
        self._labels: list[str] = []
        self._waiting: list[pa.Table] = []
        self._steps: pq.ParquetWriter | None = None

    def add(self, episode: Episode, labels: Sequence[Label]) -> None:
        """Append what the rows of an episode do not hold."""
        number = len(self._episodes)
        facts = {name: getattr(episode, name) for name in FACTS}
        facts |= {"begins": episode.begins.value, "reversed_of": episode.reversed_of}
        self._episodes.append(
            {
                **facts,
                "outcome": episode.outcome.value,
                "spec": self._spec(episode.spec),
                "rows": len(episode),
                "crc32": checksum(episode.proprio[:-1], episode.sent),
            }
        )
        self._labels += [json.dumps({"episode": number} | as_row(label)) for label in in_force(labels)]
        self._waiting.append(_steps_table(episode, number))
        if sum(map(len, self._waiting)) >= ROWS_AT_ONCE:
            self._write_steps()

    def finish(self) -> None:
        """Write what is left and finish every file."""
        self._write_steps()
        if self._steps is not None:
            self._steps.close()
        lines = "".join(f"{line}\n" for line in self._labels)
        (self._folder / form.OUR_LABELS).write_text(lines)
        ours = {"version": form.OUR_VERSION, "specs": self._specs, "episodes": self._episodes}
        form.write_json(self._folder / form.OURS, ours)

    def abandon(self) -> None:
        """Let go of every file, whatever state it is in."""
        if self._steps is not None:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._steps.close()

    def _spec(self, spec: RobotSpec | None) -> int | None:
        """Return the place of a robot's description among those written down."""
        if spec is None:
            return None
        row = spec_as_json(spec)
        if row not in self._specs:
            self._specs.append(row)
        return self._specs.index(row)

    def _write_steps(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        if self._steps is None:
            path = self._folder / form.OUR_STEPS
            path.parent.mkdir(parents=True, exist_ok=True)
            self._steps = pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True)
        self._waiting = []
        self._steps.write_table(table)


def _steps_table(episode: Episode, number: int) -> pa.Table:
    steps = len(episode)
    last = np.concatenate([np.full(steps, False), [True]])
    columns: dict[str, pa.Array] = {
        "episode_index": pa.array(np.full(steps + 1, number, np.int64)),
        "time_s": pa.array(np.asarray(episode.times_s, np.float64)),
        "requested": _vectors(episode.requested, ~last),
        "proprio": _vectors(episode.proprio[-1:], last),
    }
    for name, kind in KNOWN.items():
        values = getattr(episode, name)
        known = [None] * (steps + 1) if values is None else [*np.asarray(values, kind).tolist(), None]
        columns[name] = pa.array(known, pa.from_numpy_dtype(kind))
    return pa.table(columns)


def _vectors(values: NDArray[np.float32], there: NDArray[np.bool_]) -> pa.Array:
    """Return a column of vectors, (N, D), empty in the rows where `there` says so."""
    rows = np.zeros((len(there), values.shape[1]), np.float32)
    rows[there] = values
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), values.shape[1], mask=pa.array(~there))


@dataclass(frozen=True, slots=True)
class Rest:
    """Hold what is known of one episode beside its N rows; the fields mean what they mean in `Episode`.

    `last_proprio` is what was sensed after the last action. Every array is N long, but for `times_s`, which is N + 1.
    """

    facts: Mapping[str, Any]
    spec: RobotSpec | None
    times_s: NDArray[np.float64]
    requested: NDArray[np.float32]
    last_proprio: NDArray[np.float32]
    success: NDArray[np.bool_] | None
    reward: NDArray[np.float32] | None
    intervention: NDArray[np.bool_] | None
    labels: tuple[Label, ...] = ()

    def episode(
        self,
        instruction: str,
        state: NDArray[np.float32],
        action: NDArray[np.float32],
        pictures: Mapping[str, NDArray[np.uint8]],
    ) -> Episode:
        """Return the episode from its rows, `state` (N, Dq) and `action` (N, Da), and N + 1 pictures a camera."""
        return Episode(
            **{name: self.facts[name] for name in FACTS},
            outcome=Outcome(self.facts["outcome"]),
            begins=begins_from_json(self.facts),
            reversed_of=str(self.facts.get("reversed_of", "")),
            instruction=instruction,
            spec=self.spec,
            frames=pictures,
            proprio=np.concatenate([state, self.last_proprio[None]]),
            requested=self.requested,
            sent=action,
            times_s=self.times_s,
            success=self.success,
            reward=self.reward,
            intervention=self.intervention,
        )


@dataclass(slots=True)
class Ours:
    """Read what an export of ours holds beside the rows; nothing of it is there in a data set of others."""

    folder: Path
    facts: Sequence[Mapping[str, Any]] = ()
    _specs: Sequence[RobotSpec | None] = ()
    _starts: Sequence[int] = ()
    _steps: pa.Table = None
    _labels: Mapping[int, list[Label]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Ours:
        """Return what lies beside the data set in `folder`; raise SailError, in one sentence, where it is damaged."""
        path = folder / form.OURS
        if not path.exists():
            return cls(folder)
        try:
            content = json.loads(form.there(path).read_bytes())
            facts = [_checked(row) for row in content["episodes"]]
            if content["version"] == 1:
                return cls(folder, facts)
            if content["version"] != form.OUR_VERSION:
                raise SailError(f"{path} is of version {content['version']!r}, this version reads {form.OUR_VERSION}.")
            starts = np.concatenate([[0], np.cumsum([int(row["rows"]) + 1 for row in facts])]).tolist()
            specs = [spec_from_json(row) for row in content["specs"]]
            steps = pq.read_table(
                form.there(folder / form.OUR_STEPS), use_threads=False, page_checksum_verification=True
            )
            return cls(folder, facts, specs, starts, steps, _read_labels(folder / form.OUR_LABELS))
        except FileNotFoundError as problem:
            raise SailError(f"{problem.filename or form.OUR_STEPS} is missing.") from None
        except WRONG as problem:
            if isinstance(problem, SailError):
                raise
            raise SailError(
                f"{path} or what belongs to it in {path.with_suffix('')} is damaged ({_said(problem)})."
            ) from None

    def has_last(self, number: int) -> bool:
        """Return whether there is one more frame after the rows of an episode: what was seen after its last action."""
        return self._steps is not None and number < len(self.facts)

    def rest(self, number: int, state: NDArray[np.float32], action: NDArray[np.float32]) -> Rest | None:
        """Return what is known of an episode beside its rows, float32 (N, Dq) and (N, Da); None where nothing is.

        Raises SailError where the rows are not those that were exported, or where what is there is damaged.
        """
        if not self.has_last(number):
            return None
        facts = self.facts[number]
        if len(state) != facts["rows"] or checksum(state, action) != facts.get("crc32"):
            raise SailError(
                f"Episode {number} of {self.folder} was changed since it was exported: its rows are not those that "
                f"{form.OURS} describes."
            )
        try:
            return self._rest(number, facts)
        except WRONG as problem:
            raise SailError(
                f"What lies beside episode {number} of {self.folder} is damaged ({_said(problem)})."
            ) from None

    def _rest(self, number: int, facts: Mapping[str, Any]) -> Rest:
        start, count = self._starts[number], int(facts["rows"])
        rows = self._steps.slice(start, count + 1)
        if rows["episode_index"].to_pylist() != [number] * (count + 1):
            raise ValueError(f"{form.OUR_STEPS} has other rows")
        known: dict[str, Any] = {}
        for name, kind in KNOWN.items():
            values = rows[name].slice(0, count)
            known[name] = None if values.null_count else np.array(values.to_pylist(), kind)
        return Rest(
            facts,
            None if facts["spec"] is None else self._specs[facts["spec"]],
            times_s=np.array(rows["time_s"].to_pylist(), np.float64),
            requested=np.array(rows["requested"].slice(0, count).to_pylist(), np.float32),
            last_proprio=np.array(rows["proprio"][count].as_py(), np.float32),
            labels=tuple(self._labels.get(number, ())),
            **known,
        )


def _said(problem: Exception) -> str:
    """Return what an error says, in part of one line."""
    return visible(next(iter(str(problem).splitlines()), "")).rstrip(".") or type(problem).__name__


def _checked(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is written down of an episode; raise ValueError where it is not what it should be."""
    if any(type(row[name]) is not (int if name == "seed" else str) for name in FACTS):
        raise ValueError(f"an episode of it has no {', '.join(FACTS)}")
    Outcome(row["outcome"])
    begins_from_json(row)
    return row


def _read_labels(path: Path) -> dict[int, list[Label]]:
    labels: dict[int, list[Label]] = {}
    for number, line in enumerate(form.there(path).read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            labels.setdefault(int(row.pop("episode")), []).append(from_row(row))
        except DAMAGE as problem:
            raise SailError(f"Line {number} of {path} is damaged: {_said(problem)}.") from None
    return labels
