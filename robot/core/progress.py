"""Say how far long work has come to whoever shows it: a command draws a bar, a program of one's own hears nothing.

What works asks for `meter()` and needs not know who listens; whoever shows it lends a meter with `shown_on`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Meter(Protocol):
    """Show how far a row of like things has come."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start counting to `total`, of which `done` were done before; ends what was counted until now."""
        ...

    def reach(self, done: int, note: str = "") -> None:
        """Count up to `done` and show a note beside it."""
        ...

    def end(self) -> None:
        """Stop showing it, however far it has come."""
        ...


class _Unseen:
    """Show nothing."""

    def begin(self, what: str, total: int, done: int = 0) -> None: ...

    def reach(self, done: int, note: str = "") -> None: ...

    def end(self) -> None: ...


_meter: ContextVar[Meter] = ContextVar("meter", default=_Unseen())  # noqa: B039 (it holds nothing that could change)


def meter() -> Meter:
    """Return the meter that work of this thread is shown on; by default one that shows nothing."""
    return _meter.get()


@contextmanager
def shown_on(lent: Meter) -> Iterator[None]:
    """Show work of this thread on a meter until the end of the block."""
    before = _meter.set(lent)
    try:
        yield
    finally:
        _meter.reset(before)
