"""SAIL: attempt a task, keep what worked, fine-tune on it, attempt again.

Source: Luo, Zeng, Jia, Du, Sun (2025), Self-adapting improvement loops for robotic learning, arXiv 2506.06658. What
differs: part of an iteration's rollouts may borrow other words (`robot.learn.exploration`), and what the judge keeps of
those is stored and learnt under the true instruction.

Iteration 0 rolls out the starter; each iteration but the last then fine-tunes. Every step is written down in the run
folder before the next begins (`robot.learn.journal`), so a killed run goes on where it was: finished episodes are
never attempted again and give the same results as an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from robot.core.data import Episode, SamplerSettings, Verdict
from robot.core.errors import SailError
from robot.core.files import FolderLock
from robot.core.protocols import InverseDynamics, Learner, Planner, RewardModel, RobotPool
from robot.core.provenance.memory import MemoryWatch, own_peak_bytes
from robot.episodes.arbitration import own_label, settled
from robot.episodes.description import Origin
from robot.episodes.labels import NOBODY, Field, Label, in_force, snapshot_hash
from robot.episodes.store import EpisodeStore, StoredEpisodes
from robot.learn.attempts import Exploration, IterationPlan, PlannedAttempt, arm_of, counts, training_seed
from robot.learn.exploration import InstructionBandit
from robot.learn.journal import AttemptRecord, Journal, Phase, RunState
from robot.learn.numbers import added, describe_attempts
from robot.rollouts.recording import recorder
from robot.rollouts.rollout import Attempt, RolloutSettings, RolloutTimings, rollout

LearnerName = Literal["planner", "inverse_dynamics"]
ANOTHER_RUN = "begin another run with another seed="
"""What somebody may do who finds a run in use."""
LEARNERS: tuple[LearnerName, ...] = ("planner", "inverse_dynamics")


@dataclass(frozen=True)
class SailSettings:
    """Say what is improved and how long.

    `iterations`: fine-tunings, so iterations 0 … `iterations` roll out, with `rollouts` attempts each. `accumulate`:
    learn from all iterations so far and not from the last alone. `finetune_from`: go on with the `previous`
    iteration's models, with those that did `best` so far, or take the `starter` each time. `enough`: the judged success
    rate with the true instruction from which on an iteration trains nothing; above 1 it always trains. `keep_above`:
    the probability of success a judge must exceed. `sampler`: what attempts with the true instruction are planned
    with. `method` names the run in the results.
    """

    task: str
    instruction: str
    iterations: int = 3
    rollouts: int = 30
    seed: int = 0
    accumulate: bool = True
    finetune_from: Literal["previous", "best", "starter"] = "previous"
    enough: float = 2.0
    keep_above: float = 0.5
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    method: str = "sail"

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise ValueError(f"The instruction of task {self.task!r} is empty: say in words what the robot should do.")
        for name, least in (("iterations", 0), ("rollouts", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.finetune_from not in ("previous", "best", "starter"):
            raise ValueError(f"finetune_from must be 'previous', 'best' or 'starter', got {self.finetune_from!r}.")
        if not self.enough > 0:
            raise ValueError(f"The success rate that is enough must be above 0, got {self.enough}.")


@dataclass(frozen=True)
class LoopEvent:
    """Tell what just happened, for whoever prints or draws it.

    `kind`: `run_started` (data: resumed; done, where nothing is left to do), `iteration_started`, `attempt_finished`
    (the `AttemptRecord`), `rollouts_finished` (the record of the iteration without its training), `training_started`
    (learner), `training_finished` (learner, metrics), `iteration_finished` (the whole record), `run_finished`.
    """

    kind: str
    iteration: int
    data: Mapping[str, Any]


OnEvent = Callable[[LoopEvent], None]


class SailLoop:
    """Run SAIL in a folder, from wherever the folder says the run is.

    `make_pool` opens the robots for the rollouts of an iteration; they are closed while models train. A learner that
    is None leaves its model as it is. `exploration` None: every attempt uses the true instruction.
    """

    def __init__(
        self,
        folder: Path,
        settings: SailSettings,
        make_pool: Callable[[], RobotPool],
        planner: Planner,
        inverse_dynamics: InverseDynamics,
        judge: RewardModel,
        store: EpisodeStore,
        planner_learner: Learner | None = None,
        inverse_dynamics_learner: Learner | None = None,
        exploration: Exploration | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        self.settings = settings
        self.make_pool = make_pool
        self.planner = planner
        self.inverse_dynamics = inverse_dynamics
        self.judge = judge
        self.store = store
        self.learners = {"planner": planner_learner, "inverse_dynamics": inverse_dynamics_learner}
        self.exploration = exploration
        self.on_event = on_event
        self.journal = Journal(Path(folder))
        self.memory = MemoryWatch()

    def run(self) -> list[dict[str, Any]]:
        """Carry the run through to its end and return the record of every iteration.

        A run that has ended goes on where more `iterations` are asked for, beginning with the training that its last
        iteration left out. Raises SailError when the folder holds a run with other settings or cannot be written, and
        HeldError where another process works at it. A KeyboardInterrupt goes through and leaves a state that `run`
        takes up again.
        """
        with FolderLock(self.journal.folder, ANOTHER_RUN):
            return self._run()

    def _run(self) -> list[dict[str, Any]]:
        state, resumed = self._open()
        self._emit("run_started", state, {"resumed": resumed, "run": state["run"], "done": state["phase"] == "done"})
        with self.memory:
            for name, learner in self.learners.items():
                if learner is not None:
                    learner.restore(self._model_folder(state, name))
            while state["phase"] != "done":
                self._do(state)
                self._save(state)
        self._emit("run_finished", state, {})
        return self.journal.iterations()

    def _open(self) -> tuple[RunState, bool]:
        """Return the state of the folder's run, or of a new one, and whether it was there already."""
        described = self._described()
        state = self.journal.state()
        if state is not None:
            differing = sorted(
                name
                for name in (described.keys() | state["settings"]) - {"iterations"}
                if described.get(name) != state["settings"].get(name)
            )
            if differing:
                raise SailError(
                    f"{self.journal.folder} holds a run with another {differing[0]} "
                    f"({state['settings'].get(differing[0])}): take another folder, or the same settings to resume."
                )
            state.setdefault("peak_memory_bytes", 0)
            state.setdefault("share", 0.0)
            if state["phase"] == "done" and state["iteration"] < self.settings.iterations:
                state["phase"] = "planner"
            if state["phase"] != "rollouts" or not self.journal.attempts(state["iteration"]):
                state["settings"]["iterations"] = self.settings.iterations
            return state, True
        state = RunState(
            format=1,
            run=secrets.token_hex(4),
            settings=described,
            iteration=0,
            phase="rollouts",
            models=dict.fromkeys(LEARNERS),
            acted=[],
            bandit=None if self.exploration is None else self.exploration.bandit.state(),
            planner="",
            share=0.0,
            timings={},
            training={},
            labels={},
            peak_memory_bytes=0,
        )
        self.journal.save(state)
        return state, False

    def _save(self, state: RunState) -> None:
        """Write down where the run is and what it has taken so far."""
        state["peak_memory_bytes"] = max(state["peak_memory_bytes"], self.memory.peak_bytes())
        self.journal.save(state)

    @contextlib.contextmanager
    def _timed(self, state: RunState, measure: Callable[[], Mapping[str, float]]) -> Iterator[Callable[[], None]]:
        """Add what `measure` says to the iteration's timings: at the end, and whenever what is lent here is called.

        What an interrupted session took is written down too, so that a resumed iteration's timings are those of all.
        """
        earlier = dict(state["timings"])

        def note() -> None:
            state["timings"] = added(earlier, measure())

        try:
            yield note
        except BaseException:
            note()
            with contextlib.suppress(SailError):  # what went wrong is said, not that it could not be timed
                self._save(state)
            raise
        note()

    def _described(self) -> dict[str, Any]:
        """Return, as JSON holds it, everything of the settings that decides what a run does."""
        described = dataclasses.asdict(self.settings)
        described["judge"] = type(self.judge).__name__
        described["starter planner"] = self.planner.identity
        described["learns"] = [name for name in LEARNERS if self.learners[name] is not None]
        exploration = None
        if self.exploration is not None:
            bandit = {
                one.name: getattr(self.exploration.bandit, one.name) for one in dataclasses.fields(InstructionBandit)
            }
            exploration = {one.name: getattr(self.exploration, one.name) for one in dataclasses.fields(Exploration)}
            exploration["bandit"] = {name: value for name, value in bandit.items() if name != "tallies"}
        described["exploration"] = exploration
        return cast(dict[str, Any], json.loads(json.dumps(described, default=dataclasses.asdict)))

    def _do(self, state: RunState) -> None:
        """Do the next phase and move the state on."""
        last = state["iteration"] >= self.settings.iterations
        phase = state["phase"]
        if phase == "rollouts":
            self._emit("iteration_started", state, {"rollouts": self.settings.rollouts})
            self._roll_out(state)
            state["settings"]["iterations"] = self.settings.iterations
            self._emit("rollouts_finished", state, self._record(state))
            state["phase"] = "record" if last else "planner"
        elif phase == "planner":
            self._train(state, "planner")
            state["phase"] = "inverse_dynamics"
        elif phase == "inverse_dynamics":
            self._train(state, "inverse_dynamics")
            state["phase"] = "record"
        else:
            record = self._record(state)
            self.journal.add_iteration(record)
            self._emit("iteration_finished", state, record)
            self._advance(state, last)

    def _advance(self, state: RunState, last: bool) -> None:
        """Move the state on to the next iteration."""
        next_phase: Phase = "done" if last else "rollouts"
        state["phase"] = next_phase
        if not last:
            state["iteration"] += 1
            state["timings"], state["training"], state["labels"], state["peak_memory_bytes"] = {}, {}, {}, 0
            self.memory.forget()
            if self.exploration is not None and state["bandit"] is not None:
                self.exploration.bandit.restore(state["bandit"])
                self.exploration.bandit.forget(self.exploration.keep)
                state["bandit"] = self.exploration.bandit.state()

    def _roll_out(self, state: RunState) -> None:
        """Carry out what is missing of an iteration's waves and learn from each wave which words work."""
        began = time.perf_counter()
        timings = RolloutTimings()
        state["planner"] = self.planner.identity  # who acts, before it is trained
        state["acted"][state["iteration"] :] = [dict(state["models"])]
        plan = self._plan(state)

        def measure() -> Mapping[str, float]:
            return {
                "rollouts_s": time.perf_counter() - began,
                "planning_s": timings.planning_s,
                "acting_s": timings.acting_s,
                "resetting_s": timings.resetting_s,
                "plans": float(timings.plans),
                "steps": float(timings.steps),
                "retries": float(timings.retries),
            }

        with self._timed(state, measure) as note:
            self._roll_out_waves(state, plan, timings, note)
        if plan.exploration is not None:
            state["bandit"] = plan.exploration.bandit.state()
        state["share"] = plan.share

    def _roll_out_waves(
        self, state: RunState, plan: IterationPlan, timings: RolloutTimings, note: Callable[[], None]
    ) -> None:
        """Carry out wave after wave; `note` is called as attempts end, to write down the time they took."""
        pool: RobotPool | None = None
        wave = 0
        try:
            while planned := plan.wave(wave, self.journal.attempts(state["iteration"])):
                done = {record["index"] for record in self.journal.attempts(state["iteration"])}
                stored = set(self.store.ids())
                missing = [
                    item for item in planned if item.index not in done and not self._recover(state, item, stored)
                ]
                fresh: dict[str, Episode] = {}
                if missing:
                    pool = pool or self.make_pool()
                    fresh = self._attempt(state, pool, missing, timings, note)
                self._judge_wave(state, wave, fresh)
                if plan.exploration is not None:
                    judged = [record for record in self.journal.attempts(state["iteration"]) if record["wave"] == wave]
                    plan.exploration.bandit.update(
                        (arm_of(record), record.get("kept", False)) for record in judged if counts(record)
                    )
                wave += 1
        finally:
            if pool is not None:
                pool.close()

    def _plan(self, state: RunState) -> IterationPlan:
        exploration = self.exploration
        if exploration is not None:
            if state["bandit"] is not None:
                exploration.bandit.restore(state["bandit"])
            # An iteration that was begun as the last one ends as it was begun, however many follow it by now.
            if state["iteration"] >= state["settings"]["iterations"] and not exploration.explore_last:
                exploration = None
        return IterationPlan(
            self.settings.task,
            self.settings.instruction,
            self.settings.seed,
            state["iteration"],
            self.settings.rollouts,
            self.settings.sampler,
            exploration,
        )

    def _attempt(
        self,
        state: RunState,
        pool: RobotPool,
        missing: Sequence[PlannedAttempt],
        timings: RolloutTimings,
        note: Callable[[], None],
    ) -> dict[str, Episode]:
        """Roll out attempts, recording each as it runs; write each down the moment it ends; return episodes by id."""
        fresh: dict[str, Episode] = {}
        ids = [self._episode_id(state, item) for item in missing]

        def finished(number: int, attempt: Attempt, episode: Episode) -> None:
            fresh[ids[number]] = episode
            self._write_down(state, missing[number], ids[number], episode)
            note()
            self._save(state)

        rollout(
            pool,
            self.planner,
            self.inverse_dynamics,
            [item.attempt for item in missing],
            self.settings.rollout,
            finished,
            state["run"],
            timings,
            recorder(self.store, ids, pool.spec, state["run"], Origin(state["run"], state["iteration"])),
        )
        return fresh

    def _episode_id(self, state: RunState, item: PlannedAttempt) -> str:
        return f"{self.settings.task}-{state['run']}-i{state['iteration']:02d}-a{item.index:03d}"

    def _recover(self, state: RunState, item: PlannedAttempt, stored: Collection[str]) -> bool:
        """Write down an episode that was stored just before the process died; return whether there was one."""
        episode_id = self._episode_id(state, item)
        if episode_id not in stored:
            return False
        self._write_down(state, item, episode_id, self.store.load(episode_id))
        return True

    def _write_down(self, state: RunState, item: PlannedAttempt, episode_id: str, episode: Episode) -> None:
        sampler = item.attempt.sampler or self.settings.sampler
        record = AttemptRecord(
            index=item.index,
            wave=item.wave,
            explored=item.explored,
            seed=item.attempt.seed,
            spoken=item.attempt.words,
            negative_prompt=sampler.negative_prompt,
            guidance_scale=sampler.guidance_scale,
            episode=episode_id,
            outcome=episode.outcome.value,
            steps=len(episode),
            truth=None if episode.success is None else bool(episode.success.any()),
        )
        self.journal.add_attempt(state["iteration"], record)
        self._emit("attempt_finished", state, record)

    def _judge_wave(self, state: RunState, wave: int, fresh: Mapping[str, Episode]) -> None:
        """Ask the judge about the attempts of a wave that have no verdict yet and write down what it says.

        `fresh` holds episodes that need not be read from disk.
        """
        unjudged = [
            record
            for record in self.journal.attempts(state["iteration"])
            if record["wave"] == wave and "kept" not in record and counts(record)
        ]
        if not unjudged:
            return
        names = [record["episode"] for record in unjudged]
        verdicts = self.judge.judge([fresh[name] if name in fresh else self.store.load(name) for name in names])
        for record, verdict in zip(unjudged, verdicts, strict=True):
            label = self._said(record["episode"], verdict)
            kept = verdict.probability > self.settings.keep_above
            self.journal.add_verdict(state["iteration"], record["index"], kept, verdict.probability, label.label_id)

    def _said(self, name: str, verdict: Verdict) -> Label:
        """Store a verdict, unless it was just before the process died, and return the label that it is."""
        labels = in_force(self.store.labels(name))
        said = [one for one in labels if one.field is Field.SUCCESS and one.span is None]
        same = [one for one in said if (one.source, one.model) == (verdict.source, verdict.model)][-1:]
        if same and same[0].value == verdict.probability:
            return same[0]
        return self.store.append_verdict(name, verdict)

    def _verdict(self, record: AttemptRecord) -> Verdict:
        """Return what counts for training: what a person has said of an attempt, else what this run's judge said.

        A judge without opinion keeps it, which is no statement of success: the source is `none`.
        """
        probability, labels = record.get("probability", 0.0), self.store.labels(record["episode"])
        own = record.get("label") or own_label(labels, probability)
        said = [label.source for label in labels if label.label_id == own]
        return settled(labels, own) or Verdict(probability, said[0] if said else "judge")

    def _model_folder(self, state: RunState, name: str) -> Path | None:
        relative = state["models"][name]
        return None if relative is None else self.journal.folder / relative

    def _rate(self, iteration: int) -> float:
        """Return the judged success rate of an iteration's attempts with the true instruction.

        It is 0 without any. What a judge keeps that has no opinion is none: it does not say how well it went.
        """
        plain = [one for one in self.journal.attempts(iteration) if not one["explored"] and counts(one)]
        verdicts = [self._verdict(one) for one in plain]
        good = [one for one in verdicts if one.source != NOBODY and one.probability > self.settings.keep_above]
        return len(good) / len(plain) if plain else 0.0

    def _base(self, state: RunState, name: LearnerName) -> Path | None:
        """Return the folder of the model that training goes on from, None for the starter.

        The best so far is the one that acted in the iteration with the highest success rate, the later of equals.
        """
        chosen: Mapping[str, str | None] = state["models"]
        if self.settings.finetune_from == "starter":
            return None
        if self.settings.finetune_from == "best":
            best = max(range(state["iteration"] + 1), key=lambda iteration: (self._rate(iteration), iteration))
            chosen = state["acted"][best]
        relative = chosen[name]
        return None if relative is None else self.journal.folder / relative

    def _train(self, state: RunState, name: LearnerName) -> None:
        """Fine-tune one model on what has been collected, unless it is switched off or has nothing to learn from."""
        learner = self.learners[name]
        if learner is None:
            return
        first = 0 if self.settings.accumulate else state["iteration"]
        records = [
            record
            for iteration in range(first, state["iteration"] + 1)
            for record in self.journal.attempts(iteration)
            if counts(record)
        ]
        verdicts = [self._verdict(record) for record in records]
        kept = sum(verdict.probability > self.settings.keep_above for verdict in verdicts)
        if learner.needs_success and not kept:
            return
        if self._rate(state["iteration"]) >= self.settings.enough:
            return
        self._emit("training_started", state, {"learner": name, "successes": kept, "rollouts": len(records)})
        learner.restore(self._base(state, name))
        folder = self.journal.iteration_folder(state["iteration"]) / name
        episodes = StoredEpisodes(self.store, [record["episode"] for record in records])
        seed = training_seed(self.settings.seed, state["iteration"], name)
        state["labels"][name] = snapshot_hash({one: self.store.labels(one) for one in episodes.ids})
        began = time.perf_counter()
        timing = f"{name}_training_s"
        with self._timed(state, lambda: {timing: time.perf_counter() - began}):
            metrics = dict(learner.update(episodes, verdicts, folder, seed))
        # A session that was killed could write nothing down here, but the training's own state counts its seconds.
        state["timings"][timing] = max(state["timings"][timing], metrics.get("training_s", 0.0))
        state["models"][name] = str(folder.relative_to(self.journal.folder))
        state["training"][name] = metrics | {"seed": seed, "successes": float(kept), "rollouts": float(len(records))}
        self._emit("training_finished", state, {"learner": name, "metrics": metrics})

    def _record(self, state: RunState) -> dict[str, Any]:
        """Return everything there is to say in numbers about an iteration."""
        settings = self.settings
        about = {
            "method": settings.method,
            "iteration": state["iteration"],
            "task": settings.task,
            "seed": settings.seed,
        }
        return (
            about
            | describe_attempts(self.journal.attempts(state["iteration"]), state["share"])
            | {
                "training": dict(state["training"]),
                "labels": dict(state["labels"]),
                "timings": dict(state["timings"]),
                "planner": state["planner"],
                "models": dict(state["models"]),
                "peak_memory_bytes": {
                    "together": max(state["peak_memory_bytes"], self.memory.sample()),
                    "process": own_peak_bytes(),
                },
                "run": state["run"],
            }
        )

    def _emit(self, kind: str, state: RunState, data: Mapping[str, Any]) -> None:
        if self.on_event is not None:
            self.on_event(LoopEvent(kind, state["iteration"], data))
