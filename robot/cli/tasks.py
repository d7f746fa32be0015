"""`sail tasks`: list the fifty tasks with their instructions."""

from __future__ import annotations

from robot.cli.screen import print_json, screen
from robot.cli.verbs import Arguments
from sim.tasks import GROUPS, INSTRUCTIONS


def run(arguments: Arguments) -> int:
    """Print every task, what it asks for, and which models have seen demonstrations of it."""
    rows = [{"task": task, "instruction": text, "split": split_of(task)} for task, text in sorted(INSTRUCTIONS.items())]
    if arguments.as_json:
        print_json(rows)
        return 0
    console = screen(False)
    order = {name: place for place, name in enumerate(GROUPS)}
    ordered = sorted(rows, key=lambda row: (order[row["split"]], row["task"]))
    cells = [(row["task"], row["instruction"], row["split"]) for row in ordered]
    console.table(("task", "instruction", "split"), cells, left=3)
    console.print()
    for line in LEGEND:
        console.print(line, style="dim")
    return 0


LEGEND = (
    "seen: the starter models were trained on demonstrations of it.",
    "unseen: the twelve that figures are reported on.",
    "tuning: where settings are chosen.",
    "general: demonstrated, as tuning is, to the general planner alone.",
    "reserved: shown to no planner.",
    "Any of them can be improved at: sail improve task=NAME",
)


def split_of(task: str) -> str:
    """Return "seen", "unseen", "tuning" (which is general too), "general" or "reserved"."""
    return next(name for name, members in GROUPS.items() if task in members)
