"""`sail bench`: measure rendering, planning, rollouts, the store, an arm, and training options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from robot.cli.compose import compose, plain
from robot.cli.provenance import Origin
from robot.cli.screen import Screen, print_json, screen
from robot.cli.verbs import VERBS, Arguments
from robot.core.files import write_whole
from robot.reports.tables import field_text, shown_fields


def run(arguments: Arguments) -> int:
    """Carry out one benchmark and print its figures; write them to a file where `save` names one."""
    config = compose(VERBS["bench"].configs[arguments.subject], arguments.overrides)
    origin = Origin(arguments.command)
    measured = dict(_measured(arguments.subject, config, arguments.as_json))
    records = measured.pop("records")
    details = {name: value for name, value in measured.items() if name not in ("what", "hardware")}
    about = {"what": f"Benchmark: {arguments.subject}", **origin.so_far(), **details}
    content = {"meta": {**about, "machine": measured["hardware"]}, "records": records}
    if config.save:
        write_whole(Path(config.save), json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if arguments.as_json:
        print_json(content)
    else:
        show_figures(screen(False), about["hardware"], records)
    return 0


def show_figures(console: Screen, title: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of records; what several of them all have in common stands above it."""
    columns = shown_fields(records)
    cells = {name: [field_text(record, name) for record in records] for name in columns}
    same = [name for name in columns[1:] if len(records) > 1 and len(set(cells[name])) == 1]
    told = [title, *(f"{name.replace('_', ' ')} {cells[name][0]}" for name in same if cells[name][0])]
    columns = [name for name in columns if name not in same]
    left = 1 if columns[0] in ("what", "variant", "way") else 0
    heads = [name.replace("_", " ").split() for name in columns]
    console.print(" · ".join(told))
    console.table(heads, list(zip(*(cells[name] for name in columns), strict=True)), left)


def _measured(subject: str, config: DictConfig, as_json: bool) -> Mapping[str, Any]:
    if subject == "arm":
        from robot.speed.arm import bench_arm

        return bench_arm(**{name: value for name, value in plain(config).items() if name != "save"})
    from robot.cli.benchmarks import BENCHMARKS

    return BENCHMARKS[subject](config, as_json)
