"""Kill the loop wherever it hurts; what comes out must not differ."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from robot.core.data import Outcome
from robot.core.errors import HeldError, SailError
from robot.episodes.repair.doctor import examine
from robot.episodes.steps import write_steps
from robot.episodes.store import EpisodeStore
from robot.learn.journal import Journal
from tests.unit.robot.episodes.samples import assert_same
from tests.unit.robot.learn.toy_loop import make_loop

ROOT = Path(__file__).parents[4]
MEASURED = ("timings", "peak_memory_bytes", "run", "labels")  # the last is a hash over names that hold the run's


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a run left behind, without what a clock or a die decided."""
    journal = Journal(folder / "run")
    state = journal.state()
    assert state is not None
    name = state["run"]
    records = [{key: value for key, value in one.items() if key not in MEASURED} for one in journal.iterations()]
    left = {
        "iterations": records,
        "attempts": [[_checked(folder, one) for one in journal.attempts(iteration)] for iteration in range(3)],
        "phase": state["phase"],
        "bandit": state["bandit"],
        "models": [json.loads(path.read_text()) for path in sorted((folder / "run").glob("iteration-*/*/model.json"))],
        "episodes": sorted(path.name for path in (folder / "run" / "episodes").iterdir() if path.name[0] != "."),
        "verdicts": [
            len(path.read_text().splitlines()) for path in sorted((folder / "run" / "episodes").glob("*/labels.jsonl"))
        ],
    }
    assert left["verdicts"], "judges' labels are not where they are looked for"
    replaced: dict[str, Any] = json.loads(json.dumps(left).replace(name, "NAME"))
    return replaced


def _checked(folder: Path, attempt: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attempt without the id of its verdict, which is drawn by a die, once that is found among its labels."""
    labels = EpisodeStore(folder / "run" / "episodes").labels(attempt["episode"])
    assert attempt["label"] in {label.label_id for label in labels}
    return {key: value for key, value in attempt.items() if key != "label"}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    make_loop(folder).run()
    return outcome(folder)


def start(folder: Path, *where: str) -> int:
    program = Path(__file__).with_name("toy_loop.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(program), str(folder), *where], env=environment, check=False, capture_output=True
    ).returncode


@pytest.mark.parametrize(
    "where",
    [
        ("act", "70"),  # iteration 0, attempts with the true instruction
        ("act", "130"),  # iteration 0, exploring
        ("train", "2"),
        ("event:training_finished", "2"),  # a model is saved, the state not yet
        ("event:attempt_finished", "7"),
        ("event:rollouts_finished", "2"),
        ("event:iteration_finished", "1"),  # the record is written, the state not yet
    ],
)
def test_a_killed_run_ends_as_an_uninterrupted_one(
    where: tuple[str, str], tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    assert start(tmp_path, *where) == -signal.SIGKILL
    before = Journal(tmp_path / "run").state()
    assert before is not None
    assert before["phase"] != "done"
    make_loop(tmp_path, size=2).run()
    assert outcome(tmp_path) == uninterrupted
    assert list(examine(tmp_path / "run" / "episodes")) == []  # nor is anything left open


@pytest.mark.parametrize("repaired", [False, True])
def test_what_was_flushed_of_attempts_that_were_killed_is_there(
    repaired: bool, tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    assert start(tmp_path, "act", "34") == -signal.SIGKILL  # three robots, 33 steps each
    store = EpisodeStore(tmp_path / "run" / "episodes")
    assert store.ids() == []
    if repaired:
        assert [finding.done for finding in examine(store.folder, repair=True)] == [True] * 3
    recovered = {name: store.load(name) for name in store.ids()}
    make_loop(tmp_path, size=2).run()
    left = outcome(tmp_path)
    left["episodes"] = [name for name in left["episodes"] if not name.endswith("-recovered")]
    assert left == uninterrupted
    assert len(recovered) == 3 * repaired
    for name, saved in recovered.items():
        assert len(saved) == 32 and saved.outcome is Outcome.INFRASTRUCTURE_FAULT
        assert_same(saved, store.load(name.removesuffix("-recovered")), steps=32)
    assert len(list((store.folder / ".set-aside").iterdir())) == 3
    assert list(examine(store.folder)) == []


def test_killed_again_and_again(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    for _ in range(3):
        assert start(tmp_path, "act", "55") == -signal.SIGKILL
    make_loop(tmp_path).run()
    assert outcome(tmp_path) == uninterrupted


def test_a_second_process_is_told_who_works_at_the_run_and_harms_nothing(
    tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    program = [sys.executable, str(Path(__file__).with_name("toy_loop.py")), str(tmp_path), "pause", "20"]
    first = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while first.poll() is None and not (tmp_path / "paused").exists():
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        with pytest.raises(HeldError) as told:
            make_loop(tmp_path).run()
    finally:
        os.kill(first.pid, signal.SIGCONT)
    sentence = str(told.value)
    assert f"{tmp_path / 'run'} is in use by process {first.pid}" in sentence and "toy_loop" in sentence
    assert "another seed=" in sentence
    assert first.wait(120) == 0
    assert outcome(tmp_path) == uninterrupted
    assert not (tmp_path / "run" / ".held").exists()


def test_ctrl_c_leaves_a_state_to_resume(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_loop(tmp_path, "interrupt", 110).run()
    done = len(Journal(tmp_path / "run").attempts(0))
    assert 0 < done < 12
    again = make_loop(tmp_path)
    seen: list[int] = []
    again.on_event = lambda event: seen.append(event.iteration) if event.kind == "attempt_finished" else None
    again.run()
    assert seen.count(0) == 12 - done
    assert outcome(tmp_path) == uninterrupted


def test_an_episode_stored_before_it_was_written_down_is_not_attempted_again(
    tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_loop(tmp_path, "interrupt", 110).run()
    book = tmp_path / "run" / "iteration-00" / "attempts.jsonl"
    lines = book.read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if "outcome" in line)
    book.write_text("".join(lines[:last]) + lines[last][:17])  # torn in the middle
    make_loop(tmp_path).run()
    assert outcome(tmp_path) == uninterrupted


def test_a_full_disk_leaves_a_state_to_resume(
    tmp_path: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [5]

    def full(*args: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        write_steps(*args)

    monkeypatch.setattr("robot.episodes.writer.write_steps", full)
    with pytest.raises(SailError, match="No space left"):
        make_loop(tmp_path).run()
    monkeypatch.undo()
    monkeypatch.setattr("os.fsync", lambda _: None)
    make_loop(tmp_path).run()
    assert outcome(tmp_path) == uninterrupted


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    records = make_loop(tmp_path).run()
    shutil.rmtree(tmp_path / "run" / "episodes")
    again = make_loop(tmp_path, "act", 1)
    assert again.run() == records
