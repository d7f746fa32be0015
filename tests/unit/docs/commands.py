"""Find the commands, keys and links that pages of documentation name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")] if path.name != "CHANGELOG.md")
"""What a reader goes by. The change log and the pages of results tell of what was: their keys may be gone."""

FOLDERS = ("robot", "planners", "policies", "sim", "hardware", "configs", "tests", "docs", "starter", "general")

FENCE = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```", re.M | re.S)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BEFORE = re.compile(r"^(?:do|then|else|time|nohup|exec|[A-Z_]+=\S*)\s+")
PLACEHOLDER = re.compile(r"…|\$|^[A-Z][A-Z_]*$|<\w+>")


class Command(NamedTuple):
    """Hold a command as a page has it: its words, and whether it stands in a block of code to be copied."""

    words: tuple[str, ...]
    copied: bool


def commands_in(text: str) -> list[Command]:
    """Return every `sail …` and `make …` of a page, in blocks of code and in its sentences."""
    found = [
        Command(words, True) for match in FENCE.finditer(text) if match[2] != "python" for words in _in_shell(match[3])
    ]
    spans = [span.replace("\n", " ") for span in INLINE.findall(FENCE.sub("", text))]
    return found + [Command(words, False) for span in spans for words in _in_shell(span)]


def keys_in(text: str) -> list[str]:
    """Return every dotted key that a page's sentences name, without the value it may come with."""
    spans = (match[1].partition("=")[0] for match in INLINE.finditer(FENCE.sub("", text)))
    return [span for span in spans if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", span)]


def paths_in(text: str) -> list[str]:
    """Return every file and folder of the project that a page's sentences name."""
    spans = (match[1] for match in INLINE.finditer(FENCE.sub("", text)))
    return [span for span in spans if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", span)]


def anchors_in(text: str) -> set[str]:
    """Return the names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _in_shell(code: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each `sail` and `make` in lines for a shell, comments and redirections left out."""
    for line in re.sub(r"\\\n\s*|\n(?=  )", " ", code).split("\n"):
        for part in re.split(r"&&|\|\||;| \| ", re.sub(r"(^|\s)#.*", "", line)):
            part = re.sub(r"\s(?:\d?>|&).*", "", part.strip())
            while (shorter := BEFORE.sub("", part)) != part:
                part = shorter
            if re.match(r"(?:\S*/)?(?:sail|make)(?:\s|$)", part):
                yield from _spelt_out([Path(word).name if not i else word for i, word in enumerate(shlex.split(part))])


def _spelt_out(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield a command once for each of what `a|b` in it stands for."""
    for place, word in enumerate(words):
        if "|" in word and "=" not in word:
            for one in word.strip("[]").split("|"):
                yield from _spelt_out([*words[:place], one, *words[place + 1 :]])
            return
    yield tuple(words)
