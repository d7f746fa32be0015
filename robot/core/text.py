"""Make text fit to be shown: what came over a wire, out of a file or from a device is never a control sequence."""

from __future__ import annotations

import sys
import unicodedata


def visible(text: str, most: int = 0) -> str:
    r"""Return text in one line, every character that a terminal or a reader would obey written as its escape.

    These are all of Unicode's categories C, Zl and Zp: controls (ESC and the C1 ones that stand for it, BEL, line
    ends), what turns the direction of writing (U+202E), what joins or is not seen at all, halves of surrogate pairs.
    A line end becomes `\n`, ESC `\x1b`. Of more than `most` characters the rest is left out, 0: of none. What is
    visible already stays as it is.
    """
    if not text.isprintable():
        text = "".join(map(_visible, text))
    return f"{text[: most - 1]}…" if 0 < most < len(text) else text


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


def tell(line: str, end: str = "\n") -> None:
    """Put a line on stderr at once."""
    print(visible(line), end=end, file=sys.stderr, flush=True)
