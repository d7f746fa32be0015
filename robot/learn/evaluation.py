"""Measure how often a policy succeeds at a task, over stated seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypedDict

from robot.core.data import Outcome, SamplerSettings
from robot.core.protocols import Policy, RewardModel, RobotPool, SuccessDetector
from robot.judges.asking import judged
from robot.judges.truth import GroundTruth
from robot.reports.statistics import wilson_interval
from robot.rollouts.rollout import Attempt, OnEpisode, RolloutSettings, RolloutTimings, ending_by, rollout


class EvaluationRecord(TypedDict):
    """Hold a measured success rate as the committed results do.

    `wilson` is the 95 % interval [low, high], each 0–1. Attempts that ended by an infrastructure fault are counted in
    `faults` and not in `rollouts`. `succeeded` says it seed by seed, in the order of `seeds`; None for a fault.
    """

    method: str
    iteration: int
    task: str
    seed: int
    successes: int
    rollouts: int
    wilson: list[float]
    faults: int
    seeds: list[int]
    succeeded: list[bool | None]
    steps: list[int]
    timings: dict[str, float]


def evaluate(
    pool: RobotPool,
    policy: Policy,
    task: str,
    instruction: str,
    seeds: Sequence[int],
    settings: RolloutSettings | None = None,
    sampler: SamplerSettings | None = None,
    judge: RewardModel | None = None,
    method: str = "sail",
    iteration: int = 0,
    seed: int = 0,
    on_episode: OnEpisode | None = None,
) -> EvaluationRecord:
    """Attempt a task once per seed, with its true instruction, and return what came of it.

    `seed` and `iteration` name the run that made the models; `seeds` are the starts. `judge` is ground truth unless
    given, and says who ends attempts, whatever `settings` do (see `ending_by`). Raises SailError when the judge cannot
    tell, ValueError for no seeds.
    """
    if not seeds:
        raise ValueError(f"There are no seeds to evaluate task {task!r} on.")
    timings = RolloutTimings()
    judge = judge or GroundTruth()
    settings = dataclasses.replace(settings or RolloutSettings(), ends_by=ending_by(judge))
    detector = judge if isinstance(judge, SuccessDetector) else None
    requests = [Attempt(start, task, instruction, sampler=sampler) for start in seeds]
    episodes = rollout(pool, policy, requests, settings, on_episode, timings=timings, detector=detector)
    sound = [number for number, one in enumerate(episodes) if one.outcome is not Outcome.INFRASTRUCTURE_FAULT]
    verdicts = judged(judge, [episodes[number] for number in sound])
    succeeded: list[bool | None] = [None] * len(seeds)
    for number, verdict in zip(sound, verdicts, strict=True):
        succeeded[number] = verdict.success
    successes = sum(verdict.success for verdict in verdicts)
    return EvaluationRecord(
        method=method,
        iteration=iteration,
        task=task,
        seed=seed,
        successes=successes,
        rollouts=len(sound),
        wilson=list(wilson_interval(successes, len(sound))),
        faults=len(seeds) - len(sound),
        seeds=[int(start) for start in seeds],
        succeeded=succeeded,
        steps=[len(episode) for episode in episodes],
        timings={"planning_s": timings.planning_s, "acting_s": timings.acting_s, "resetting_s": timings.resetting_s},
    )
