"""Measure the rollouts of one iteration: wall time, where it goes, and memory."""

from __future__ import annotations

import time
from typing import Any

from robot.core.protocols import Policy, RobotPool
from robot.core.provenance.machine import describe_machine, peak_memory_mib
from robot.rollouts.rollout import Attempt, RolloutSettings, RolloutTimings, rollout


def bench_rollouts(
    pool: RobotPool,
    policy: Policy,
    task: str,
    instruction: str,
    rollouts: int = 30,
    seed: int = 0,
    settings: RolloutSettings | None = None,
) -> dict[str, Any]:
    """Return `hardware` and one record; attempts start from the seeds `seed` … `seed + rollouts − 1`.

    Without `settings` attempts run for 200 steps whether they succeed or not, which is the most an iteration can take.
    The record has seconds (`wall_s`, split into `planning_s`, `acting_s` and `resetting_s`), `steps_per_s`, how many
    steps and plans there were, and `peak_memory_mib` of this process and the workers (an upper bound). The pool stays
    open. Raises ValueError for fewer than one rollout.
    """
    if rollouts < 1:
        raise ValueError(f"A rollout benchmark needs at least one rollout, got {rollouts}.")
    settings = settings or RolloutSettings()
    timings = RolloutTimings()
    requests = [Attempt(seed + number, task, instruction) for number in range(rollouts)]
    began = time.perf_counter()
    episodes = rollout(pool, policy, requests, settings, timings=timings)
    wall_s = time.perf_counter() - began
    record = {
        "task": task,
        "robots": pool.size,
        "rollouts": len(episodes),
        "successes": sum(bool(episode.success is not None and episode.success.any()) for episode in episodes),
        "max_steps": settings.max_steps,
        "wall_s": round(wall_s, 2),
        "planning_s": round(timings.planning_s, 2),
        "acting_s": round(timings.acting_s, 2),
        "resetting_s": round(timings.resetting_s, 2),
        "steps": timings.steps,
        "plans": timings.plans,
        "steps_per_s": round(timings.steps / wall_s, 1),
        "peak_memory_mib": peak_memory_mib(),
    }
    return {"what": "rollouts", "hardware": describe_machine(), "records": [record]}
