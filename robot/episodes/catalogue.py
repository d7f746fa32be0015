"""List and filter the episodes of a store fast: a table of what their folders say, kept in SQLite beside them.

The folders are the truth and the table a copy. Each listing compares the two by the times at which folders changed and
reads again what differs, so that the table may be deleted, damaged or years old.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from robot.core.data import Outcome
from robot.core.errors import SailError
from robot.core.text import visible
from robot.episodes.arbitration import settled
from robot.episodes.description import ABOUT, read_about
from robot.episodes.labels import read_labels, signature, verdicts_of

FILE = ".catalogue.sqlite"
VERSION = 2
"""Of the table: one of another version is made anew."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Describe one episode in a line.

    `recorded`: UTC, ISO 8601, empty where unknown. `iteration`: −1 for one that belongs to no run. `judges`: who has
    judged it, separated by spaces; `judge` and `probability` (−1 for none): whose verdict counts and what it is.
    `cameras`: a JSON object, its cameras' names and how large their pictures are, such as 640x480, empty where unknown.
    `problem`: why its description cannot be read, empty where it can.
    """

    id: str
    task: str = ""
    instruction: str = ""
    spoken: str = ""
    robot: str = ""
    outcome: str = ""
    steps: int = 0
    plans: int = 0
    cameras: str = "{}"
    seed: int = 0
    recorded: str = ""
    run: str = ""
    iteration: int = -1
    judges: str = ""
    judge: str = ""
    probability: float = -1.0
    problem: str = ""

    @property
    def verdict(self) -> str:
        """Return `success`, `failure`, `unsure` or nothing: what the verdict that counts says."""
        if self.probability < 0:
            return ""
        return "unsure" if self.probability == 0.5 else "success" if self.probability > 0.5 else "failure"

    @property
    def pictures(self) -> dict[str, str]:
        """Return `cameras` as a mapping."""
        return dict(json.loads(self.cameras))


SIZE = re.compile(r"(\d+)[x×](\d+)")
DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")


@dataclass(frozen=True, slots=True)
class Filters:
    """Choose episodes; what is empty or None lets all through.

    `judge`: those that this source has judged. `verdict`: `success`, `failure` or `unsure` by the one that counts,
    `none` for those nobody has judged. `date`: the beginning of a date, such as 2026-11 or 2026-11-24, in UTC. `run`:
    the beginning of a run's name. `ids`: some ids with commas between them; in each `*` stands for any letters and `?`
    for one. `cameras`: those that have all of these, with commas between them. `size`: those with pictures of this
    width and height, such as 640x480, of all these cameras, or of any where none is named.
    """

    task: str = ""
    outcome: str = ""
    judge: str = ""
    verdict: str = ""
    date: str = ""
    run: str = ""
    iteration: int | None = None
    ids: str = ""
    cameras: str = ""
    size: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in ("", "success", "failure", "unsure", "none"):
            raise SailError(f"verdict must be success, failure, unsure or none, got {self.verdict!r}.")
        if self.outcome and self.outcome not in set(Outcome):
            raise SailError(f"outcome must be one of {', '.join(Outcome)}, got {self.outcome!r}.")
        if self.date and not DATE.fullmatch(self.date):
            raise SailError(f"date must be like 2026, 2026-11 or 2026-11-24, got {self.date!r}.")
        if self.size and not SIZE.fullmatch(self.size):
            raise SailError(f"size must be width and height like 640x480, got {self.size!r}.")

    def passes(self, entry: Entry) -> bool:
        """Return whether an episode passes all of them."""
        return (
            self.task in ("", entry.task)
            and self.outcome in ("", entry.outcome)
            and self.verdict in ("", entry.verdict or "none")
            and (not self.judge or self.judge in entry.judges.split())
            and entry.recorded.startswith(self.date)
            and entry.run.startswith(self.run)
            and self.iteration in (None, entry.iteration)
            and (not self.ids or any(_pattern(one).fullmatch(entry.id) for one in names_in(self.ids)))
            and self._shows(entry.pictures)
        )

    def _shows(self, pictures: Mapping[str, str]) -> bool:
        """Return whether an episode with these cameras and sizes passes."""
        cameras = names_in(self.cameras)
        if not pictures.keys() >= set(cameras):
            return False
        found = [pictures[name] == self.size.replace("×", "x") for name in cameras or pictures]
        return not self.size or (all(found) if cameras else any(found))


def names_in(listed: str) -> list[str]:
    """Return the names in a text with commas between them."""
    return [name.strip() for name in listed.split(",") if name.strip()]


def _pattern(name: str) -> re.Pattern[str]:
    """Return what an id with `*` and `?` in it stands for; every other letter is itself."""
    return re.compile(re.escape(name).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


class Catalogue:
    """List the episodes of one store."""

    def __init__(self, store: str | Path) -> None:
        self.folder = Path(store)

    def entries(self, filters: Filters = Filters()) -> list[Entry]:
        """Return the episodes that pass, by their ids; those that cannot be read are among them, with their problem."""
        with self._fresh() as table:
            rows = table.execute(f"SELECT {', '.join(COLUMNS)} FROM episodes ORDER BY id")
            return [entry for row in rows if filters.passes(entry := Entry(*row))]

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[sqlite3.Connection]:
        """Lend the table, brought up to date."""
        table = self._open()
        try:
            try:
                self._bring_up_to_date(table)
            except sqlite3.Error:
                # Damaged, locked for long, or on a disk that is full or cannot be written: do without keeping it.
                table.close()
                table = _create(sqlite3.connect(":memory:"))
                self._bring_up_to_date(table)
            yield table
        finally:
            table.close()

    def _open(self) -> sqlite3.Connection:
        path = self.folder / FILE
        for _ in range(2):
            try:
                table = sqlite3.connect(path, timeout=10.0)
            except sqlite3.Error:
                break
            try:
                if table.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                    return table
                return _create(table)
            except sqlite3.OperationalError:
                table.close()
                break
            except sqlite3.DatabaseError:  # no database at all: it is a copy, so it can go
                table.close()
                with contextlib.suppress(OSError):
                    path.unlink()
        return _create(sqlite3.connect(":memory:"))

    def _bring_up_to_date(self, table: sqlite3.Connection) -> None:
        there = _signatures(self.folder)
        known = dict(table.execute("SELECT id, signature FROM episodes"))
        gone = [(name,) for name in known.keys() - there.keys()]
        changed = [name for name, mark in there.items() if known.get(name) != mark]
        if not gone and not changed:
            return
        with table:
            table.executemany("DELETE FROM episodes WHERE id = ?", gone)
            marks = ", ".join("?" * (len(COLUMNS) + 1))
            table.executemany(
                f"INSERT OR REPLACE INTO episodes (signature, {', '.join(COLUMNS)}) VALUES ({marks})",
                ((there[name], *astuple(self._read(name))) for name in changed),
            )

    def _read(self, name: str) -> Entry:
        try:
            about = read_about(self.folder, name)
            labels = read_labels(self.folder / name)
            counted = settled(labels)
            origin = about.get("origin") or {}
            cameras = {str(name): _size(facts) for name, facts in dict(about.get("cameras", {})).items()}
            entry = Entry(
                id=name,
                task=str(about["task"]),
                instruction=str(about["instruction"]),
                spoken=str(about["spoken"]),
                robot=str(about["robot"]),
                outcome=str(about["outcome"]),
                steps=int(about["steps"]),
                plans=len(about["plans"]),
                cameras=json.dumps(cameras),
                seed=int(about["seed"]),
                recorded=str(about.get("recorded", "")),
                run=str(origin.get("run", "")),
                iteration=-1 if origin.get("iteration") is None else int(origin["iteration"]),
                judges=" ".join(dict.fromkeys(verdict.source for verdict in verdicts_of(labels))),
                judge=counted.source if counted else "",
                probability=counted.probability if counted else -1.0,
            )
            json.dumps(astuple(entry), ensure_ascii=False).encode()  # half a character is no text
            return entry
        except (SailError, TypeError, ValueError, AttributeError) as problem:
            return Entry(name, problem=str(problem))


def _size(facts: object) -> str:
    """Return how large the pictures of a camera are, by its part of a description, empty where that does not say."""
    size = [facts.get(name) for name in ("width", "height")] if isinstance(facts, dict) else []
    return "x".join(map(str, size)) if size and all(isinstance(one, int) for one in size) else ""


COLUMNS = tuple(field.name for field in fields(Entry))


def _create(table: sqlite3.Connection) -> sqlite3.Connection:
    kinds = {"int": "INTEGER", "float": "REAL", "str": "TEXT"}
    columns = ", ".join(f"{field.name} {kinds[str(field.type)]}" for field in fields(Entry))
    with table:
        table.execute("DROP TABLE IF EXISTS episodes")
        table.execute(f"CREATE TABLE episodes (signature TEXT, {columns}, PRIMARY KEY (id)) WITHOUT ROWID")
        table.execute(f"PRAGMA user_version = {VERSION}")
    return table


def _signatures(folder: Path) -> dict[str, str]:
    """Return, for every folder that may be an episode, what changes when the episode does."""
    marks = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name[0] != "." and entry.is_dir():
                    said = signature(entry.path)
                    # A name that is no text becomes one that is no id, and so is listed as what cannot be read.
                    marks[visible(entry.name)] = f"{entry.stat().st_mtime_ns} {said}"
    except (FileNotFoundError, NotADirectoryError):
        raise SailError(f"There is no store in {folder}.") from None
    return marks


def stores_in(folders: Sequence[Path]) -> list[Path]:
    """Return the folders among `folders` that are stores: that hold an episode."""
    return [folder for folder in folders if folder.is_dir() and any(folder.glob(f"*/{ABOUT}"))]


def summary(entries: Sequence[Entry]) -> list[dict[str, object]]:
    """Return one line a task: how many episodes and steps, how they ended, and what was said of them."""
    lines = []
    for task in sorted({entry.task for entry in entries}):
        own = [entry for entry in entries if entry.task == task]
        outcomes = [entry.outcome for entry in own]
        lines.append(
            {
                "task": task,
                "episodes": len(own),
                "steps": sum(entry.steps for entry in own),
                "outcomes": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
                "judged": sum(bool(entry.judges) for entry in own),
                "judged success": sum(entry.verdict == "success" for entry in own),
                "plans": sum(entry.plans for entry in own),
            }
        )
    return lines


def as_json(entry: Entry) -> dict[str, object]:
    """Return an entry as a JSON object, None where there is nothing."""
    row: dict[str, object] = {name: getattr(entry, name) for name in COLUMNS}
    row["iteration"] = None if entry.iteration < 0 else entry.iteration
    row["probability"] = None if entry.probability < 0 else entry.probability
    row |= {
        "judges": entry.judges.split(),
        "cameras": list(entry.pictures),
        "sizes": list(entry.pictures.values()),
        "verdict": entry.verdict or None,
    }
    return json.loads(json.dumps(row))  # type: ignore[no-any-return]
