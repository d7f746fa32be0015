"""SAIL: attempt a task, keep what worked, fine-tune on it, attempt again.

Source: Luo, Zeng, Jia, Du, Sun (2025), Self-adapting improvement loops for robotic learning, arXiv 2506.06658. What
differs: part of an iteration's rollouts may borrow other words (`robot.learn.exploration`), and what the judge keeps of
those is stored and learnt under the true instruction.

Iteration 0 rolls out the starter; each iteration but the last then fine-tunes. Every step is written down in the run
folder before the next begins (`robot.learn.journal`), so a killed run goes on where it was: finished episodes are
never attempted again and give the same results as an uninterrupted run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from robot.core.data import SamplerSettings
from robot.core.protocols import Learner, Policy, RewardModel, RobotPool
from robot.episodes.store import EpisodeStore
from robot.judges.asking import reads_truth
from robot.learn.attempts import Exploration, IterationPlan
from robot.learn.book import Book
from robot.learn.exploration import InstructionBandit
from robot.learn.journal import Journal, RunState
from robot.learn.numbers import describe_attempts
from robot.learn.run import OnEvent, Run
from robot.learn.stages import Collect, Train, planner_of
from robot.rollouts.rollout import RolloutSettings, ending_by

LEARNERS = ("planner", "inverse_dynamics")
"""What SAIL fine-tunes, in this order."""


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
    finetune_from: Literal["previous", "best", "starter"] = "starter"
    enough: float = 0.9
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


class SailLoop(Run):
    """SAIL as a list of stages: collect, then fine-tune the planner, then the inverse dynamics.

    `make_pool` opens the robots for the rollouts of an iteration; they are closed while models train. `policy` acts,
    and the learners put new models in force inside it; one that is None leaves its model as it is. `exploration` None:
    every attempt uses the true instruction.
    """

    def __init__(
        self,
        folder: Path,
        settings: SailSettings,
        make_pool: Callable[[], RobotPool],
        policy: Policy,
        judge: RewardModel,
        store: EpisodeStore,
        planner_learner: Learner | None = None,
        inverse_dynamics_learner: Learner | None = None,
        exploration: Exploration | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        settings = dataclasses.replace(
            settings, rollout=dataclasses.replace(settings.rollout, ends_by=ending_by(judge))
        )
        self.settings, self.store = settings, store
        learners = dict(zip(LEARNERS, (planner_learner, inverse_dynamics_learner), strict=True))
        self.book = book = Book(Journal(Path(folder)), store, settings.keep_above, reads_truth(judge))
        collect = Collect(book, judge, make_pool, policy, self._lay_out, settings.rollout, exploration)
        training = [
            Train(name, learner, book, settings.seed, settings.accumulate, settings.finetune_from, settings.enough)
            for name, learner in learners.items()
        ]
        described = _describe_run(settings, policy, judge, learners, exploration)
        super().__init__(folder, [collect, *training], settings.iterations, described, self._describe_round, on_event)
        self._judge = judge

    def _lay_out(self, iteration: int, exploration: Exploration | None) -> IterationPlan:
        one = self.settings
        return IterationPlan(one.task, one.instruction, one.seed, iteration, one.rollouts, one.sampler, exploration)

    def in_todays_terms(self, written: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an earlier version wrote down of a run; what it did not say is as it is now."""
        if "policy" in written:
            return dict(written)
        named = written["judge"] == type(self._judge).__name__  # what the judge is, and not yet which
        rollout = {name: written["rollout"].get(name, value) for name, value in described["rollout"].items()}
        known = {"judge": self._judge.identity if named else written["judge"], "rollout": rollout}
        return {**described, **written, **known}

    def _describe_round(self, state: RunState) -> dict[str, Any]:
        """Return what a round was and how its attempts went."""
        one, iteration = self.settings, state["iteration"]
        about = {"method": one.method, "iteration": iteration, "task": one.task, "seed": one.seed}
        return about | describe_attempts(self.journal.attempts(iteration), state["share"])


def _describe_run(
    settings: SailSettings,
    policy: Policy,
    judge: RewardModel,
    learners: Mapping[str, Learner | None],
    exploration: Exploration | None,
) -> dict[str, Any]:
    """Return, as JSON holds it, everything that decides what a run does."""
    described = dataclasses.asdict(settings)
    described["judge"] = judge.identity
    described["policy"] = policy.identity
    described["starter planner"] = planner_of(policy)
    described["learns"] = [name for name, learner in learners.items() if learner is not None]
    described["exploration"] = None
    if exploration is not None:
        bandit = {one.name: getattr(exploration.bandit, one.name) for one in dataclasses.fields(InstructionBandit)}
        how: dict[str, Any] = {one.name: getattr(exploration, one.name) for one in dataclasses.fields(Exploration)}
        described["exploration"] = how | {"bandit": {name: bandit[name] for name in bandit if name != "tallies"}}
    return cast(dict[str, Any], json.loads(json.dumps(described, default=dataclasses.asdict)))
