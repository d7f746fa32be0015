"""Talk to the person at the terminal: tables and progress go to stderr, answers and JSON to stdout.

Text is text here: whatever is given to print is shown as it is, never read as markup, and what a terminal would obey
is made visible first. A style is asked for by `Styled`, never within text. Nothing else in the project knows rich,
which is imported where something is drawn: a command that draws nothing does without.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, TextIO

from robot.core.progress import shown_on
from robot.core.text import visible

if TYPE_CHECKING:
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

Style = Literal["", "bold", "dim", "green", "red", "yellow"]
PIPE_WIDTH = 120
"""Columns of what is no terminal."""
LONGEST = 1000
"""Characters of a line that changes, at most: what lies below it must stay on the screen."""
LONGEST_NOTE = 120
"""Characters before and after a bar, at most: the bar must be seen between them."""

LINE_EVERY_S = 30.0
"""How often a line says how far something has come where no bar can be shown, such as in a log."""

NARROWEST = 12
"""Cells of a column of words, at least: narrower ones are no use to a reader."""


@dataclass(frozen=True, slots=True)
class Styled:
    """Hold a piece of a line and the style that it is shown in."""

    text: object
    style: Style


def bold(text: object) -> Styled:
    """Return a piece of a line that is shown in bold."""
    return Styled(text, "bold")


class Screen:
    """Show lines, tables and one line that changes, on `file`, or on stdout or stderr as they are at the time."""

    def __init__(
        self,
        file: IO[str] | None = None,
        *,
        stderr: bool = False,
        width: int | None = None,
        is_terminal: bool | None = None,
    ) -> None:
        from rich.console import Console

        self._console = Console(
            file=file,
            stderr=stderr,
            width=width,
            force_terminal=is_terminal,
            markup=False,
            emoji=False,
            highlight=False,
        )
        if width is None and not self.is_terminal:
            self.width = PIPE_WIDTH

    @property
    def is_terminal(self) -> bool:
        """Return whether lines that change can be shown here."""
        return self._console.is_terminal

    @property
    def width(self) -> int:
        """Return how many columns there are."""
        return self._console.width

    @width.setter
    def width(self, columns: int) -> None:
        self._console.width = columns

    def print(self, *pieces: object, sep: str = " ", style: Style = "") -> None:
        """Print a line of pieces as text, those that are `Styled` in their style; the terminal breaks a long line."""
        self._console.print(_line(pieces, sep, style), soft_wrap=True)

    def table(self, columns: Sequence[str | Sequence[str]], rows: Iterable[Sequence[str]], left: int = 1) -> None:
        """Print a table whose first `left` columns are words, aligned left, and whose others are figures.

        The head of a column is a text, or several that stand one below the other. Nothing is ever cut off: where there
        is no room, heads stand one word below the other and words go on in the next line, and where there is still
        none, a row becomes a few lines. On what is no terminal a table is as wide as it is.
        """
        heads = [[head] if isinstance(head, str) else list(head) for head in columns]
        cells = [[visible(cell) for cell in row] for row in rows]
        wide = Columns.of(heads, cells)
        if wide.total > self.width and self.is_terminal:
            heads = [[word for line in head for word in line.split()] for head in heads]
            narrow = Columns.of(heads, cells).fitted(left, self.width)
            if narrow is None:
                return self._rows_as_lines(heads, cells)
            wide = narrow
        self._draw(heads, cells, left, wide)
        return None

    def _draw(self, heads: list[list[str]], cells: list[list[str]], left: int, columns: Columns) -> None:
        from rich.table import Table

        made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, columns.gap), collapse_padding=True)
        for place, (head, width) in enumerate(zip(heads, columns.widths, strict=True)):
            made.add_column(
                _lines(head), justify="left" if place < left else "right", width=width, overflow="fold", no_wrap=False
            )
        for row in cells:
            made.add_row(*(_lines([cell]) for cell in row))
        before, self.width = self.width, max(self.width, columns.total)
        self._console.print(made)
        self.width = before

    def _rows_as_lines(self, heads: list[list[str]], cells: list[list[str]]) -> None:
        """Print each row as its first cell and, below it, the others with their heads, as many in a line as fit."""
        for row in cells:
            self.print(bold(row[0].strip()))
            line = ""
            for head, cell in zip(heads[1:], row[1:], strict=True):
                piece = f"{' '.join(head)} {cell.strip()}" if cell.strip() else ""
                if line and piece and len(line) + len(piece) + 5 > self.width:
                    self.print(f"  {line}")
                    line = ""
                line += f" · {piece}" if line and piece else piece
            if line:
                self.print(f"  {line}")

    @contextmanager
    def live_table(self, columns: Sequence[str]) -> Iterator[Callable[[Iterable[Sequence[str]]], None]]:
        """Lend what shows rows in a table that changes, taken away afterwards; where there is no terminal, nothing."""
        from rich.live import Live

        if not self.is_terminal:
            yield lambda rows: None
            return
        with Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=_is_shown(sys.stdout)
        ) as live:
            yield lambda rows: live.update(_table(columns, rows), refresh=True)

    def ask(self, question: str) -> str:
        """Show a question and return what is answered, a line of standard input; raise EOFError where nobody is."""
        return self._console.input(_lines([question]))

    @contextmanager
    def status(self, text: str = "") -> Iterator[Status]:
        """Lend a line that changes while something goes on; on what is no terminal it is not shown."""
        from rich.live import Live
        from rich.spinner import Spinner

        spinner = Spinner("dots", _lines([text]), style="status.spinner")
        aside = _is_shown(sys.stdout)
        with Live(spinner, console=self._console, refresh_per_second=12.5, transient=True, redirect_stdout=aside):
            yield Status(spinner)


@dataclass(frozen=True, slots=True)
class Columns:
    """Hold how wide the columns of a table are, in a terminal's cells, and the gap between two of them."""

    widths: tuple[int, ...]
    gap: int

    @classmethod
    def of(cls, heads: Sequence[Sequence[str]], cells: Sequence[Sequence[str]]) -> Columns:
        """Return columns as wide as what is in them."""
        from rich.cells import cell_len

        columns = zip(*cells, strict=True) if cells else [()] * len(heads)
        widths = (
            max(map(cell_len, [*map(visible, head), *column, " "])) for head, column in zip(heads, columns, strict=True)
        )
        return cls(tuple(widths), 2 if len(heads) < 9 else 1)

    @property
    def total(self) -> int:
        """Return how wide the table is."""
        return sum(self.widths) + self.gap * (len(self.widths) - 1)

    def fitted(self, left: int, most: int) -> Columns | None:
        """Return the columns with the first `left` of them, which hold words, made narrower; None where that won't do.

        The widest gives way first, and none becomes narrower than `NARROWEST`.
        """
        widths = list(self.widths)
        for _ in range(self.total - most):
            place = max(range(left), key=lambda place: widths[place], default=None)
            if place is None or widths[place] <= NARROWEST:
                return None
            widths[place] -= 1
        return Columns(tuple(widths), self.gap)


class Status:
    """Change the line that `Screen.status` lends."""

    def __init__(self, spinner: Spinner) -> None:
        self._spinner = spinner

    def update(self, *lines: str) -> None:
        """Show other text in its place, in one line or several."""
        self._spinner.update(text=_lines(lines, LONGEST))


def _table(columns: Sequence[str | Sequence[str]], rows: Iterable[Sequence[str]], left: int = 1) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2 if len(columns) < 9 else 1))
    for place, head in enumerate(columns):
        made.add_column(
            _lines([head] if isinstance(head, str) else head),
            justify="left" if place < left else "right",
            no_wrap=place == 0 or place >= left,
        )
    for row in rows:
        made.add_row(*(_lines([cell]) for cell in row))
    return made


def _line(pieces: Sequence[object], sep: str, style: Style) -> Text:
    """Return pieces as one line for rich, in which nothing is markup."""
    from rich.text import Text

    line = Text(style=style)
    for place, piece in enumerate(pieces):
        line.append(visible(sep) if place else "")
        styled = piece if isinstance(piece, Styled) else Styled(piece, "")
        line.append(visible(str(styled.text)), styled.style or None)
    return line


def _lines(lines: Iterable[str], most: int = 0) -> Text:
    from rich.text import Text

    return Text("\n".join(visible(line, most) for line in lines))


def _is_shown(stream: TextIO) -> bool:
    """Return whether what is written to a stream comes to a terminal, where it must not run into a line that changes.

    An answer on its way elsewhere is left alone.
    """
    return stream.isatty()


def screen(as_json: bool) -> Screen:
    """Return where words go: stdout, or stderr when stdout is kept for one JSON object."""
    return Screen(stderr=as_json)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; what a terminal would obey is written as JSON escapes it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(one if one == "\n" or visible(one) == one else json.dumps(one)[1:-1] for one in text)
    print(text, flush=True)


def print_text(text: str) -> None:
    """Print lines of our own on stdout, such as help."""
    print("\n".join(map(visible, text.split("\n"))), flush=True)


class Meter:
    """Show how far a row of like things has come: a bar, or on what is no terminal a line every `every_s` seconds."""

    def __init__(self, screen: Screen, every_s: float = LINE_EVERY_S) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._screen = screen
        self._every_s = every_s
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28, complete_style="green", finished_style="green"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=screen._console,
            transient=True,
            redirect_stdout=_is_shown(sys.stdout),
            disable=not screen.is_terminal,
        )
        self._task: Any = None
        self._what, self._total, self._done, self._told_s = "", 0, 0, 0.0

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start counting to `total`, of which `done` were done before; ends what was counted until now."""
        self.end()
        self._what, self._total, self._done, self._told_s = what, total, done, time.monotonic()
        self._bar.start()
        self._task = self._bar.add_task(visible(what, LONGEST_NOTE), total=total, completed=done, note="")

    def advance(self, note: str = "", count: int = 1) -> None:
        """Count one more (or `count`) and show a note beside the bar."""
        if self._task is None:
            return
        self._done += count
        self._bar.update(self._task, advance=count, note=visible(note, LONGEST_NOTE))
        if not self._screen.is_terminal and (self._done == self._total or self._is_time()):
            self._screen.print(f"  {self._what}: {self._done} of {self._total}  {note}".rstrip())

    def _is_time(self) -> bool:
        """Return whether it is time for a line, and if so count from now to the next."""
        now = time.monotonic()
        if now - self._told_s < self._every_s:
            return False
        self._told_s = now
        return True

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
def meter(screen: Screen, every_s: float = LINE_EVERY_S) -> Iterator[Meter]:
    """Lend a meter, which trainings show themselves on too, and take its bar away afterwards, whatever happens."""
    made = Meter(screen, every_s)
    try:
        with shown_on(made):
            yield made
    finally:
        made.end()
