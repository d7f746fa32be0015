"""What rounds of learning are made of: collect attempts and have them judged; train a model on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from robot.core.data import Episode
from robot.core.protocols import Learner, MadeOfModels, Policy, RewardModel, RobotPool, SuccessDetector
from robot.episodes.description import Origin
from robot.episodes.labels import snapshot_hash
from robot.judges.asking import judged
from robot.learn.attempts import Exploration, IterationPlan, PlannedAttempt, counts, phrasing_of, training_seed
from robot.learn.book import Book
from robot.learn.journal import AttemptRecord
from robot.learn.run import Run
from robot.rollouts.recording import recorder
from robot.rollouts.rollout import Attempt, RolloutSettings, RolloutTimings, rollout

Layout = Callable[[int, Exploration | None], IterationPlan]
"""Lays out the attempts of a round, given its number and how it explores."""


class Collect:
    """Attempt, wave by wave, have each wave judged, and learn from it which words work. A `Stage`.

    `make_pool` opens the robots; they are closed again while models train. `exploration` None: no attempt explores.
    Tells `iteration_started` (rollouts), `attempt_finished` (the `AttemptRecord`) and `rollouts_finished` (the record
    of the round without its training).
    """

    name = "rollouts"
    for_the_next = False

    def __init__(
        self,
        book: Book,
        judge: RewardModel,
        make_pool: Callable[[], RobotPool],
        policy: Policy,
        layout: Layout,
        settings: RolloutSettings,
        exploration: Exploration | None = None,
    ) -> None:
        self.book, self.judge, self.make_pool, self.policy = book, judge, make_pool, policy
        self.layout, self.settings, self.exploration = layout, settings, exploration

    def resume(self, run: Run) -> None:
        """Do nothing: each round takes its bandit's record from the run's state."""

    def turn(self, run: Run) -> None:
        """Let the bandit forget a part of what it knows, for the models have changed."""
        state = run.state
        if self.exploration is not None and state["bandit"] is not None:
            self.exploration.bandit.restore(state["bandit"])
            self.exploration.bandit.forget(self.exploration.keep)
            state["bandit"] = self.exploration.bandit.state()

    def do(self, run: Run) -> None:
        """Carry out what is missing of the round's waves."""
        began, timings = time.perf_counter(), RolloutTimings()
        state = run.state
        plan = self._plan(run)
        run.emit("iteration_started", {"rollouts": plan.rollouts})
        state["planner"] = planner_of(self.policy)  # who acts, before it is trained
        state["acted"][state["iteration"] :] = [dict(state["models"])]

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

        with run.timed(measure) as note:
            self._waves(run, plan, timings, note)
        if plan.exploration is not None:
            state["bandit"] = plan.exploration.bandit.state()
        state["share"] = plan.share
        state["settings"]["iterations"] = run.iterations
        run.emit("rollouts_finished", run.record())

    def _plan(self, run: Run) -> IterationPlan:
        exploration, state = self.exploration, run.state
        if exploration is not None:
            if state["bandit"] is not None:
                exploration.bandit.restore(state["bandit"])
            # A round that was begun as the last one ends as it was begun, however many follow it by now.
            if run.iteration >= state["settings"]["iterations"] and not exploration.explore_last:
                exploration = None
        return self.layout(run.iteration, exploration)

    def _waves(self, run: Run, plan: IterationPlan, timings: RolloutTimings, note: Callable[[], None]) -> None:
        """Carry out wave after wave; `note` is called as attempts end, to write down the time they took."""
        pool: RobotPool | None = None
        wave = 0
        try:
            while planned := plan.wave(wave, run.journal.attempts(run.iteration)):
                done = {record["index"] for record in run.journal.attempts(run.iteration)}
                stored = set(self.book.store.ids())
                missing = [item for item in planned if item.index not in done and not self._recover(run, item, stored)]
                fresh: dict[str, Episode] = {}
                if missing:
                    pool = pool or self.make_pool()
                    fresh = self._attempt(run, pool, missing, timings, note)
                self._judge(run, wave, fresh)
                if plan.exploration is not None:
                    judged = [one for one in run.journal.attempts(run.iteration) if one["wave"] == wave]
                    plan.exploration.bandit.update(
                        (phrasing_of(record), record.get("kept", False)) for record in judged if counts(record)
                    )
                wave += 1
        finally:
            if pool is not None:
                pool.close()

    def _attempt(
        self,
        run: Run,
        pool: RobotPool,
        missing: Sequence[PlannedAttempt],
        timings: RolloutTimings,
        note: Callable[[], None],
    ) -> dict[str, Episode]:
        """Roll out attempts, recording each as it runs; write each down the moment it ends; return episodes by id."""
        fresh: dict[str, Episode] = {}
        ids = [_episode_id(run, item) for item in missing]
        name = run.state["run"]

        def finished(number: int, attempt: Attempt, episode: Episode) -> None:
            fresh[ids[number]] = episode
            _write_down(run, missing[number], ids[number], episode)
            note()
            run.save()

        rollout(
            pool,
            self.policy,
            [item.attempt for item in missing],
            self.settings,
            finished,
            name,
            timings,
            recorder(self.book.store, ids, pool.spec, name, Origin(name, run.iteration)),
            self.judge if isinstance(self.judge, SuccessDetector) else None,
        )
        return fresh

    def _recover(self, run: Run, item: PlannedAttempt, stored: Collection[str]) -> bool:
        """Write down an episode that was stored just before the process died; return whether there was one."""
        episode_id = _episode_id(run, item)
        if episode_id not in stored:
            return False
        _write_down(run, item, episode_id, self.book.store.load(episode_id))
        return True

    def _judge(self, run: Run, wave: int, fresh: Mapping[str, Episode]) -> None:
        """Ask the judge about the attempts of a wave that have no verdict yet and write down what it says.

        `fresh` holds episodes that need not be read from disk.
        """
        store = self.book.store
        unjudged = [
            record
            for record in run.journal.attempts(run.iteration)
            if record["wave"] == wave and "kept" not in record and counts(record)
        ]
        if not unjudged:
            return
        names = [record["episode"] for record in unjudged]
        verdicts = judged(self.judge, [fresh[name] if name in fresh else store.load(name) for name in names])
        for record, verdict in zip(unjudged, verdicts, strict=True):
            label = self.book.say(record["episode"], verdict).label_id
            kept = verdict.probability > self.book.keep_above
            run.journal.add_verdict(run.iteration, record["index"], kept, verdict.probability, label)


class Train:
    """Fine-tune one model on what was collected. A `Stage`, whose name is what the model is called in the journal.

    A learner that is None leaves its model as it is. `seed` is the run's. `accumulate`: learn from all rounds so far
    and not from the last alone. `finetune_from`: go on with the `previous` round's model, with the one that did `best`
    so far, or with the `starter`. `enough`: the judged success rate from which on nothing is trained. Tells
    `training_started` (learner, successes, rollouts) and `training_finished` (learner, metrics).
    """

    for_the_next = True

    def __init__(
        self,
        name: str,
        learner: Learner | None,
        book: Book,
        seed: int,
        accumulate: bool = True,
        finetune_from: str = "previous",
        enough: float = 2.0,
    ) -> None:
        self.name, self.learner, self.book, self.seed = name, learner, book, seed
        self.accumulate, self.finetune_from, self.enough = accumulate, finetune_from, enough

    def resume(self, run: Run) -> None:
        """Put the model in force that was trained last."""
        run.state["models"].setdefault(self.name, None)
        if self.learner is not None:
            self.learner.restore(_folder(run, run.state["models"][self.name]))

    def turn(self, run: Run) -> None:
        """Do nothing: what was trained is in force already."""

    def do(self, run: Run) -> None:
        """Train, unless there is nothing to learn from or it goes well enough."""
        learner, state = self.learner, run.state
        if learner is None:
            return
        records = self.book.attempts(range(0 if self.accumulate else run.iteration, run.iteration + 1))
        verdicts = [self.book.verdict(record) for record in records]
        kept = sum(verdict.probability > self.book.keep_above for verdict in verdicts)
        if (learner.needs_success and not kept) or self.book.rate(run.iteration) >= self.enough:
            return
        run.emit("training_started", {"learner": self.name, "successes": kept, "rollouts": len(records)})
        learner.restore(self._base(run))
        folder = run.journal.iteration_folder(run.iteration) / self.name
        episodes = self.book.episodes(records)
        seed = training_seed(self.seed, run.iteration, self.name)
        state["labels"][self.name] = snapshot_hash({one: self.book.store.labels(one) for one in episodes.ids})
        began, timing = time.perf_counter(), f"{self.name}_training_s"
        with run.timed(lambda: {timing: time.perf_counter() - began}):
            metrics = dict(learner.update(episodes, verdicts, folder, seed))
        # A session that was killed could write nothing down here, but the training's own state counts its seconds.
        state["timings"][timing] = max(state["timings"][timing], metrics.get("training_s", 0.0))
        state["models"][self.name] = str(folder.relative_to(run.journal.folder))
        numbers = {"seed": seed, "successes": float(kept), "rollouts": float(len(records))}
        state["training"][self.name] = metrics | numbers
        run.emit("training_finished", {"learner": self.name, "metrics": metrics})

    def _base(self, run: Run) -> Path | None:
        """Return the folder of the model that training goes on from, None for the starter.

        The best so far is the one that acted in the round with the highest success rate, the later of equals.
        """
        if self.finetune_from == "starter":
            return None
        chosen: Mapping[str, str | None] = run.state["models"]
        if self.finetune_from == "best":
            best = max(range(run.iteration + 1), key=lambda iteration: (self.book.rate(iteration), iteration))
            chosen = run.state["acted"][best]
        return _folder(run, chosen[self.name])


def planner_of(policy: Policy) -> str:
    """Return the identity of the planner in force, or of the policy where it has none."""
    models = policy.models if isinstance(policy, MadeOfModels) else {}
    return models.get("planner", policy.identity)


def _folder(run: Run, relative: str | None) -> Path | None:
    return None if relative is None else run.journal.folder / relative


def _episode_id(run: Run, item: PlannedAttempt) -> str:
    return f"{item.attempt.task}-{run.state['run']}-i{run.iteration:02d}-a{item.index:03d}"


def _write_down(run: Run, item: PlannedAttempt, episode_id: str, episode: Episode) -> None:
    sampler = item.attempt.sampler
    assert sampler is not None, "every planned attempt says how it is planned"
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
    if episode.success is not None and episode.success.any():
        record["steps_to_success"] = int(episode.success.argmax()) + 1
    run.journal.add_attempt(run.iteration, record)
    run.emit("attempt_finished", record)
