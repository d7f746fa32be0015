"""Errors a person can act on. The command line prints their one sentence and exits with status 2."""

from __future__ import annotations

MOST_NAMED = 60
"""Known names that are listed at most where none is near."""


class SailError(Exception):
    """Say in one sentence what was wrong, where, and what to do."""


class NotFiniteError(SailError):
    """Say that training met a loss or a batch that is not finite; the last good checkpoint is kept."""


class NameTakenError(SailError):
    """Say that what is to be stored has the name of something that is there already."""


class HeldError(SailError):
    """Say that another process works in a folder, and which."""


class CheckpointError(SailError):
    """Say that stored weights are missing, truncated, or belong to another architecture."""


class RenderingError(SailError):
    """Say that no off-screen rendering backend works and what to install."""


class UnknownNameError(SailError):
    """Say that a name is not known and which known ones are nearest."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...] | list[str]) -> None:
        import difflib

        names = list(dict.fromkeys(known))
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        hint = f" Did you mean {' or '.join(near)}?" if near else f" Known: {', '.join(names[:MOST_NAMED])}{more}."
        super().__init__(f"There is no {kind} {name!r}.{hint}")
        self._said = (kind, name, known)

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, tuple[str, ...] | list[str]]]:
        """Travel between processes: a worker's complaint reaches the one who asked."""
        return type(self), self._said
