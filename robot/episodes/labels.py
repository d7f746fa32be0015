"""Labels: what a person, the simulator or a model says about an episode, only ever appended beside its data.

`labels.jsonl` in an episode's folder holds one record a line. A record is never changed: undoing is a further record
that retracts it. Verdicts of judges are labels too; those in a `verdicts.jsonl` of older stores are read with them.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from robot.core.data import Verdict
from robot.core.errors import SailError
from robot.core.files import append_lines, whole_lines

SCHEMA = 1
FILE, OLD_FILE = "labels.jsonl", "verdicts.jsonl"
DAMAGE = (SailError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged line raises."""
QUALITIES = range(5)
LONGEST_TEXT = 2000
PERSON, SIMULATOR, NOBODY = "person", "truth", "none"
FAILURE_KINDS = ("missed it", "lost it", "wrong way", "stopped short", "collided", "bad plan", "bad recording")
"""Kinds the label page offers; any other words may be written too."""


class Field(enum.StrEnum):
    """Say what a label is about; see `Label.value` for what each holds."""

    SUCCESS = "success"
    FAILURE_KIND = "failure kind"
    QUALITY = "quality"
    SEGMENT = "segment"
    PROGRESS = "progress"
    NOTE = "note"
    RETRACTION = "retraction"


Value = float | int | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """Hold one record.

    `value`: for `success` a probability (a person's unsure is 0.5), for `quality` 0 … 4, for `progress` one number in
    0–1 an observation, for `failure kind`, `segment` (its name, which may be empty) and `note` words, for `retraction`
    the id of the label taken back. `span`: the first and the last observation meant, both included, counted from 0;
    None is the whole episode. `source`: `person`, `truth` (the simulator), `classifier`, `vlm` or what else a judge
    calls itself; `who`: the person's name; `model` and `prompt`: hashes of a model's weights and of its prompt.
    `confidence`: how sure the source is of the value, 0–1. `said_with`: the id of a label it belongs to. `label_id`
    and `time` (UTC, ISO 8601) are given when it is appended. Raises ValueError for a value that does not fit.
    """

    field: Field
    value: Value
    source: str
    who: str = ""
    model: str = ""
    prompt: str = ""
    span: tuple[int, int] | None = None
    confidence: float = 1.0
    rationale: str = ""
    said_with: str = ""
    label_id: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        problem = _problem(self.field, self.value)
        if problem:
            raise ValueError(problem)
        if not self.source:
            raise ValueError("A label must name its source.")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"The confidence of a label must lie in 0–1, got {self.confidence}.")
        if self.span is None and self.field is Field.SEGMENT:
            raise ValueError("A segment needs a first and a last step.")
        if self.span is not None and not 0 <= self.span[0] <= self.span[1]:
            raise ValueError(f"A span runs from a step to the same or a later one, got {list(self.span)}.")


def _problem(field: Field, value: Value) -> str:
    """Return what is wrong with a value of a field, in one sentence, or nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field is Field.SUCCESS and not (is_number and 0.0 <= value <= 1.0):  # type: ignore[operator]
        return f"A success label is a probability in 0–1, got {value!r}."
    if field is Field.QUALITY and not (isinstance(value, int) and is_number and value in QUALITIES):
        return f"Quality is a whole number from 0 to {QUALITIES[-1]}, got {value!r}."
    if field is Field.PROGRESS and not (isinstance(value, tuple) and all(0.0 <= part <= 1.0 for part in value)):
        return "Progress is one number in 0–1 for each observation."
    if field in (Field.FAILURE_KIND, Field.SEGMENT, Field.NOTE, Field.RETRACTION):
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            return f"A {field.value} is a text of at most {LONGEST_TEXT} letters."
        if not value.strip() and field is not Field.SEGMENT:
            return f"A {field.value} must not be empty."
    return ""


def fits(label: Label, steps: int) -> bool:
    """Return whether a label can be said of an episode of `steps` actions by itself: no retraction can."""
    inside = label.span is None or label.span[1] <= steps
    as_long = not isinstance(label.value, tuple) or len(label.value) == steps + 1
    return inside and as_long and label.field is not Field.RETRACTION


def append_labels(folder: Path, labels: Sequence[Label], steps: int) -> list[Label]:
    """Append labels to the episode of `steps` actions in `folder`, all or none, and return them with id and time.

    Raises SailError for a span past the episode's end, progress of another length, and a retraction of what is not
    there or has been taken back already. Observations are counted 0 … `steps`.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    known: set[str] | None = None
    made = []
    for label in labels:
        if label.span is not None and label.span[1] > steps:
            raise SailError(
                f"The label is for step {label.span[1]}, past the end of episode {folder.name!r}, "
                f"whose last step is {steps}."
            )
        if isinstance(label.value, tuple) and len(label.value) != steps + 1:
            raise SailError(
                f"Progress of an episode of {steps} actions is {steps + 1} numbers, got {len(label.value)}."
            )
        if label.field is Field.RETRACTION:
            known = {one.label_id for one in in_force(read_labels(folder))} if known is None else known
            if label.value not in known:
                raise SailError(f"Episode {folder.name!r} has no label {label.value!r} to take back.")
        given = {"label_id": label.label_id or secrets.token_hex(8), "time": label.time or now}
        made.append(dataclasses.replace(label, **given))  # type: ignore[arg-type]
    append_lines(folder / FILE, [json.dumps(as_row(label)) for label in made])
    return made


def read_labels(folder: Path) -> list[Label]:
    """Return every record of the episode in `folder`, oldest first, retracted ones and retractions too.

    A line that was cut off while it was written does not count. Raises SailError for a damaged line and for a schema
    this version does not know.
    """
    return [*_read(folder / OLD_FILE, _from_verdict_row), *_read(folder / FILE, _from_row)]


def in_force(labels: Iterable[Label]) -> list[Label]:
    """Return the labels that have not been taken back, oldest first, without the retractions themselves."""
    labels = list(labels)
    gone = {label.value for label in labels if label.field is Field.RETRACTION}
    return [label for label in labels if label.field is not Field.RETRACTION and label.label_id not in gone]


def verdict_labels(verdict: Verdict) -> list[Label]:
    """Return a judge's verdict as labels: success and, where there is one, progress said with it."""
    first = Label(
        Field.SUCCESS,
        float(verdict.probability),
        verdict.source,
        model=verdict.model,
        confidence=max(verdict.probability, 1.0 - verdict.probability),
        rationale=verdict.rationale,
        label_id=secrets.token_hex(8),
    )
    if verdict.progress is None:
        return [first]
    values = tuple(float(f"{part:.9g}") for part in verdict.progress)  # nine digits bring a float32 back exactly
    return [first, Label(Field.PROGRESS, values, verdict.source, model=verdict.model, said_with=first.label_id)]


def verdict_of(label: Label, labels: Iterable[Label]) -> Verdict:
    """Return a success label as the verdict that it is, with the progress among `labels` that was said with it."""
    said_with = (one for one in in_force(labels) if one.field is Field.PROGRESS and one.said_with == label.label_id)
    progress = next((np.asarray(one.value, np.float32) for one in said_with), None) if label.label_id else None
    return Verdict(float(label.value), label.source, label.model, progress, label.rationale)  # type: ignore[arg-type]


def verdicts_of(labels: Iterable[Label]) -> list[Verdict]:
    """Return the verdicts on whole episodes among the labels in force, oldest first."""
    standing = in_force(labels)
    return [verdict_of(one, standing) for one in standing if one.field is Field.SUCCESS and one.span is None]


def signature(folder: str) -> str:
    """Return what changes when something is said about the episode in `folder`; empty where nothing was."""
    found = []
    for name in (OLD_FILE, FILE):
        try:
            facts = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        found.append(f"{facts.st_mtime_ns}:{facts.st_size}")
    return " ".join(found)


def snapshot_hash(labels: Mapping[str, Iterable[Label]]) -> str:
    """Return sixteen hexadecimal digits that name what is said, in force, about a set of episodes by their ids.

    Two sets with the same labels have the same hash, whenever they were written: ids and times do not enter, nor does
    the order of the episodes, and undoing the last label gives the hash from before it.
    """
    digest = hashlib.sha256()
    for name in sorted(labels):
        rows = [as_row(label) for label in in_force(labels[name])]
        for row in rows:
            for key in ("id", "time", "said_with"):
                del row[key]
        digest.update(json.dumps([name, rows], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def as_row(label: Label) -> dict[str, Any]:
    """Return a label as the JSON object of its line."""
    row = dataclasses.asdict(label)
    return {"schema": SCHEMA, "id": row.pop("label_id")} | row


def from_row(row: Mapping[str, Any]) -> Label:
    """Return the label of a line that `as_row` gave; raise one of `DAMAGE` for any other object."""
    schema = row.get("schema")
    if schema != SCHEMA:
        raise SailError(f"it has schema {schema}, this version reads {SCHEMA}")
    known = {key: value for key, value in row.items() if key not in ("schema", "id")}
    known["field"] = Field(known["field"])
    if isinstance(known["value"], list):
        known["value"] = tuple(known["value"])
    if known["span"] is not None:
        first, last = known["span"]
        known["span"] = (first, last)
    return Label(**known, label_id=row["id"])


def _from_row(row: Mapping[str, Any], _: str) -> list[Label]:
    return [from_row(row)]


def _from_verdict_row(row: Mapping[str, Any], name: str) -> list[Label]:
    """Return a line of an older store's verdicts, under an id that was made for it."""
    progress = row.get("progress")
    verdict = Verdict(**{**row, "progress": None if progress is None else np.asarray(progress, np.float32)})
    first, *more = verdict_labels(verdict)
    return [
        dataclasses.replace(first, label_id=name),
        *(dataclasses.replace(label, label_id=f"{name}-progress", said_with=name) for label in more),
    ]


def _verdict_id(line: bytes, time: int) -> str:
    """Return the id of a verdict of an older store, which has none written down, so that it can be retracted too.

    It follows from what the line says and how often that was said before, not from its place: other lines may be taken
    out.
    """
    again = f"-{time}" if time > 1 else ""
    return f"verdict-{hashlib.sha256(line).hexdigest()[:12]}{again}"


def sound_lines(path: Path) -> tuple[list[str], int]:
    """Return the lines of a file of labels or verdicts that can be read, and how many cannot."""
    from_line = _from_verdict_row if path.name == OLD_FILE else _from_row
    sound, damaged = [], 0
    for line in filter(None, whole_lines(path)):
        try:
            row = json.loads(line)
            if not (path.name == FILE and int(row["schema"]) > SCHEMA):  # a newer version's is no damage
                from_line(row, "")
            sound.append(line.decode())
        except DAMAGE:
            damaged += 1
    return sound, damaged


def _read(path: Path, from_line: Callable[[Mapping[str, Any], str], list[Label]]) -> list[Label]:
    labels: list[Label] = []
    met: Counter[bytes] = Counter()
    for number, line in enumerate(whole_lines(path), start=1):
        if not line:
            continue
        met[line] += 1
        try:
            labels += from_line(json.loads(line), _verdict_id(line, met[line]))
        except DAMAGE as problem:
            raise SailError(f"Line {number} of {path} cannot be read: {str(problem).rstrip('.')}.") from None
    return labels
