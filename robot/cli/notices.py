"""What a server says to the person at its terminal, from a thread of its own.

A terminal that was stopped (Ctrl-S), or a pipe that nobody reads, takes no more and lets whoever writes wait for ever.
Nothing that matters may wait for it: not the signals that end a server, nor what follows them.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from robot.cli.logs import show_log, stderr_handler
from robot.cli.screen import Screen, Style, print_json

MOST_WAITING = 256
LINE_EVERY_S = 0.25
LAST_WORDS_S = 1.0
"""How long the end of a server waits for its last words to be taken."""


class Notices(threading.Thread):
    """Show lines, and under them one that changes, as `line` has it four times a second; `say` never waits."""

    def __init__(self, screen: Screen, line: Callable[[], str]) -> None:
        super().__init__(name="notices", daemon=True)
        self._screen, self._line = screen, line
        self._waiting: queue.Queue[Callable[[], object] | None] = queue.Queue(MOST_WAITING)

    def say(self, *pieces: object, style: Style = "") -> None:
        """Show a line of pieces, as `Screen.print` does; where too many wait, it is left out."""
        self._put(lambda: self._screen.print(*pieces, style=style))

    def answer(self, value: Any) -> None:
        """Print one JSON object on stdout."""
        self._put(lambda: print_json(value))

    def run(self) -> None:
        """Show what is said until the end."""
        with self._screen.status() as status:
            while True:
                try:
                    show = self._waiting.get(timeout=LINE_EVERY_S)
                except queue.Empty:
                    status.update(self._line())
                    continue
                if show is None:
                    return
                show()

    def end(self, timeout_s: float = LAST_WORDS_S) -> bool:
        """Let the thread show what waits and end; return whether it has within so long."""
        self._put(None)
        if self.is_alive():
            self.join(timeout_s)
        return not self.is_alive()

    def _put(self, show: Callable[[], object] | None) -> None:
        try:
            self._waiting.put_nowait(show)
        except queue.Full:
            return


class PatientLog(logging.Handler):
    """Show records as `robot.cli.logs.show_log` does, from a thread of its own; of too many some are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = stderr_handler()
        self._waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._show, name="log", daemon=True).start()

    def createLock(self) -> None:  # noqa: N802
        """Have none: whoever logs would wait for whoever writes."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record to be shown."""
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            return

    def _show(self) -> None:
        while True:
            self._stream.handle(self._waiting.get())


def show_log_patiently() -> None:
    """Show warnings on stderr, each with its time; nobody waits for stderr to take them."""
    show_log(PatientLog())


def leave(code: int) -> None:
    """End the process at once, with nothing flushed: its terminal takes nothing any more."""
    os._exit(code)
