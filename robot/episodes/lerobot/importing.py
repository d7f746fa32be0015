"""Take in a LeRobotDataset v3.0, one episode at a time; what is damaged or doubtful is refused with a reason.

N rows of theirs are N observations and N − 1 actions of ours: what was seen after the last row's action was not
recorded. What that row says of success and reward goes to the last action kept. An episode of ours comes back whole, by
what lies beside its rows (`robot.episodes.lerobot.ours`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robot.core.data import ActionSpec, Episode, FloatArray, Outcome, RobotSpec
from robot.core.errors import SailError
from robot.episodes.arrival import Arrival, Pictures, Refusal, UnfitError, check
from robot.episodes.description import check_id
from robot.episodes.labels import Label, fits
from robot.episodes.lerobot import form, steps
from robot.episodes.lerobot.cameras import Cameras, Latest
from robot.episodes.lerobot.description import DAMAGE, Description, table_number
from robot.episodes.lerobot.ours import FACTS
from robot.episodes.lerobot.rows import DataFile, brief

LONGEST_TASK, LONGEST_ID = 40, 150

Row = Mapping[str, Any]


class LeRobotSource:
    """Read a data set. Raises SailError where it is of another version, or damaged as a whole.

    `fps` stands in for the rate that it states. `outcome` is how episodes ended that carry no success flags. `cameras`
    are those to take in, all where none is named. `refusals` and `notes` are to be said of the set as a whole.
    """

    def __init__(
        self,
        folder: str | Path,
        fps: float | None = None,
        outcome: Outcome = Outcome.TIMEOUT,
        cameras: Sequence[str] = (),
    ) -> None:
        self.folder = Path(folder)
        self._about = Description(self.folder, fps)
        self._outcome = outcome
        self._cameras = Cameras(self._about, cameras)
        self._files = Latest(DataFile)
        self._limits: tuple[FloatArray, FloatArray] | None = None
        self.refusals = tuple(self._about.refusals)
        over = (Refusal(key, "an episode has no place for this column") for key in self._about.left_over())
        self.notes = (*self._about.notes, *over)

    def __len__(self) -> int:
        """Return how many episodes it lists."""
        return len(self._about.rows)

    def __iter__(self) -> Iterator[Arrival | Refusal]:
        """Yield each episode, or why it is left out, in their order."""
        met: set[int] = set()
        for row in self._about.rows:
            yield self._one(row, met)

    def _one(self, row: Row, met: set[int]) -> Arrival | Refusal:
        try:
            number = table_number(row, "episode_index")
            if number in met:
                raise UnfitError("meta/episodes lists it a second time")
            met.add(number)
            return self._arrival(number, row)
        except UnfitError as problem:
            why = str(problem)
        except (*DAMAGE, OSError) as problem:
            why = f"it is damaged ({brief(problem)})"
        return Refusal(f"episode {row.get('episode_index')}", why)

    def _arrival(self, number: int, row: Row) -> Arrival:
        length = table_number(row, "length")
        if length < 1:
            raise UnfitError("it has no rows")
        file = self._files.get(self._data_path(row))
        rows = file.rows_of(number)
        if len(rows) != length:
            raise UnfitError(f"{file.path.name} has {len(rows)} rows of it, meta/episodes says {length}")
        notes: list[str] = []
        rows, places = steps.in_order(file, rows, notes)
        table = file.take(rows, [name for name in steps.WANTED if name in file.columns])
        times_s = steps.times(table, places, self._about.fps, self._cameras.span_s(row), notes)
        instruction, labels = self._words(table, row, notes)
        bare, more = self._ours(number, table, instruction, notes)
        if bare is None:
            bare = self._theirs(number, table, times_s, instruction, notes)
        else:
            times_s = np.append(times_s, times_s[-1] + 1 / self._about.fps)  # of the pictures: one more than rows
        pictures, left_out = self._cameras.pictures(row, file, rows, times_s)
        if bare.spec is None:
            bare = replace(bare, spec=self._robot(pictures))
        return Arrival(number, bare, pictures, labels + more, left_out, tuple(notes))

    def _theirs(
        self, number: int, table: pa.Table, times_s: NDArray[np.float64], instruction: str, notes: list[str]
    ) -> Episode:
        """Return the episode that the rows alone make, without its pictures and its robot."""
        if len(table) < 2:
            raise UnfitError("it has one row, and so no action of known effect")
        state = steps.vectors(table, form.STATE, self._about.features[form.STATE].size)
        actions = steps.vectors(table, form.ACTION, self._about.features[form.ACTION].size, last=False)[:-1]
        success = steps.success_of(steps.flags(table, form.SUCCESS, notes))
        person = steps.flags(table, form.INTERVENTION, notes)
        ended = self._outcome if success is None else Outcome.SUCCESS if success.any() else Outcome.FAILURE
        known: dict[str, Any] = {
            "task": "-".join(instruction.lower().split())[:LONGEST_TASK] or "unknown",
            "spoken": instruction,
            "robot": self._about.robot,
            "seed": number,
            "outcome": ended,
        }
        facts = self._about.ours.facts
        if number < len(facts) and not self._about.ours.has_last(number):  # an export from before, which has only these
            known |= {name: facts[number][name] for name in FACTS} | {"outcome": Outcome(facts[number]["outcome"])}
            known |= {"episode_id": _sound_id(known["episode_id"], notes)}
        return Episode(
            **known,
            instruction=instruction,
            frames={},
            proprio=state,
            requested=actions,
            sent=actions,
            times_s=times_s,
            success=success,
            reward=steps.rewards(table, notes),
            intervention=None if person is None else person[:-1],
        )

    def _ours(
        self, number: int, table: pa.Table, instruction: str, notes: list[str]
    ) -> tuple[Episode | None, tuple[Label, ...]]:
        """Return an episode of ours as it was, without its pictures, and its labels; none where it is not."""
        if not self._about.ours.has_last(number):
            return None, ()
        try:
            state = steps.vectors(table, form.STATE, self._about.features[form.STATE].size)
            action = steps.vectors(table, form.ACTION, self._about.features[form.ACTION].size)
            if self._about.cameras("image"):
                raise UnfitError("its pictures were put into its table since it was exported")
            rest = self._about.ours.rest(number, state, action)
            assert rest is not None
            episode = rest.episode(instruction, state, action, {})
            check(episode)
        except (*DAMAGE, SailError) as problem:
            notes.append(f"what {form.OURS} says of it is not used ({brief(problem)})")
            return None, ()
        labels = tuple(label for label in rest.labels if fits(label, len(episode)))
        if len(labels) < len(rest.labels):
            notes.append(f"{len(rest.labels) - len(labels)} labels do not fit it and are left out")
        return replace(episode, episode_id=_sound_id(episode.episode_id, notes)), labels

    def _words(self, table: pa.Table, row: Row, notes: list[str]) -> tuple[str, tuple[Label, ...]]:
        """Return an episode's instruction, that of its first row, and what else was asked when, as segments."""
        listed = [str(words) for words in row.get("tasks") or ()]
        found = np.zeros(len(table), np.int64)
        words = {0: listed[0]} if len(listed) == 1 else {}
        if form.TASK in table.column_names and self._about.tasks:
            found, words = steps.task_numbers(table, form.TASK), self._about.tasks
        missing = sorted(set(found.tolist()) - set(words))
        if missing:
            raise UnfitError(f"{form.TASKS} does not say what its task {missing[0]} is")
        labels: list[Label] = []
        if len(set(found.tolist())) > 1:
            labels += steps.segments(found, words)
            notes.append("it has several tasks: each is kept as a segment, the first as its instruction")
        if form.SUBTASK in table.column_names and self._about.subtasks:
            labels += steps.segments(steps.task_numbers(table, form.SUBTASK), self._about.subtasks)
        return words[int(found[0])], tuple(labels)

    def _robot(self, pictures: Mapping[str, Pictures]) -> RobotSpec:
        state, action = self._about.features[form.STATE], self._about.features[form.ACTION]
        self._limits = self._limits or self._reach()
        low, high = self._limits
        return RobotSpec(
            name=self._about.robot,
            action=ActionSpec(
                names=action.entries("action"),
                units=("unknown",) * action.size,
                low=low,
                high=high,
                rate_hz=self._about.fps,
            ),
            proprio_names=state.entries("state"),
            proprio_units=("unknown",) * state.size,
            cameras={name: one.size for name, one in pictures.items()},
        )

    def _reach(self) -> tuple[FloatArray, FloatArray]:
        """Return the least and the largest action of the set, float32 (D,); what meta/stats.json says is not asked."""
        size = self._about.features[form.ACTION].size
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        for path in self._data_paths():
            try:
                for least, largest in steps.extremes(DataFile(path), form.ACTION, size):
                    low, high = np.minimum(low, least), np.maximum(high, largest)
            except UnfitError:
                continue  # its episodes are refused, each with the reason
        most = float(np.finfo(np.float32).max) / 2
        low, high = (np.clip(np.where(low > high, end, one), -most, most) for end, one in ((-1.0, low), (1.0, high)))
        lowest = low.astype(np.float32)
        return lowest, np.maximum(high.astype(np.float32), np.nextafter(lowest, np.float32(np.inf)))

    def _data_paths(self) -> list[Path]:
        found: dict[Path, None] = {}
        for row in self._about.rows:
            try:
                found[self._data_path(row)] = None
            except UnfitError:
                continue
        return list(found)

    def _data_path(self, row: Row) -> Path:
        numbers = {name: table_number(row, f"data/{name}") for name in ("chunk_index", "file_index")}
        return form.path_in(self.folder, self._about.data_path, **numbers)


def _sound_id(name: str, notes: list[str]) -> str:
    """Return the id that an episode of ours had, nothing where it is none."""
    try:
        if len(check_id(name)) <= LONGEST_ID:
            return name
    except SailError:
        pass
    notes.append(f"the id that {form.OURS} gives it is none")
    return ""
