"""A report names the run it is about, not the command that draws it again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from robot.cli.improve import Narrator
from robot.cli.main import main
from robot.cli.reporting import origin_of, page_of, report_on, row_of, use_of_best
from robot.cli.screen import Screen, meter
from robot.core.errors import SailError
from robot.learn.journal import Journal, RunState
from robot.learn.run import LoopEvent

STATE = RunState(
    format=1,
    run="ab12",
    settings={"task": "door-close", "instruction": "close the door"},
    iteration=0,
    phase="rollouts",
    models={},
    bandit=None,
    planner="",
    share=0.0,
    timings={},
    training={},
    peak_memory_bytes=0,
)


def test_a_report_drawn_again_shows_the_run_s_own_command_and_revision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path)
    journal.save(STATE)
    journal.add_session({"command": "sail improve task=door-close", "revision": "aaaaaaaaaaaa"})
    assert main(["report", f"run={tmp_path}"]) == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<code>sail improve task=door-close</code>" in page
    assert "<code>aaaaaaaaaaaa</code>" in page
    assert "sail report" not in page


@pytest.mark.parametrize(
    ("revisions", "told"),
    [
        (["aaa"], "aaa"),
        (["aaa", "aaa"], "aaa"),
        (["aaa", "bbb", "aaa", "ccc-dirty"], "aaa (resumed at bbb, ccc-dirty)"),
    ],
)
def test_revisions_of_resumes_are_told_where_they_differ(revisions: list[str], told: str, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number, revision in enumerate(revisions):
        journal.add_session({"command": f"command {number}", "revision": revision})
    assert origin_of(journal) == ("command 0", told)


def test_a_run_of_an_earlier_version_says_that_it_does_not_know(tmp_path: Path) -> None:
    assert origin_of(Journal(tmp_path)) == ("not recorded", "not recorded")


@pytest.mark.parametrize(
    ("planner", "key"),
    [
        ("planner: starter/planner", "planner.planner"),
        ("planner: {planner: starter/planner}", "planner.planner.planner"),
    ],
)
def test_the_report_says_how_to_use_the_best_models(planner: str, key: str, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a run")
    journal.folder.mkdir()
    (journal.folder / "config.yaml").write_text(f"planner: {{{planner}}}\n")
    acted: list[dict[str, str | None]] = [
        {"planner": None, "inverse_dynamics": None},
        {"planner": "iteration-00/planner", "inverse_dynamics": None},
        {"planner": "iteration-01/planner", "inverse_dynamics": "iteration-01/inverse_dynamics"},
    ]
    state = STATE | {"acted": acted}
    command = "sail improve task=door-close planner=adapted planner.strength=0.5 iterations=2 instruction='shut it'"
    journal.add_session({"command": command, "revision": "aaa"})
    assert use_of_best(journal, state) is None
    for iteration, successes in enumerate((3, 9, 8)):
        journal.add_iteration({"iteration": iteration, "successes": successes, "rollouts": 10})
    best = use_of_best(journal, state)
    assert best == (
        1,
        "sail evaluate task=door-close planner=adapted planner.strength=0.5 'instruction=shut it' "
        f"'{key}={journal.folder}/iteration-00/planner'",
    )
    journal.add_iteration({"iteration": 0, "successes": 10, "rollouts": 10})
    assert use_of_best(journal, state) is None  # the starter did best


def test_the_report_names_the_adaptation_that_fine_tuned_models_acted_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    journal.folder.mkdir()
    (journal.folder / "config.yaml").write_text("planner: {planner: a/folder, adaptation: ipa, finetuned: in_domain}\n")
    state = STATE | {"acted": [{"planner": None}, {"planner": "iteration-00/planner"}]}
    command = "sail improve task=door-close planner=adapted planner.adaptation=ipa"
    journal.add_session({"command": command, "revision": "aaa"})
    for iteration in range(2):
        journal.add_iteration({"iteration": iteration, "successes": iteration, "rollouts": 10})
    assert use_of_best(journal, state) == (
        1,
        f"sail evaluate task=door-close planner=adapted planner.planner={journal.folder}/iteration-00/planner "
        "planner.adaptation=in_domain",
    )


def iteration(number: int, successes: int) -> dict[str, Any]:
    nothing = {"successes": 0, "rollouts": 0}
    return {
        "iteration": number,
        "successes": successes,
        "rollouts": 10,
        "exploration": nothing,
        "collected": successes,
        "timings": {},
        "peak_memory_bytes": {"together": 2**30},
    }


def test_a_run_has_a_report_after_every_round_and_goes_on_where_it_cannot_be_drawn(tmp_path: Path) -> None:
    journal, file = Journal(tmp_path), io.StringIO()
    journal.save(STATE | {"acted": []})
    page = page_of(tmp_path)
    console = Screen(file, is_terminal=False)
    with meter(console) as progress:
        narrator = Narrator(console, progress, journal, "close the door")
        narrator.hear(LoopEvent("run_started", 0, {"resumed": False}))
        assert str(page) in file.getvalue() and not page.exists()
        for number, successes in enumerate((3, 7)):
            journal.add_iteration(iteration(number, successes))
            narrator.hear(LoopEvent("iteration_finished", number, iteration(number, successes)))
            shown = page.read_text(encoding="utf-8")
            assert [f"<td>{successes}/10</td>" in shown for successes in (3, 7)] == [True, number == 1]
        page.with_name("config.yaml").unlink()
        page.with_name("config.yaml").mkdir()
        narrator.hear(LoopEvent("iteration_finished", 1, iteration(1, 7)))
    assert "The report could not be drawn: " in file.getvalue()
    assert page.read_text(encoding="utf-8") == shown


def test_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SailError, match="holds no run"):
        report_on(tmp_path)


@pytest.mark.parametrize(
    ("memory", "gib"),
    [({"together": 3 * 2**30, "process": 2**30}, 3.0), ({"process": 2**30, "largest_worker": 2**30}, 2.0)],
)
def test_the_memory_shown_is_that_of_all_processes_together(memory: dict[str, int], gib: float) -> None:
    record: dict[str, Any] = {
        "iteration": 0,
        "successes": 1,
        "rollouts": 2,
        "exploration": {"successes": 0, "rollouts": 0},
        "collected": 1,
        "timings": {"rollouts_s": 60.0, "planner_training_s": 60.0, "planning_s": 30.0},
        "peak_memory_bytes": memory,
    }
    row = row_of(record)
    assert row.memory_gib == gib
    assert row.minutes == 2.0
