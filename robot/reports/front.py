"""The front page of the results: prose around figures that are looked up, so that none can be out of date.

Its source is a Jinja2 template in Markdown, `front.jinja` beside the files of results; what it may call are the public
methods of `Figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from robot.core.errors import SailError, UnknownNameError
from robot.reports.markdown import code
from robot.reports.results import ResultFile
from robot.reports.statistics import mean_interval, mean_over_tasks, mean_text
from robot.reports.tables import cell, counts_of, field_text, iterations_in, method_table, tasks_in
from robot.reports.templates import render

SOURCE = "front.jinja"
COLOURS = ("#425ca8", "#c07a1e", "#8b4a9c", "#5a6470", "#b23a2e")


def front_page(source: Path, files: Sequence[ResultFile]) -> str:
    """Return the front page that a template makes of files of results.

    Raises SailError, naming the template, where it asks for what there is not.
    """
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    figures = Figures(files)
    offered = {name: getattr(figures, name) for name in ("mean", "rate", "figure", "command", "rows")}
    try:
        return environment.from_string(source.read_text(encoding="utf-8")).render(offered)
    except (TemplateError, UnknownNameError) as problem:
        raise SailError(f"{source}: {problem}") from problem


class Figures:
    """Look figures up in files of results; raise UnknownNameError, with the nearest name, for what is not there."""

    def __init__(self, files: Sequence[ResultFile]) -> None:
        self._files = {file.name: file for file in files}

    def mean(self, file: str, method: str, iteration: int = 0) -> str:
        """Return the mean over tasks of a method's iteration with its interval."""
        return mean_text(counts_of(self._records(file, method), iteration))

    def rate(self, file: str, method: str, task: str, iteration: int = 0) -> str:
        """Return what a method did of one task: "25/30 · 83 % (66–93)"."""
        return cell(self._records(file, method), task, iteration)

    def rows(self, file: str, method: str) -> str:
        """Return the rows of a Markdown table of a method: a row a task, a column an iteration, and the mean below."""
        return "\n".join(method_table(self._records(file, method)))

    def figure(self, file: str, field: str, **where: object) -> str:
        """Return a field of the first record whose other fields are as `where` says, with its spread."""
        for record in self._file(file).records:
            if all(record.get(name) == value for name, value in where.items()):
                return field_text(record, field)
        raise UnknownNameError(f"record in {file}.json", str(where), [])

    def command(self, file: str, method: str = "") -> str:
        """Return the command that made a file's figures, or those of one method, as code."""
        records = self._records(file, method) if method else []
        runs = self._file(file).runs
        number = records[0].get("run", 0) if records else 0
        words = str(runs[number if isinstance(number, int) and number < len(runs) else 0]["command"]).split(" ")
        return code(" ".join(word for word in words if not word.startswith(("save=", "method="))))

    def _file(self, name: str) -> ResultFile:
        if name not in self._files:
            raise UnknownNameError("file of results", name, list(self._files))
        return self._files[name]

    def _records(self, name: str, method: str) -> list[Mapping[str, object]]:
        records = self._file(name).records
        found = [record for record in records if record.get("method") == method]
        if not found:
            raise UnknownNameError(
                f"method in {name}.json", method, sorted({str(one.get("method")) for one in records})
            )
        return found


def draw_curve(file: ResultFile, method: str) -> str:
    """Return an SVG of a method's success over iterations: a line a task, and the mean with its interval."""
    records = [record for record in file.records if record["method"] == method]
    iterations = iterations_in(records)
    width, height, left, right, top, bottom = 720, 360, 64, 560, 72, 318
    at_x = {
        one: left + 16 + (right - left - 32) * place / max(len(iterations) - 1, 1)
        for place, one in enumerate(iterations)
    }

    def point(iteration: int, rate: float) -> str:
        return f"{at_x[iteration]:.1f},{bottom - (bottom - top) * rate:.1f}"

    means = {one: counts_of(records, one) for one in iterations}
    bounds = {one: mean_interval(counted) for one, counted in means.items()}
    rates = {"mean": {one: mean_over_tasks(counted) for one, counted in means.items()}}
    for task in tasks_in(records):
        counted = {one: [each for each in means[one] if each[0] == task] for one in iterations}
        rates[task] = {one: mean_over_tasks(each) for one, each in counted.items() if each}
    ends = _apart({name: bottom - (bottom - top) * list(line.values())[-1] + 4 for name, line in rates.items()}, 15.0)
    colours = dict(zip(list(rates)[1:], COLOURS * len(rates), strict=False)) | {"mean": "#16805c"}
    lines = [
        {
            "name": f"{name} {100 * list(line.values())[-1]:.{1 if name == 'mean' else 0}f} %",
            "points": " ".join(point(one, rate) for one, rate in line.items()),
            "colour": colours[name],
            "width": 3.5 if name == "mean" else 1.5,
            "y": f"{ends[name]:.1f}",
        }
        for name, line in reversed(rates.items())
    ]
    edge = [point(one, low) for one, (low, _) in bounds.items()] + [
        point(one, high) for one, (_, high) in reversed(bounds.items())
    ]
    return render(
        "curve.svg",
        title=f"{method}: success over rounds of learning from its own attempts",
        subtitle=f"mean over {len(rates) - 1} tasks with its 95 % interval, and each task",
        width=width,
        height=height,
        left=left,
        right=right,
        levels=[{"y": bottom - (bottom - top) * part / 4, "text": f"{25 * part} %"} for part in range(5)],
        numbers=[{"x": f"{x:.1f}", "text": str(one)} for one, x in at_x.items()],
        band=" ".join(edge),
        lines=lines,
    )


def _apart(places: Mapping[str, float], least: float) -> dict[str, float]:
    """Return places on a line, pushed down where two would be less than `least` apart."""
    pushed: dict[str, float] = {}
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        pushed[name] = max(place, *(other + least for other in pushed.values())) if pushed else place
    return pushed
