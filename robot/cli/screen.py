"""Talk to the person at the terminal: tables and progress go to stderr, answers and JSON to stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


def screen(as_json: bool) -> Console:
    """Return where words go: stdout, or stderr when stdout is kept for one JSON object."""
    made = Console(stderr=as_json, highlight=False)
    if not made.is_terminal:
        made.width = 120
    return made


def print_json(value: Any) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> Table:
    """Return a table whose first `left` columns are words, aligned left, and whose others are figures."""
    made = Table(
        title=title or None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="dim",
        padding=(0, 2 if len(columns) < 9 else 1),
    )
    for place, name in enumerate(columns):
        made.add_column(name, justify="left" if place < left else "right", no_wrap=place == 0 or place >= left)
    for row in rows:
        made.add_row(*row)
    return made


class Meter:
    """Show how far a row of like things has come; on a screen that is no terminal it prints a line now and then."""

    def __init__(self, console: Console, every: int = 10) -> None:
        self._console = console
        self._every = every
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28, complete_style="green", finished_style="green"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: Any = None
        self._what, self._total, self._done = "", 0, 0

    def begin(self, what: str, total: int) -> None:
        """Start counting to `total`; ends what was counted before."""
        self.end()
        self._what, self._total, self._done = what, total, 0
        self._bar.start()
        self._task = self._bar.add_task(what, total=total, note="")

    def advance(self, note: str = "", count: int = 1) -> None:
        """Count one more (or `count`) and show a note beside the bar."""
        if self._task is None:
            return
        self._done += count
        self._bar.update(self._task, advance=count, note=note)
        if not self._console.is_terminal and (self._done % self._every == 0 or self._done == self._total):
            self._console.print(f"  {self._what}: {self._done} of {self._total}  {note}".rstrip(), soft_wrap=True)

    def reach(self, done: int, note: str = "") -> None:
        """Count up to `done`; the bar is taken away when that is all."""
        self.advance(note, done - self._done)
        if self._done == self._total:
            self.end()

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
            self._bar.stop()


@contextmanager
def meter(console: Console, every: int = 10) -> Iterator[Meter]:
    """Lend a meter and take its bar away afterwards, whatever happens."""
    made = Meter(console, every)
    try:
        yield made
    finally:
        made.end()
