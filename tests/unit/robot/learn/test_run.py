"""A run is whatever stages it is given: it knows none of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robot.core.errors import SailError
from robot.learn.journal import RunState
from robot.learn.run import LoopEvent, Run


class Say:
    """Write its name and the round into a list; die where it is told to."""

    def __init__(self, name: str, said: list[str], for_the_next: bool = False, dies_at: int = -1) -> None:
        self.name, self.said, self.for_the_next, self.dies_at = name, said, for_the_next, dies_at

    def resume(self, run: Run) -> None:
        self.said.append(f"resume {self.name}")

    def do(self, run: Run) -> None:
        if run.iteration == self.dies_at:
            raise KeyboardInterrupt
        self.said.append(f"{self.name} {run.iteration}")

    def turn(self, run: Run) -> None:
        self.said.append(f"turn {self.name} {run.iteration}")


def about(state: RunState) -> dict[str, Any]:
    return {"iteration": state["iteration"]}


def a_run(folder: Path, said: list[str], iterations: int = 1, dies_at: int = -1, **described: Any) -> Run:
    stages = [Say("practise", said), Say("improve", said, True), Say("show", said, False, dies_at)]
    return Run(folder, stages, iterations, {"task": "toy", "iterations": iterations, **described}, about)


RESUMED = [f"resume {name}" for name in ("practise", "improve", "show")]
TURNED = [f"turn {name} 1" for name in ("practise", "improve", "show")]


def test_every_round_does_each_stage_and_the_last_leaves_out_what_only_a_further_one_gains_from(tmp_path: Path) -> None:
    said: list[str] = []
    records = a_run(tmp_path, said).run()
    assert said == [*RESUMED, "practise 0", "improve 0", "show 0", *TURNED, "practise 1", "show 1"]
    assert [record["iteration"] for record in records] == [0, 1]


def test_a_run_goes_on_at_the_stage_that_it_was_stopped_in(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        a_run(tmp_path, said, dies_at=0).run()
    said.clear()
    assert len(a_run(tmp_path, said).run()) == 2
    assert said == [*RESUMED, "show 0", *TURNED, "practise 1", "show 1"]


def test_a_run_that_has_ended_goes_on_with_what_its_last_round_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    a_run(tmp_path, said, iterations=0).run()
    assert said == [*RESUMED, "practise 0", "show 0"]
    said.clear()
    a_run(tmp_path, said, iterations=1).run()
    assert said == [*RESUMED, "improve 0", "show 0", *TURNED, "practise 1", "show 1"]


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    a_run(tmp_path, [], judge="a classifier").run()
    with pytest.raises(SailError, match="another judge \\(a classifier\\): take another folder"):
        a_run(tmp_path, [], judge="another classifier").run()


@pytest.mark.parametrize("name", ["practise", "record", "done"])
def test_stages_need_names_of_their_own(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names of their own"):
        Run(tmp_path, [Say("practise", []), Say(name, [])], 1, {}, about)


def test_who_listens_hears_where_the_run_is(tmp_path: Path) -> None:
    heard: list[LoopEvent] = []
    run = a_run(tmp_path, [])
    run.on_event = heard.append
    run.run()
    assert [(event.kind, event.iteration) for event in heard] == [
        ("run_started", 0), ("iteration_finished", 0), ("iteration_finished", 1), ("run_finished", 1),
    ]  # fmt: skip
