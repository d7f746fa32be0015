"""Carry a run through: rounds of stages over one journal, which can be killed anywhere and goes on where it was.

A run is a list of stages, such as to collect attempts and to train a model. A round does each in turn and ends with a
record in numbers; the last round leaves out the stages that only a further round would gain from. Every step is
written down in the run's folder before the next begins (`robot.learn.journal`).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from robot.core.errors import SailError
from robot.core.files import FolderLock
from robot.core.provenance.memory import MemoryWatch, own_peak_bytes
from robot.learn.journal import Journal, RunState
from robot.learn.numbers import added

RECORD, DONE = "record", "done"
"""What the journal calls the end of a round and the end of a run; no stage is called so."""
ANOTHER_RUN = "begin another run with another seed="
"""What somebody may do who finds a run in use."""


@dataclass(frozen=True)
class LoopEvent:
    """Tell what just happened, for whoever prints or draws it.

    `kind`: `run_started` (data: resumed, run; done, where nothing is left to do), `iteration_finished` (the whole
    record), `run_finished`, and those that the stages tell: see each.
    """

    kind: str
    iteration: int
    data: Mapping[str, Any]


OnEvent = Callable[[LoopEvent], None]


class Stage(Protocol):
    """One thing that a round does.

    It may be killed anywhere and is then done again from its beginning, so it looks into the journal for what it has
    finished. Whatever it writes into the run's state is kept from round to round and from session to session.
    """

    @property
    def name(self) -> str:
        """Return what the journal calls it: a word that no other stage of the run has."""
        ...

    @property
    def for_the_next(self) -> bool:
        """Return whether only a further round gains from it, so that the last one leaves it out."""
        ...

    def resume(self, run: Run) -> None:
        """Put in force what earlier sessions made; called once, before anything is done."""
        ...

    def do(self, run: Run) -> None:
        """Do what is missing of it in the present round."""
        ...

    def turn(self, run: Run) -> None:
        """Get ready for the next round, whose number `run.iteration` is."""
        ...


class Run:
    """Carry out rounds of stages in a folder, from wherever the folder says the run is.

    `described`: everything that decides what the run does, as JSON holds it; a folder whose run differs in any of it
    is refused. `iterations`: rounds beyond the first. `describe` returns the numbers of the present round beside those
    that every run has.
    """

    def __init__(
        self,
        folder: Path,
        stages: Sequence[Stage],
        iterations: int,
        described: Mapping[str, Any],
        describe: Callable[[RunState], Mapping[str, Any]],
        on_event: OnEvent | None = None,
    ) -> None:
        names = [stage.name for stage in stages]
        if len({*names, RECORD, DONE}) != len(names) + 2:
            raise ValueError(f"The stages of a run need names of their own, got {', '.join(names)}.")
        self.stages = tuple(stages)
        self.iterations = iterations
        self.journal = Journal(Path(folder))
        self.on_event = on_event
        self.memory = MemoryWatch()
        self._described = dict(described)
        self._describe = describe
        self._state: RunState | None = None

    @property
    def state(self) -> RunState:
        """Return where the run is; there is none before it has been begun or taken up again."""
        if self._state is None:
            raise RuntimeError("The run has not begun.")
        return self._state

    @property
    def iteration(self) -> int:
        """Return the number of the present round, from 0."""
        return self.state["iteration"]

    def run(self) -> list[dict[str, Any]]:
        """Carry the run through to its end and return the record of every round.

        A run that has ended goes on where more `iterations` are asked for, beginning with what its last round left
        out. Raises SailError when the folder holds a run with other settings or cannot be written, and HeldError where
        another process works at it. A KeyboardInterrupt goes through and leaves a state that `run` takes up again.
        """
        with FolderLock(self.journal.folder, ANOTHER_RUN):
            return self._run()

    def _run(self) -> list[dict[str, Any]]:
        resumed = self._open()
        done = self.state["phase"] == DONE
        self.emit("run_started", {"resumed": resumed, "run": self.state["run"], "done": done})
        with self.memory:
            for stage in self.stages:
                stage.resume(self)
            while self.state["phase"] != DONE:
                self._go_on()
                self.save()
        self.emit("run_finished", {})
        return self.journal.iterations()

    def save(self) -> None:
        """Write down where the run is and what it has taken so far."""
        self.state["peak_memory_bytes"] = max(self.state["peak_memory_bytes"], self.memory.peak_bytes())
        self.journal.save(self.state)

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell whoever listens."""
        if self.on_event is not None:
            self.on_event(LoopEvent(kind, self.iteration, data))

    def record(self) -> dict[str, Any]:
        """Return everything there is to say in numbers about the present round."""
        state = self.state
        peaks = {"together": max(state["peak_memory_bytes"], self.memory.sample()), "process": own_peak_bytes()}
        return {
            **self._describe(state),
            "training": dict(state["training"]),
            "labels": dict(state["labels"]),
            "timings": dict(state["timings"]),
            "planner": state["planner"],
            "models": dict(state["models"]),
            "peak_memory_bytes": peaks,
            "run": state["run"],
        }

    @contextlib.contextmanager
    def timed(self, measure: Callable[[], Mapping[str, float]]) -> Iterator[Callable[[], None]]:
        """Add what `measure` says to the round's timings: at the end, and whenever what is lent here is called.

        What an interrupted session took is written down too, so that a resumed round's timings are those of all.
        """
        earlier = dict(self.state["timings"])

        def note() -> None:
            self.state["timings"] = added(earlier, measure())

        try:
            yield note
        except BaseException:
            note()
            with contextlib.suppress(SailError):  # what went wrong is said, not that it could not be timed
                self.save()
            raise
        note()

    def _open(self) -> bool:
        """Take up the folder's run, or begin one; return whether it was there already."""
        state = self.journal.state()
        if state is None:
            self._state = self._new()
            self.journal.save(self._state)
            return False
        self._state = state
        state["settings"] = self._settings_of(state)
        state.setdefault("peak_memory_bytes", 0)
        state.setdefault("share", 0.0)
        if state["phase"] == DONE and state["iteration"] < self.iterations:
            state["phase"] = next((stage.name for stage in self.stages if stage.for_the_next), RECORD)
        if state["phase"] != self.stages[0].name or not self.journal.attempts(state["iteration"]):
            state["settings"]["iterations"] = self.iterations
        return True

    def in_todays_terms(self, written: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was written down of a run as this version describes one."""
        return dict(written)

    def _settings_of(self, state: RunState) -> dict[str, Any]:
        """Return a run's settings in today's terms; raise SailError unless it is the run that was asked for."""
        known = self.in_todays_terms(state["settings"], self._described)
        for name in sorted((self._described.keys() | known) - {"iterations"}):
            if self._described.get(name) != known.get(name):
                raise SailError(
                    f"{self.journal.folder} holds a run with another {name} ({known.get(name)}): take another folder, "
                    "or the same settings to resume."
                )
        return self._described | {"iterations": known["iterations"]}

    def _new(self) -> RunState:
        return RunState(
            format=1,
            run=secrets.token_hex(4),
            settings=dict(self._described),
            iteration=0,
            phase=self.stages[0].name,
            models={},
            acted=[],
            bandit=None,
            planner="",
            share=0.0,
            timings={},
            training={},
            labels={},
            peak_memory_bytes=0,
        )

    def _go_on(self) -> None:
        """Do the next stage, or end the round, and move the state on."""
        last = self.iteration >= self.iterations
        if self.state["phase"] == RECORD:
            self._end_round(last)
            return
        names = [stage.name for stage in self.stages]
        at = names.index(self.state["phase"])
        self.stages[at].do(self)
        left = [stage.name for stage in self.stages[at + 1 :] if not (last and stage.for_the_next)]
        self.state["phase"] = left[0] if left else RECORD

    def _end_round(self, last: bool) -> None:
        record = self.record()
        self.journal.add_iteration(record)
        self.emit("iteration_finished", record)
        state = self.state
        if last:
            state["phase"] = DONE
            return
        state["phase"] = self.stages[0].name
        state["iteration"] += 1
        state["timings"], state["training"], state["labels"], state["peak_memory_bytes"] = {}, {}, {}, 0
        self.memory.forget()
        for stage in self.stages:
            stage.turn(self)
