"""`sail report`: draw the report of a run again, or the page of results."""

from __future__ import annotations

from pathlib import Path

from robot.cli.compose import compose
from robot.cli.screen import bold, print_json, screen
from robot.cli.verbs import Arguments
from robot.core.errors import SailError
from robot.reports.page import results_page, write_results
from robot.reports.results import read_results


def run(arguments: Arguments) -> int:
    """Write a run's report, or `docs/results.md`; with `--check` only say whether the latter is up to date."""
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


def _results(folder: Path, page: Path, check: bool) -> Path:
    if not check:
        return write_results(folder, page)
    wanted = results_page([read_results(path) for path in sorted(folder.glob("*.json"))])
    if not page.exists() or page.read_text(encoding="utf-8") != wanted:
        raise SailError(f"{page} is out of date: run `sail report results` and commit what it writes.")
    return page
