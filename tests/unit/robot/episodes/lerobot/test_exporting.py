"""An export says nothing that nobody knew, has the rate its rows had, and leaves nothing half on a full disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.core.data import Beginning, Episode, Outcome, Verdict
from robot.core.errors import HeldError, SailError
from robot.episodes.arrival import Arrival
from robot.episodes.labels import Field, Label, verdict_labels
from robot.episodes.lerobot.exporting import Exported, Exporter
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.lerobot.layout import MisfitError
from robot.episodes.lerobot.ours import Ours
from robot.episodes.video import LOSSLESS
from tests.fakes import SPEC
from tests.unit.robot.episodes.samples import assert_same, episode

ROOT = Path(__file__).parents[5]
UNKNOWN: dict[str, Any] = {"success": None, "reward": None, "intervention": None, "outcome": Outcome.TIMEOUT}


def demonstration(name: str, **changes: Any) -> Episode:
    """Return an episode of which nobody knows whether it worked."""
    return dataclasses.replace(episode(5, size=16), episode_id=name, **{**UNKNOWN, **changes})


def export(folder: Path, *told: Episode | tuple[Episode, Sequence[Label]], **options: Any) -> Exported:
    with Exporter(folder, LOSSLESS, **options) as exporter:
        for one in told:
            exporter.add(*(one if isinstance(one, tuple) else (one,)))
        return exporter.finish()


def rows(folder: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    assert set(found) == {
        name
        for name, feature in json.loads((folder / "meta/info.json").read_text())["features"].items()
        if feature["dtype"] != "video"
    }
    return found


def back(folder: Path) -> list[Episode]:
    """Return the episodes of a data set as they come back."""
    return [one.whole() for one in LeRobotSource(folder) if isinstance(one, Arrival)]


def said(value: float, source: str = "person") -> list[Label]:
    return verdict_labels(Verdict(value, source))


def test_what_nobody_knew_is_left_out_and_said(tmp_path: Path) -> None:
    done = export(tmp_path / "set", demonstration("a"), demonstration("b"))
    assert not {"next.success", "next.reward", "intervention"} & rows(tmp_path / "set").keys()
    assert done.notices == (
        "next.success is left out: it is not known of all episodes: `sail label` says whether they worked.",
    )
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    assert "next.success" not in stats and "action" in stats
    (first, second) = back(tmp_path / "set")
    assert first.success is None and first.reward is None and first.outcome is Outcome.TIMEOUT
    assert_same(second, dataclasses.replace(demonstration("b"), plans=(), states=None))


def test_a_column_is_there_where_all_know_and_is_said_where_some_do(tmp_path: Path) -> None:
    known = dataclasses.replace(episode(5, size=16), episode_id="known")
    done = export(tmp_path / "set", known, demonstration("a"))
    assert not {"next.success", "next.reward", "intervention"} & rows(tmp_path / "set").keys()
    assert [notice.split(" ")[0] for notice in done.notices] == ["next.reward", "next.success", "intervention"]
    assert all("1 of 2 episodes (a)" in notice for notice in done.notices)
    came = back(tmp_path / "set")
    assert_same(came[0], dataclasses.replace(known, plans=(), states=None))  # nothing of it is lost for us
    export(tmp_path / "all", known, dataclasses.replace(known, episode_id="too"))
    found = rows(tmp_path / "all")
    assert found["next.success"] == [False, False, False, False, True] * 2
    assert found["intervention"] == [True, False, True, False, True] * 2
    assert np.array_equal(np.float32(found["next.reward"][:5]), known.reward)  # type: ignore[arg-type]


TRUTH = np.array([False, False, True, True, False])


@pytest.mark.parametrize(
    ("changes", "labels", "expected"),
    [
        ({}, said(1.0), [0, 0, 0, 0, 1]),
        ({}, said(0.0), [0, 0, 0, 0, 0]),
        ({}, said(0.8, "classifier"), [0, 0, 0, 0, 1]),
        ({}, [*said(0.0), *said(1.0)], [0, 0, 0, 0, 1]),
        ({}, said(0.5), None),
        ({}, [*said(1.0), Label(Field.SUCCESS, 0.0, "person", span=(1, 2))], [0, 0, 0, 0, 1]),
        ({"success": TRUTH}, [], [0, 0, 1, 1, 0]),
        ({"success": TRUTH}, said(1.0), [0, 0, 1, 1, 0]),
        ({"success": TRUTH}, said(0.0), [0, 0, 0, 0, 0]),
        ({"success": TRUTH}, said(0.5), None),
        ({"success": TRUTH}, said(0.0, "classifier"), [0, 0, 1, 1, 0]),
        ({"success": ~TRUTH & False}, said(1.0), [0, 0, 0, 0, 1]),
        ({"outcome": Outcome.SUCCESS}, [], [0, 0, 0, 0, 1]),
        ({"outcome": Outcome.FAILURE}, [], [0, 0, 0, 0, 0]),
        ({"outcome": Outcome.SUCCESS}, said(0.0, "vlm"), [0, 0, 0, 0, 0]),
        ({"outcome": Outcome.OPERATOR_STOP}, [], None),
    ],
)
def test_the_verdict_that_counts_is_what_it_says(
    changes: dict[str, Any], labels: list[Label], expected: list[int] | None, tmp_path: Path
) -> None:
    export(tmp_path / "set", (demonstration("a", **changes), labels))
    found = rows(tmp_path / "set")
    if expected is None:
        assert "next.success" not in found and "next.reward" not in found
    else:
        assert found["next.success"] == [bool(one) for one in expected]
        assert found["next.reward"] == expected  # nobody recorded one: it is 1 where the task was done
        stats = json.loads((tmp_path / "set/meta/stats.json").read_text())["next.success"]
        assert stats["mean"] == [sum(expected) / 5] and stats["count"] == [5]


def test_labels_travel_and_come_back_as_they_were(tmp_path: Path) -> None:
    verdict = Verdict(0.9, "classifier", "9c41", np.linspace(0, 1, 6, dtype=np.float32), "it \u2028 looks so\n")
    labels = [
        *verdict_labels(verdict),
        Label(Field.SEGMENT, "grasp", "person", "ada", span=(1, 5), label_id="s", time="2026-01-31T09:12:45.256Z"),
        Label(Field.NOTE, "taken back", "person", label_id="n"),
        Label(Field.RETRACTION, "n", "person", label_id="r"),
    ]
    export(tmp_path / "set", demonstration("a"), (demonstration("b"), labels))
    first, second = (one for one in LeRobotSource(tmp_path / "set") if isinstance(one, Arrival))
    assert first.labels == () and list(second.labels) == labels[:3]


def test_how_an_episode_came_to_be_travels(tmp_path: Path) -> None:
    continued = demonstration("b", begins=Beginning.CONTINUED)
    export(tmp_path / "set", demonstration("a", reversed_of="before"), continued)
    found = [one.bare for one in LeRobotSource(tmp_path / "set") if isinstance(one, Arrival)]
    assert [(one.reversed_of, one.begins) for one in found] == [("before", Beginning.SEED), ("", Beginning.CONTINUED)]


def test_what_lies_beside_belongs_to_the_rows_that_were_exported(tmp_path: Path) -> None:
    one = demonstration("a")
    export(tmp_path / "set", one)
    ours = Ours.read(tmp_path / "set")
    assert ours.rest(0, one.proprio[:-1], one.sent) is not None
    assert ours.rest(1, one.proprio[:-1], one.sent) is None  # an episode that somebody added
    for state, action in (
        (one.proprio[:-1], one.sent * 2),
        (one.proprio[1:], one.sent),
        (one.proprio[:2], one.sent[:2]),
    ):
        with pytest.raises(SailError, match="was changed since it was exported"):
            ours.rest(0, state, action)
    assert Ours.read(tmp_path).rest(0, one.proprio[:-1], one.sent) is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("meta/sail.json", b"{"),
        ("meta/sail.json", b"[]"),
        ("meta/sail.json", b'{"version": 3, "episodes": []}'),
        ("meta/sail.json", b'{"version": 2, "specs": [], "episodes": [{}]}'),
        ("meta/sail/steps.parquet", b"PAR1"),
        ("meta/sail/steps.parquet", None),
        ("meta/sail/labels.jsonl", b'{"episode": 0}\n'),
    ],
)
def test_damage_beside_is_told_in_one_sentence(tmp_path: Path, file: str, content: bytes | None) -> None:
    one = demonstration("a")
    export(tmp_path / "set", one)
    (tmp_path / "set" / file).unlink()
    if content is not None:
        (tmp_path / "set" / file).write_bytes(content)
    with pytest.raises(SailError, match="damaged|missing|version 3"):
        Ours.read(tmp_path / "set").rest(0, one.proprio[:-1], one.sent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours") / "set"
    export(folder, (demonstration("a"), said(1.0)), demonstration("b"))
    return folder


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_written_beside_is_read_or_told_in_a_sentence(exported: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["meta/sail.json", "meta/sail/labels.jsonl", "meta/sail/steps.parquet"]))
    path = exported / name
    before = path.read_bytes()
    if name.endswith("parquet"):
        content = bytearray(before)
        for place in data.draw(st.lists(st.integers(0, len(before) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(content))
    else:
        lines = before.split(b"\n")[:1] if name.endswith("jsonl") else [before]
        path.write_bytes(b"\n".join(json.dumps(_changed(json.loads(one), data)).encode() + b"\n" for one in lines))
    try:
        told = _told(exported)
    finally:
        path.write_bytes(before)
    assert told == "" or (told.endswith(".") and told.isprintable())


def _told(folder: Path) -> str:
    """Return what is said of an episode that what lies beside makes whole, nothing where it does."""
    one = demonstration("a")
    try:
        if rest := Ours.read(folder).rest(0, one.proprio[:-1], one.sent):
            rest.episode("push", one.proprio[:-1], one.sent, {"top": one.frames["top"]})
    except SailError as problem:
        return str(problem)
    return ""


def _changed(value: Any, data: st.DataObject) -> Any:
    """Return a JSON value with one of its parts replaced or left out."""
    if not isinstance(value, dict | list) or not value or data.draw(st.booleans()):
        return data.draw(JSON)
    key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if isinstance(copy, dict) and data.draw(st.integers(0, 4)) == 0:
        del copy[key]
    else:
        copy[key] = _changed(value[key], data)
    return copy


def test_the_form_of_before_is_still_read(tmp_path: Path) -> None:
    one = demonstration("a")
    export(tmp_path / "set", one)
    path = tmp_path / "set/meta/sail.json"
    facts = json.loads(path.read_text())["episodes"]
    path.write_text(json.dumps({"version": 1, "episodes": facts}))
    (loaded,) = back(tmp_path / "set")
    assert (loaded.episode_id, loaded.task, len(loaded)) == ("a", "reach", 4)


def slow(factor: float, **changes: Any) -> Episode:
    return demonstration("slow", times_s=np.arange(6) / 40 * factor, **changes)


def test_rows_slower_than_was_asked_for_are_no_rows_at_that_rate(tmp_path: Path) -> None:
    with pytest.raises(SailError, match=r"its rows came at 8 Hz and were to come at 40 Hz: .*fps="):
        export(tmp_path / "set", slow(5))
    assert list(tmp_path.iterdir()) == []
    assert export(tmp_path / "set", slow(5), fps=8).notices[1:] == ()
    assert export(tmp_path / "fast", slow(5), fps=40).notices[1] == "The rows are counted at 40 Hz; they came at 8 Hz."
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["fps"] == 8
    assert rows(tmp_path / "set")["timestamp"] == pytest.approx(np.arange(5) / 8)
    (loaded,) = back(tmp_path / "set")
    assert np.array_equal(loaded.times_s, slow(5).times_s)
    export(tmp_path / "near", slow(1.02))  # as the clocks of robots are
    assert json.loads((tmp_path / "near/meta/info.json").read_text())["fps"] == 40


def test_a_rate_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    unknown = demonstration("a", spec=None, times_s=np.zeros(6) + np.arange(6) * 1e-9)
    with pytest.raises(SailError, match="fps must lie"):
        export(tmp_path / "set", unknown, fps=-1)
    export(tmp_path / "set", slow(1, spec=None))
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["fps"] == 40


NAN = np.float32("nan")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"sent": np.array([[0, 0], [0, NAN], [0, 0], [0, 0], [0, 0]], np.float32)},
            "no number in the action sent of step 1",
        ),
        ({"proprio": np.full((6, 2), np.inf, np.float32)}, "no number in proprioception of step 0"),
        ({"times_s": np.array([0, 1, 2, 2, 3, 4]) / 40}, "the same time at 2 of 6 steps"),
        ({"times_s": np.array([0, 1, 3, 2, 4, 5]) / 40}, "out of order: step 3"),
        ({"times_s": np.array([0, 1, 2, np.nan, 4, 5])}, "times that are no numbers"),
        (
            {"spec": dataclasses.replace(SPEC, action=dataclasses.replace(SPEC.action, rate_hz=0.0))},
            r"driven at 0\.0 Hz",
        ),
    ],
)
def test_numbers_that_are_none_are_not_handed_on(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    whole = demonstration("whole")
    with Exporter(tmp_path / "set") as exporter:
        exporter.add(whole)
        with pytest.raises(MisfitError, match=says) as problem:
            exporter.add(demonstration("foul", **changes))
        assert problem.value.damaged
        exporter.add(dataclasses.replace(whole, episode_id="too"))
        assert exporter.finish().info["total_episodes"] == 2
    assert [one.episode_id for one in back(tmp_path / "set")] == ["whole", "too"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"spec": dataclasses.replace(SPEC, proprio_units=("mm", "mm"))}, "its state units is mm, mm, not m, m"),
        ({"spec": dataclasses.replace(SPEC, proprio_names=("a", "b"))}, "its state is a, b, not x, y"),
        ({"frames": {"top": np.zeros((6, 8, 24, 3), np.uint8)}}, "its cameras is top 24×8, not top 16×16"),
        (
            {"frames": {"top": np.zeros((6, 16, 16), np.uint16)}},
            r"camera 'top' are uint16 \(16, 16\), not RGB of 8 bits",
        ),
    ],
)
def test_what_is_of_another_kind_is_told_apart(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with Exporter(tmp_path / "set") as exporter:
        exporter.add(demonstration("a"))
        with pytest.raises(SailError, match=says):
            exporter.add(demonstration("b", **changes))


def test_robots_of_several_names_make_no_one_robot(tmp_path: Path) -> None:
    done = export(tmp_path / "set", demonstration("a"), demonstration("b", robot="other/left"))
    assert done.info["robot_type"] is None and "the robots are other, toy" in done.notices[-1]
    assert [one.robot for one in back(tmp_path / "set")] == ["toy", "other/left"]


def test_an_export_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), Exporter(tmp_path / "new" / "set") as exporter:
        exporter.add(demonstration("a"))
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_two_exports_to_one_folder_do_not_meet(tmp_path: Path) -> None:
    with Exporter(tmp_path / "new" / "set"):
        with pytest.raises(HeldError, match=f"set is in use by process {os.getpid()}.*out="):
            Exporter(tmp_path / "new" / "set").__enter__()
        with Exporter(tmp_path / "new" / "other"):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["export", "record"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(what: str) -> None:
    limits = [0, 1, 30, 100, 1000, 2000, 4096, 9000, 20_000, 30_000]
    program = [sys.executable, "-m", "tests.unit.robot.episodes.filling", what, *map(str, limits)]
    done = subprocess.run(
        program, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr  # a fault of memory would be −11
    told = [line.split("\t") for line in done.stdout.splitlines()]
    assert [int(limit) for limit, _, _ in told] == limits
    for _, sentence, left in told:
        assert "could not be written" in sentence and "File too large" in sentence and left == ""
