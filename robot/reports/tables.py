"""Tables of records, in Markdown: successes by task and iteration, and the figures of benchmarks as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robot.reports.markdown import head, plain, row, text_of
from robot.reports.results import count
from robot.reports.statistics import interval_text, mean_text

Records = Sequence[Mapping[str, object]]
SPREAD = "_sd"
"""Ending of a field that holds the standard deviation of the field without it; both are shown in one column."""


def success_tables(records: Records) -> list[str]:
    """Return one table a method, and before them, where there are several methods, one of their means.

    Methods that were measured once, at iteration 0, share one table.
    """
    methods = list(dict.fromkeys(str(record["method"]) for record in records))
    of = {method: [record for record in records if record["method"] == method] for method in methods}
    once = [method for method in methods if all(record["iteration"] == 0 for record in of[method])]
    several = [method for method in methods if method not in once]
    lines: list[str] = []
    if len(methods) > 1 and several:
        lines += ["## Mean over tasks", "", *_means(of, iterations_in(records), len(tasks_in(records))), ""]
    for method in several:
        lines += [f"## {plain(method)}{_seeds(of[method])}", "", *method_table(of[method]), ""]
    if len(once) == 1:
        lines += [f"## {plain(once[0])}{_seeds(of[once[0]])}", "", *method_table(of[once[0]]), ""]
    elif once:
        lines += [*(["## Without a loop", ""] if several else []), *_comparison(of, once), ""]
    return lines[:-1]


def _means(of: Mapping[str, Records], iterations: Sequence[int], tasks: int) -> list[str]:
    """Return a table of the means over tasks: a row a method, a column an iteration."""
    lines = head("method", [f"iteration {number}" for number in iterations])
    for method, mine in of.items():
        means = [mean_cell(mine, number, tasks, bold=False) for number in iterations]
        lines += row([f"{plain(method)}{_seeds(mine)}", *means])
    return lines


def method_table(mine: Records) -> list[str]:
    """Return a table of one method: a row a task, a column an iteration, and the mean below."""
    tasks, iterations = tasks_in(mine), iterations_in(mine)
    lines = head("task", [f"iteration {number}" for number in iterations])
    for task in tasks:
        lines += row([plain(task), *(cell(mine, task, number) for number in iterations)])
    if len(tasks) > 1:
        lines += row(["**mean**", *(mean_cell(mine, number, len(tasks)) for number in iterations)])
    return [*lines, *_by_seed(mine, iterations)]


def _by_seed(mine: Records, iterations: Sequence[int]) -> list[str]:
    """Return a row a seed with the mean over tasks, where there are several seeds."""
    seeds = sorted({count(record, "seed") for record in mine})
    lines: list[str] = []
    for seed in seeds if len(seeds) > 1 else []:
        own = [record for record in mine if record["seed"] == seed]
        lines += row(
            [f"seed {seed}", *(mean_cell(own, number, len(tasks_in(mine)), bold=False) for number in iterations)]
        )
    return lines


def _comparison(of: Mapping[str, Records], methods: Sequence[str]) -> list[str]:
    """Return a table of methods that were measured once: a row a task, a column a method."""
    tasks = tasks_in([record for method in methods for record in of[method]])
    lines = head("task", [f"{plain(method)}{_seeds(of[method])}" for method in methods])
    for task in tasks:
        lines += row([plain(task), *(cell(of[method], task, 0) for method in methods)])
    if len(tasks) > 1:
        lines += row(["**mean**", *(mean_cell(of[method], 0, len(tasks)) for method in methods)])
    return lines


def cell(records: Records, task: str, iteration: int) -> str:
    """Return what was done of a task in an iteration: "25/30 · 83 % (66–93)", or a dash."""
    seeds = counts_of([record for record in records if record["task"] == task], iteration)
    successes, rollouts = sum(one[1] for one in seeds), sum(one[2] for one in seeds)
    if not rollouts:
        return "–"
    return f"{successes}/{rollouts} · {interval_text(successes, rollouts) if len(seeds) == 1 else mean_text(seeds)}"


def mean_cell(records: Records, iteration: int, of: int, bold: bool = True) -> str:
    """Return the mean over tasks of an iteration; where it is of fewer tasks than `of` it says so."""
    counts = counts_of(records, iteration)
    if not counts:
        return "–"
    tasks = len({task for task, _, _ in counts})
    return mean_text(counts, "**" if bold else "") + (
        f" of {tasks} task{'s' if tasks > 1 else ''}" if tasks < of else ""
    )


def counts_of(records: Records, iteration: int) -> list[tuple[str, int, int]]:
    """Return (task, successes, rollouts) of each task and seed that has rollouts in an iteration."""
    found = [
        (str(record["task"]), count(record, "successes"), count(record, "rollouts"))
        for record in records
        if record["iteration"] == iteration
    ]
    return [one for one in found if one[2]]


def tasks_in(records: Records) -> list[str]:
    """Return the tasks of records, each once, as they come."""
    return list(dict.fromkeys(str(record["task"]) for record in records))


def iterations_in(records: Records) -> list[int]:
    """Return the iterations of records, sorted."""
    return sorted({count(record, "iteration") for record in records})


def _seeds(records: Records) -> str:
    seeds = len({record["seed"] for record in records})
    return f" ({seeds} seeds)" if seeds > 1 else ""


def plain_table(records: Records) -> list[str]:
    """Return a table of records whose fields are their own; words to the left, figures to the right."""
    if not records:
        return ["No records."]
    shown = shown_fields(records)
    figures = [all(isinstance(record.get(field, 0), int | float) for record in records) for field in shown]
    lines = row([plain(field.replace("_", " ")) for field in shown])
    lines += row(["---:" if figure else "---" for figure in figures])
    for record in records:
        lines += row([field_text(record, field) for field in shown])
    return lines


def shown_fields(records: Records) -> list[str]:
    """Return the fields of records of one's own form that have a column, in the order in which they first appear."""
    fields = list(dict.fromkeys(field for record in records for field in record))
    return [field for field in fields if not (field.endswith(SPREAD) and field.removesuffix(SPREAD) in fields)]


def field_text(record: Mapping[str, object], field: str) -> str:
    """Return a field as text, with its spread where the record has one; empty where it lacks the field."""
    text, spread = text_of(record.get(field, "")), record.get(f"{field}{SPREAD}")
    return text if spread is None else f"{text} ± {text_of(spread)}"
