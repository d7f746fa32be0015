"""Keep a run's book so that it can be killed at any point and taken up again.

A run folder holds `state.json` (where the run is; replaced atomically after each phase), `sessions.jsonl` (who worked
at it: a line for its start and for each resume), `iterations.jsonl` (one record per finished iteration) and
`iteration-00/attempts.jsonl`, … (a line when an episode ends, another when it has been judged). Lines are appended and
synchronised; one torn by a kill is ignored when read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from robot.core.errors import SailError
from robot.core.files import append_lines, write_whole
from robot.learn.exploration import BanditState


class RunState(TypedDict):
    """Say where a run is: what `state.json` holds.

    `phase` is the next thing to do in `iteration`: the name of a stage, `record` or `done`. `models` maps a stage that
    trains to the folder, relative to the run's, of the model in force (None: the starter), and `acted` says the same of
    each iteration's rollouts. `planner` names the one that acted, `share` is what was meant to explore, `labels` names
    by a hash what was said about the episodes each stage trained on; `timings`, `training` and `peak_memory_bytes` are
    the numbers of the iteration under way, over all sessions that have worked at it.
    """

    format: int
    run: str
    settings: dict[str, Any]
    iteration: int
    phase: str
    models: dict[str, str | None]
    acted: list[dict[str, str | None]]
    bandit: BanditState | None
    planner: str
    share: float
    timings: dict[str, float]
    training: dict[str, dict[str, float]]
    labels: dict[str, str]
    peak_memory_bytes: int


class AttemptRecord(TypedDict):
    """Describe one finished attempt: what was asked, what became of it, and, once judged, what the judge said.

    `explored`: whether it borrowed words. `truth`: the simulator's ground truth, None where there is none.
    `steps_to_success`: after how many it said so, where it did; earlier versions noted nothing. `kept` and
    `probability` are the judge's; absent until it has spoken, and for an attempt ended by an infrastructure fault.
    `label`: the id of what it said among the episode's labels; runs of earlier versions noted none.
    """

    index: int
    wave: int
    explored: bool
    seed: int
    spoken: str
    negative_prompt: str
    guidance_scale: float
    episode: str
    outcome: str
    steps: int
    truth: bool | None
    steps_to_success: NotRequired[int]
    kept: NotRequired[bool]
    probability: NotRequired[float]
    label: NotRequired[str]


class Session(TypedDict):
    """Say with what a run was begun or resumed: the command as typed and the git revision of the project."""

    command: str
    revision: str


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, none if it does not exist.

    A last line without its line end was torn by a kill and is left out. Raises SailError when another is damaged.
    """
    if not path.exists():
        return []
    *lines, _torn = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as problem:
            raise SailError(f"Line {number} of {path} is damaged ({problem.msg}).") from problem
    return found


class Journal:
    """Read and write the book of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def iteration_folder(self, iteration: int) -> Path:
        """Return the folder of an iteration."""
        return self.folder / f"iteration-{iteration:02d}"

    def state(self) -> RunState | None:
        """Return where the run is, None when it has not begun. Raises SailError when `state.json` cannot be read."""
        path = self.folder / "state.json"
        if not path.exists():
            return None
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            known = state["format"] == 1
        except (json.JSONDecodeError, KeyError, TypeError) as problem:
            raise SailError(f"{path} is damaged; start the run again in another folder.") from problem
        if not known:
            raise SailError(f"{path} was written by another version (format {state['format']}).")
        return cast(RunState, state)

    def save(self, state: RunState) -> None:
        """Replace `state.json`."""
        write_whole(self.folder / "state.json", json.dumps(state, indent=1))

    def sessions(self) -> list[Session]:
        """Return who has worked at the run, the one that began it first; none for a run of an earlier version."""
        return [cast(Session, line) for line in read_lines(self.folder / "sessions.jsonl")]

    def add_session(self, session: Session) -> None:
        """Write down that a session begins to work at the run."""
        append_lines(self.folder / "sessions.jsonl", [json.dumps(session)])

    def attempts(self, iteration: int) -> list[AttemptRecord]:
        """Return the finished attempts of an iteration in the order of their indices, with verdicts where given."""
        merged: dict[int, dict[str, Any]] = {}
        for line in read_lines(self.iteration_folder(iteration) / "attempts.jsonl"):
            merged.setdefault(int(line["index"]), {}).update(line)
        return [cast(AttemptRecord, merged[index]) for index in sorted(merged)]

    def add_attempt(self, iteration: int, record: AttemptRecord) -> None:
        """Write down an attempt whose episode has just been stored."""
        append_lines(self.iteration_folder(iteration) / "attempts.jsonl", [json.dumps(record)])

    def add_verdict(self, iteration: int, index: int, kept: bool, probability: float, label: str) -> None:
        """Write down what the judge said of an attempt, and the id of the label that this is in the store."""
        line = {"index": index, "kept": kept, "probability": probability, "label": label}
        append_lines(self.iteration_folder(iteration) / "attempts.jsonl", [json.dumps(line)])

    def iterations(self) -> list[dict[str, Any]]:
        """Return the records of the finished iterations."""
        return read_lines(self.folder / "iterations.jsonl")

    def add_iteration(self, record: Mapping[str, Any]) -> None:
        """Write down a finished iteration, in place of what was written down of it before."""
        records = [known for known in self.iterations() if known["iteration"] != record["iteration"]]
        text = "".join(json.dumps(known) + "\n" for known in [*records, record])
        write_whole(self.folder / "iterations.jsonl", text)
