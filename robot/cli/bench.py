"""`sail bench`: measure rendering, planning and rollouts on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from robot.bench.planning import bench_planner
from robot.bench.rendering import bench_render
from robot.bench.rollouts import bench_rollouts
from robot.cli.assembly import instruction_of, rollout_settings
from robot.cli.compose import build, compose
from robot.cli.provenance import origin
from robot.cli.screen import print_json, screen, table
from robot.cli.verbs import VERBS, Arguments
from robot.learn.journal import write_atomically


def run(arguments: Arguments) -> int:
    """Carry out one benchmark and print its figures; write them to a file where `save` names one."""
    config = compose(VERBS["bench"].configs[arguments.subject], arguments.overrides)
    began = time.monotonic()
    measured = dict(BENCHMARKS[arguments.subject](config))
    records = measured.pop("records")
    details = {name: value for name, value in measured.items() if name not in ("what", "hardware")}
    about = {"what": f"Benchmark: {arguments.subject}", **origin(arguments.command, began), **details}
    content = {"meta": {**about, "machine": measured["hardware"]}, "records": records}
    if config.save:
        write_atomically(Path(config.save), json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if arguments.as_json:
        print_json(content)
    else:
        columns = list(records[0])
        cells = [[_figure(record[name]) for name in columns] for record in records]
        screen(False).print(table(about["hardware"], columns, cells, left=0))
    return 0


def _render(config: DictConfig) -> Mapping[str, Any]:
    return bench_render(
        config.task, config.camera, list(config.sizes), int(config.frames), int(config.stock_frames), int(config.rounds)
    )


def _planner(config: DictConfig) -> Mapping[str, Any]:
    planner = build(config.planner)
    size = int(config.image_size)
    return bench_planner(planner, list(config.batches), int(config.repeats), config.camera, size, config.instruction)


def _rollouts(config: DictConfig) -> Mapping[str, Any]:
    instruction = instruction_of(config)
    planner, inverse_dynamics = build(config.planner), build(config.inverse_dynamics)
    pool = build(config.robot, task=config.task)
    try:
        return bench_rollouts(
            pool,
            planner,
            inverse_dynamics,
            config.task,
            instruction,
            int(config.rollouts),
            int(config.seed),
            rollout_settings(config),
        )
    finally:
        pool.close()


BENCHMARKS: Mapping[str, Callable[[DictConfig], Mapping[str, Any]]] = {
    "render": _render,
    "planner": _planner,
    "rollouts": _rollouts,
}


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
