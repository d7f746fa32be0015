"""Show on stderr what the program logs, and what a defect leaves behind, as text that no terminal obeys."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

from robot.core.text import tell, visible


class LogFormatter(logging.Formatter):
    """Format records as lines of which the second and later are indented, so that none passes for another record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return "\n  ".join(visible(line) for line in super().format(record).split("\n"))


def stderr_handler() -> logging.Handler:
    """Return what writes records to stderr, each with its time."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(asctime)s %(message)s"))
    return handler


def show_log(handler: logging.Handler | None = None) -> None:
    """Show warnings by a handler, `stderr_handler` where none is given."""
    logging.basicConfig(level=logging.WARNING, handlers=[handler or stderr_handler()])


def guard_terminal() -> None:
    """Let no traceback and no record of a logger without a handler reach this process's stderr as it is."""
    sys.excepthook = show_defect
    threading.excepthook = _show_defect_of_thread
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LogFormatter())


def show_defect(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Put a traceback on stderr."""
    for part in traceback.format_exception(kind, error, trace):
        for line in part.removesuffix("\n").split("\n"):
            tell(line)


def _show_defect_of_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_type is not SystemExit:
        tell(f"Exception in thread {raised.thread.name if raised.thread else 'unknown'}:")
        show_defect(raised.exc_type, raised.exc_value, raised.exc_traceback)
