"""What is made visible, and what is left alone."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from robot.core.text import tell, visible
from tests.hostile import HOSTILE, IDS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\u202eabc", r"\u202eabc"),
        ("a\u2028b", r"a\u2028b"),
        ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"),
        ("", ""),
        (r"C:\new [/x] {y} %s $z", r"C:\new [/x] {y} %s $z"),
        ("“Schublade” – 引き出しを\u3000閉める, ça\u00a0va", "“Schublade” – 引き出しを\u3000閉める, ça\u00a0va"),
    ],
)
def test_only_what_would_be_obeyed_is_written_as_its_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_control_of_unicode_is_left() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    left = {unicodedata.category(character) for character in visible(everything)}
    assert not any(category[0] == "C" or category in ("Zl", "Zp") for category in left)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_what_is_visible_stays_as_it_is_and_can_be_encoded(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert visible(text).encode("utf-8")


def test_of_long_text_the_rest_is_left_out_and_it_is_seen() -> None:
    assert visible("abcdef", 6) == "abcdef" and visible("abcdef", 5) == "abcd…"
    assert visible("\x1b" * 5, 9) == r"\x1b\x1b…"
    assert len(visible("x" * 10_000, 100)) == 100


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_a_line_told_is_one_line_on_stderr(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell(text)
    told = capsys.readouterr()
    assert told.out == "" and told.err == f"{visible(text)}\n"
