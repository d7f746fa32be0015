"""Lines of Markdown that say what they are given as text: no cell ends, no code and no HTML begins within it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robot.core.text import visible


def plain(text: str) -> str:
    """Return text as Markdown shows it in one line: no cell ends and no HTML begins within it."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", in_one_line(text))


def in_one_line(text: str) -> str:
    """Return text as it stands in one cell of a table."""
    return visible(text.replace("\n", " ")).replace("|", "\\|")


def code(text: str) -> str:
    """Return text as code in a line of Markdown, between more backticks than stand together in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, edge = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{edge}{in_one_line(text)}{edge}{fence}"


def text_of(value: object) -> str:
    """Return a value of JSON as Markdown: figures short, the parts of lists and objects between commas."""
    if isinstance(value, bool) or not isinstance(value, int | float | dict | list):
        return plain(str(value))
    if isinstance(value, dict):
        return ", ".join(f"{plain(str(name).replace('_', ' '))} {text_of(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(text_of(part) for part in value)
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}"


def head(first: str, others: Sequence[str]) -> list[str]:
    """Return the head of a table whose first column holds words and whose others figures."""
    return row([first, *others]) + row(["---", *("---:" for _ in others)])


def row(cells: Sequence[str]) -> list[str]:
    """Return a row of a table."""
    return ["| " + " | ".join(cells) + " |"]
