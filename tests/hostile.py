"""Text that somebody else chose, to break what shows it: markup, control sequences, forged lines, sheer length."""

from __future__ import annotations

import re

HOSTILE = (
    "[/x]",
    "[bold]",
    "lab [/dev/arm0]",
    "[link=http://somewhere.else]here[/link]",
    ":smile:",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b2J",
    "over\rwritten",
    "two\nlines",
    "two\u2028lines",
    "\u202edesrever",
    "\ud800 half a pair",
    "\x00\x08",
    "very long " * 1000,
)
IDS = [ascii(text[:12]) for text in HOSTILE]
OBEYED = ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\x08", "\x00", "\u202e", "\u2028", "\ud800")
"""What none of the hostile texts may leave in what is shown; a terminal's own sequences for styles may stand there."""


def obeyed(shown: str) -> list[str]:
    """Return which of the control sequences of the hostile texts stand in what is shown."""
    return [sequence for sequence in OBEYED if sequence in shown]


def unstyled(shown: str) -> str:
    """Return what is shown without the sequences that a terminal's styles are made of."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)
