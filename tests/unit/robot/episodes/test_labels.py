"""Labels: only appended, mended after a kill, undone by a further record, named by a hash."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.core.data import Verdict
from robot.core.errors import SailError
from robot.episodes.arbitration import current
from robot.episodes.labels import (
    Field,
    Label,
    append_labels,
    in_force,
    read_labels,
    snapshot_hash,
    sound_lines,
    verdict_labels,
    verdicts_of,
)

STEPS = 3
SUCCESS = Label(Field.SUCCESS, 1.0, "person", "ada")


def took_back(label: Label) -> Label:
    return Label(Field.RETRACTION, label.label_id, label.source, label.who)


def test_labels_read_back_as_they_were_written(tmp_path: Path) -> None:
    said = [
        SUCCESS,
        Label(Field.FAILURE_KIND, "stopped short", "person", "ada", rationale="see the end"),
        Label(Field.QUALITY, 3, "person", "ada"),
        Label(Field.SEGMENT, "grasp", "person", "ada", span=(1, 3)),
        Label(Field.PROGRESS, (0.0, 0.25, 0.5, 1.0), "classifier", model="c0ffee", confidence=0.5),
        Label(Field.NOTE, "two lines\nand a separator \u2028 — ö", "person", "ada"),
        Label(Field.SUCCESS, 0.1, "vlm", model="c0ffee", prompt="beef", confidence=0.9),
    ]
    written = append_labels(tmp_path, said, STEPS)
    assert read_labels(tmp_path) == written
    assert len({label.label_id for label in written}) == len(said)
    assert all(label.time.endswith("Z") for label in written)
    assert [(one.field, one.value, one.span, one.rationale, one.prompt) for one in written] == [
        (one.field, one.value, one.span, one.rationale, one.prompt) for one in said
    ]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (Field.SUCCESS, 1.5, "in 0–1"),
        (Field.SUCCESS, float("nan"), "in 0–1"),
        (Field.SUCCESS, "yes", "in 0–1"),
        (Field.SUCCESS, True, "in 0–1"),
        (Field.QUALITY, 5, "from 0 to 4"),
        (Field.QUALITY, 2.5, "from 0 to 4"),
        (Field.QUALITY, True, "from 0 to 4"),
        (Field.NOTE, "  ", "must not be empty"),
        (Field.NOTE, "x" * 2001, "at most 2000"),
        (Field.FAILURE_KIND, 3, "text"),
        (Field.PROGRESS, (0.0, 2.0), "in 0–1"),
        (Field.SEGMENT, "grasp", "first and a last step"),
    ],
)
def test_a_value_that_does_not_fit_its_field_is_refused(field: Field, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Label(field, value, "person")  # type: ignore[arg-type]


def test_a_label_past_the_end_is_refused_and_nothing_of_its_batch_is_written(tmp_path: Path) -> None:
    past = Label(Field.SEGMENT, "grasp", "person", span=(1, STEPS + 1))
    with pytest.raises(SailError, match="step 4, past the end .* last step is 3"):
        append_labels(tmp_path, [SUCCESS, past], STEPS)
    with pytest.raises(SailError, match="is 4 numbers, got 2"):
        append_labels(tmp_path, [SUCCESS, Label(Field.PROGRESS, (0.0, 1.0), "classifier")], STEPS)
    with pytest.raises(ValueError, match="same or a later one"):
        Label(Field.SEGMENT, "grasp", "person", span=(2, 1))
    assert read_labels(tmp_path) == []


def test_undo_is_a_further_record(tmp_path: Path) -> None:
    append_labels(tmp_path, [Label(Field.SUCCESS, 0.0, "truth")], STEPS)
    (label,) = append_labels(tmp_path, [SUCCESS], STEPS)
    before = (tmp_path / "labels.jsonl").read_bytes()
    append_labels(tmp_path, [took_back(label)], STEPS)
    assert (tmp_path / "labels.jsonl").read_bytes().startswith(before)
    labels = read_labels(tmp_path)
    assert len(labels) == 3 and len(in_force(labels)) == 1
    verdict = current(labels, Field.SUCCESS)
    assert verdict is not None and verdict.source == "truth"
    with pytest.raises(SailError, match="no label .* to take back"):
        append_labels(tmp_path, [took_back(label)], STEPS)
    with pytest.raises(SailError, match="no label 'abc' to take back"):
        append_labels(tmp_path, [Label(Field.RETRACTION, "abc", "person")], STEPS)


@pytest.mark.parametrize("torn", ['{"schema": 1, "id": "ab', "x" * 10_000])
def test_a_line_torn_by_a_kill_is_mended_by_the_next_append(tmp_path: Path, torn: str) -> None:
    first = append_labels(tmp_path, [SUCCESS], STEPS)
    with (tmp_path / "labels.jsonl").open("a") as file:
        file.write(torn)
    assert read_labels(tmp_path) == first
    second = append_labels(tmp_path, [Label(Field.QUALITY, 2, "person")], STEPS)
    assert read_labels(tmp_path) == first + second


def test_a_file_that_holds_a_torn_line_alone_is_mended_too(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"schema"')
    written = append_labels(tmp_path, [SUCCESS], STEPS)
    assert read_labels(tmp_path) == written


def test_a_full_disk_leaves_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = append_labels(tmp_path, [SUCCESS], STEPS)
    real = os.pwrite

    def half(file: int, data: bytes, offset: int) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[: len(data) // 2], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        with pytest.raises(SailError, match="No space"):
            append_labels(tmp_path, [SUCCESS], STEPS)
    assert read_labels(tmp_path) == first
    assert (tmp_path / "labels.jsonl").read_bytes().count(b"\n") == 1


def test_a_damaged_line_and_an_unknown_schema_are_named(tmp_path: Path) -> None:
    (label,) = append_labels(tmp_path, [SUCCESS], STEPS)
    path = tmp_path / "labels.jsonl"
    whole = path.read_text()
    path.write_text(whole + "{}\n")
    with pytest.raises(SailError, match="Line 2 of .* schema None, this version reads 1"):
        read_labels(tmp_path)
    path.write_text(whole + whole.replace('"schema": 1', '"schema": 9'))
    with pytest.raises(SailError, match="schema 9"):
        read_labels(tmp_path)
    path.write_text(whole.replace("success", "luck"))
    with pytest.raises(SailError, match="Line 1 of"):
        read_labels(tmp_path)
    path.write_bytes(b"[1]\n")
    with pytest.raises(SailError, match="Line 1 of"):
        read_labels(tmp_path)
    assert label.label_id in whole


WRITER = """
import sys
from pathlib import Path
from robot.episodes.labels import Field, Label, append_labels
for number in range(40):
    append_labels(Path(sys.argv[1]), [Label(Field.NOTE, f"{sys.argv[2]} {number} " + "x" * 500, "person")], 3)
"""


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    names = ("ada", "bea")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in names]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    said = [str(label.value).split()[:2] for label in read_labels(tmp_path)]
    assert len(said) == 80
    for name in names:
        assert [number for who, number in said if who == name] == [str(number) for number in range(40)]


@given(st.floats(0, 1), st.sampled_from(["truth", "classifier", "vlm", "person", "none", "my judge"]), st.booleans())
def test_a_verdict_comes_back_from_its_labels(probability: float, source: str, with_progress: bool) -> None:
    progress = np.linspace(0, 1, STEPS + 1, dtype=np.float32) if with_progress else None
    verdict = Verdict(probability, source, "c0ffee", progress, "because")
    (read,) = verdicts_of(verdict_labels(verdict))
    assert (read.probability, read.source, read.model, read.rationale) == (probability, source, "c0ffee", "because")
    assert (read.progress is None) == (progress is None)
    if read.progress is not None and progress is not None:
        assert read.progress.dtype == np.float32 and np.array_equal(read.progress, progress)


def test_verdicts_of_older_stores_are_read_first_and_can_be_taken_back(tmp_path: Path) -> None:
    rows = [
        {"probability": 1.0, "source": "truth", "model": "", "progress": None, "rationale": ""},
        {"probability": 0.3, "source": "vlm", "model": "ab", "progress": [0, 0, 0.5, 1], "rationale": "?"},
    ]
    old = "".join(json.dumps(row) + "\n" for row in rows) + '{"probability": 0.'
    (tmp_path / "verdicts.jsonl").write_text(old)
    append_labels(tmp_path, [Label(Field.SUCCESS, 0.2, "classifier")], STEPS)
    assert [(one.source, one.probability) for one in verdicts_of(read_labels(tmp_path))] == [
        ("truth", 1.0),
        ("vlm", 0.3),
        ("classifier", 0.2),
    ]
    first = read_labels(tmp_path)[0].label_id
    append_labels(tmp_path, [Label(Field.RETRACTION, first, "person")], STEPS)
    left = verdicts_of(read_labels(tmp_path))
    assert [one.source for one in left] == ["vlm", "classifier"]
    assert left[0].progress is not None and left[0].progress.tolist() == [0, 0, 0.5, 1]
    assert (tmp_path / "verdicts.jsonl").read_text() == old


def test_a_verdict_of_an_older_store_keeps_its_id_when_a_line_before_it_is_taken_out(tmp_path: Path) -> None:
    row = {"probability": 0.3, "source": "vlm", "model": "ab", "progress": [0, 0, 0.5, 1], "rationale": "?"}
    said = [json.dumps(row), json.dumps(row | {"probability": 1.0}), json.dumps(row)]
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(line + "\n" for line in said))
    before = read_labels(tmp_path)
    assert len({label.label_id for label in before}) == 6  # the same said twice has two ids
    path.write_text("".join(line + "\n" for line in ["{damaged", *said]))
    sound, damaged = sound_lines(path)
    assert damaged == 1
    path.write_text("".join(line + "\n" for line in sound))
    assert read_labels(tmp_path) == before


def test_a_snapshot_names_what_is_said_and_nothing_else(tmp_path: Path) -> None:
    truth, doubt = Label(Field.SUCCESS, 1.0, "truth"), Label(Field.SUCCESS, 0.2, "vlm", "", "ab")
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        append_labels(folder, [truth, doubt], STEPS)
    assert snapshot_hash({"a": read_labels(one)}) == snapshot_hash({"a": read_labels(two)})
    both = {"a": read_labels(one), "b": read_labels(two)}
    before = snapshot_hash(both)
    assert before == snapshot_hash(dict(reversed(both.items())))
    assert before != snapshot_hash({"a": both["a"]})
    assert before != snapshot_hash({"a": both["a"], "b": []})
    (label,) = append_labels(two, [SUCCESS], STEPS)
    assert snapshot_hash({"a": read_labels(one), "b": read_labels(two)}) != before
    append_labels(two, [took_back(label)], STEPS)
    assert snapshot_hash({"a": read_labels(one), "b": read_labels(two)}) == before
