"""`sail bench`: measure rendering, planning and rollouts on this machine."""

from __future__ import annotations

import gc
import json
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from omegaconf import DictConfig

from robot.cli.compose import PROJECT, build, compose
from robot.cli.machine import hardware
from robot.cli.screen import print_json, screen, table
from robot.cli.verbs import VERBS, Arguments
from robot.learn.report import git_revision

Records = Sequence[Mapping[str, Any]]


def run(arguments: Arguments) -> int:
    """Carry out one benchmark and print its figures; write them to a file where `save` names one."""
    config = compose(VERBS["bench"].configs[arguments.subject], arguments.overrides)
    began = time.monotonic()
    records = {"render": _render, "planner": _planner, "rollouts": _rollouts}[arguments.subject](config)
    meta = {
        "what": f"Benchmark: {arguments.subject}",
        "command": arguments.command,
        "revision": git_revision(PROJECT),
        "hardware": hardware(),
        "wall_time_s": round(time.monotonic() - began, 1),
    }
    content = {"meta": meta, "records": list(records)}
    if config.save:
        path = Path(config.save)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.as_json:
        print_json(content)
    else:
        columns = list(records[0])
        screen(False).print(table("", columns, [[_figure(record[name]) for name in columns] for record in records], 0))
    return 0


def _render(config: DictConfig) -> Records:
    """Measure frames a second of one scene at every size, ours and stock, in one process."""
    from sim.metaworld import MetaWorldRobot
    from sim.rendering import RenderSettings

    records = []
    for size in config.sizes:
        speeds = {}
        for name, settings, frames in (
            ("ours", RenderSettings(), int(config.frames)),
            ("stock", RenderSettings.stock(), int(config.stock_frames)),
        ):
            robot = MetaWorldRobot(config.task, (config.camera,), int(size), render=settings)
            robot.observe()
            began = time.perf_counter()
            for _ in range(frames):
                robot.observe()
            speeds[name] = frames / (time.perf_counter() - began)
            robot.close()
        records.append(
            {
                "size_px": int(size),
                "ours_fps": round(speeds["ours"], 1),
                "stock_fps": round(speeds["stock"], 1),
                "times_faster": round(speeds["ours"] / speeds["stock"], 1),
            }
        )
    return records


def _planner(config: DictConfig) -> Records:
    """Measure the median time of a batch of plans, decoding included, after one to warm up."""
    import numpy as np

    from robot.data import Observation

    planner = build(config.planner)
    size = int(config.image_size)
    rng = np.random.default_rng(0)
    records = []
    for batch in config.batches:
        observations = [
            Observation({config.camera: rng.integers(0, 256, (size, size, 3), np.uint8)}, np.zeros(4, np.float32), 0.0)
            for _ in range(int(batch))
        ]
        times = []
        for repeat in range(int(config.repeats) + 1):
            gc.collect()
            began = time.perf_counter()
            planner.plan(observations, [config.instruction] * int(batch), list(range(int(batch))))
            if repeat:
                times.append(time.perf_counter() - began)
        records.append(
            {
                "batch": int(batch),
                "ms_a_batch": round(1000 * median(times), 1),
                "ms_a_plan": round(1000 * median(times) / int(batch), 1),
            }
        )
    return records


def _rollouts(config: DictConfig) -> Records:
    """Measure the wall time of the rollouts of one iteration and where it goes."""
    from robot.cli.assembly import instruction_of, open_pool, rollout_settings
    from robot.rollout import Attempt, RolloutTimings, rollout

    instruction = instruction_of(config)
    planner, inverse_dynamics = build(config.planner), build(config.inverse_dynamics)
    timings = RolloutTimings()
    pools = open_pool(config, config.task)
    pool = pools.make()
    try:
        requests = [Attempt(int(config.seed) + i, config.task, instruction) for i in range(int(config.rollouts))]
        settings = rollout_settings(config)
        began = time.perf_counter()
        episodes = rollout(pool, planner, inverse_dynamics, requests, settings, timings=timings)
        wall_s = time.perf_counter() - began
    finally:
        pool.close()
    memory = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return [
        {
            "rollouts": len(episodes),
            "steps": timings.steps,
            "minutes": round(wall_s / 60, 2),
            "planning_s": round(timings.planning_s, 1),
            "acting_s": round(timings.acting_s, 1),
            "resetting_s": round(timings.resetting_s, 1),
            "plans": timings.plans,
            "peak_memory_gib": round(memory / 2**20, 2),
        }
    ]


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
