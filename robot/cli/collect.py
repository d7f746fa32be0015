"""`sail collect`: record scripted demonstrations, failures, suboptimal attempts and task-free play."""

from __future__ import annotations

from pathlib import Path

from robot.cli.compose import compose
from robot.cli.recording import record_missing, requests_for, store_of
from robot.cli.screen import meter, print_json, screen
from robot.cli.verbs import Arguments
from robot.core.errors import SailError
from sim.collect import DataKind
from sim.tasks import tasks_of

KINDS: tuple[DataKind, ...] = ("demonstrations", "failures", "suboptimal", "play")


def run(arguments: Arguments) -> int:
    """Record what is asked for and not there yet; say how much there is then."""
    config = compose("collect", arguments.overrides)
    console = screen(arguments.as_json)
    tasks = tasks_of(config.task or config.tasks)
    options = {
        "noise": float(config.noise),
        "max_steps": int(config.max_steps),
        "image_size": int(config.image_size),
        "action_repeat": int(config.action_repeat),
        "cameras": tuple(config.cameras),
    }
    summary = {}
    with meter(console) as progress:
        for kind in KINDS:
            count = int(config[kind])
            if count < 0:
                raise SailError(f"{kind} must not be negative, got {count}.")
            where = tasks_of(config.play_tasks) if kind == "play" and config.play_tasks else tasks
            requests = requests_for(where, kind, count, int(config.seed), options)
            if not requests:
                continue
            store = store_of(config.data, kind)
            new = record_missing(store, requests, progress, f"recording {kind}", int(config.workers))
            summary[kind] = {"folder": str(Path(config.data) / kind), "asked": len(requests), "recorded": new}
            console.print(f"{kind}: {len(requests)} episodes of {len(where)} tasks in {store.folder} ({new} new)")
    if arguments.as_json:
        print_json(summary)
    elif not summary:
        console.print("Nothing was asked for: give demonstrations=, failures=, suboptimal= or play= a number above 0.")
    return 0
