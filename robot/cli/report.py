"""`sail report`: draw the report of a run again, or the pages of results."""

from __future__ import annotations

from pathlib import Path

from robot.cli.compose import compose
from robot.cli.screen import bold, print_json, screen
from robot.cli.verbs import Arguments
from robot.core.errors import SailError
from robot.reports.page import check_results, write_results


def run(arguments: Arguments) -> int:
    """Write a run's report, or the pages of results; with `--check` only say whether the latter are up to date."""
    config = compose("report", arguments.overrides)
    console = screen(arguments.as_json)
    if arguments.subject == "results":
        page = _results(Path(config.results), Path(config.page), "--check" in arguments.flags)
    else:
        from robot.cli.reporting import report_on

        page = report_on(Path(config.run) if config.run else latest_run(Path("runs")))
    if arguments.as_json:
        print_json({"page": str(page)})
    else:
        console.print(bold(page))
    return 0


def latest_run(runs: Path) -> Path:
    """Return the run folder that was written to last; raise SailError when there is none."""
    states = sorted(runs.glob("*/state.json"), key=lambda path: path.stat().st_mtime)
    if not states:
        raise SailError(f"There is no run in {runs}: name one with run=…, or make one with `sail improve`.")
    return states[-1].parent


def _results(folder: Path, front: Path, check: bool) -> Path:
    if not check:
        return write_results(folder, front)
    check_results(folder, front)
    return front
