"""A person as a judge: what they are asked, what their keys mean, and what is said where there is nobody."""

from __future__ import annotations

import dataclasses
import os
import pty
import sys
import threading

import pytest

from robot.core.errors import SailError
from robot.judges.person import Person, ask_at_terminal, verdict_of
from tests.fakes import toy_episode
from tests.hostile import HOSTILE, IDS, obeyed


def test_each_episode_is_asked_about_and_each_key_has_its_probability() -> None:
    asked: list[str] = []
    keys = iter("sfu")

    def ask(question: str) -> str:
        asked.append(question)
        return next(keys)

    verdicts = Person(ask).judge([toy_episode([False])] * 3)
    assert [verdict.probability for verdict in verdicts] == [1.0, 0.0, 0.5]
    assert [verdict.success for verdict in verdicts] == [True, False, False]
    assert {verdict.source for verdict in verdicts} == {"person"}
    assert all("'go right'" in question for question in asked) and "(2 of 3)" in asked[1]


def test_a_key_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="s, f or u"):
        verdict_of("x")


def test_without_a_terminal_it_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(SailError, match="no terminal to ask a person at"):
            Person().judge([toy_episode([True])])


def test_at_a_terminal_the_first_key_that_is_an_answer_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = pty.openpty()
    with os.fdopen(ours, "r", closefd=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        typing = threading.Timer(0.2, os.write, (theirs, b"xF"))
        typing.start()
        assert ask_at_terminal("Did it?") == "f"
        typing.join()
    os.close(theirs)
    told = capsys.readouterr().err
    assert "Did it?" in told and "failure" in told


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_a_question_quotes_what_was_recorded_as_text(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = pty.openpty()
    with os.fdopen(ours, "r", closefd=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        typing = threading.Timer(0.1, os.write, (theirs, b"s"))
        typing.start()
        [verdict] = Person().judge([dataclasses.replace(toy_episode([True]), instruction=text, episode_id=text)])
        typing.join()
    os.close(theirs)
    told = capsys.readouterr().err
    assert verdict.success and told.count("\n") == 3 and not obeyed(told) and "\r" not in told
