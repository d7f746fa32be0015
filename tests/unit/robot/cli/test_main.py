"""The front of the command line: teaches, suggests, and says one sentence when something expected goes wrong."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import sys

import pytest

from robot.cli import main as front
from robot.cli import verbs
from robot.cli.keys import keys_of
from robot.core.errors import SailError


def sail(*words: str) -> int:
    return front.main(words)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("sail: ")
    return captured.err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], "Usage: sail VERB [KEY=VALUE …] [--json] [--help]"),
        (["improve", "--help"], "sail improve: roll out, keep what worked, train on it, repeat: the SAIL loop."),
        (["train", "planner", "--help"], "Keys of `sail train planner`"),
        (["tasks"], "window-open                open the window"),
    ],
)
def test_help_and_lists_import_nothing_heavy(words: list[str], shown: str) -> None:
    code = (
        "import sys, robot.cli.main as m; status = m.main(sys.argv[1:]); "
        "heavy = {'torch', 'mujoco', 'hydra', 'matplotlib', 'diffusers'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_without_a_verb_the_overview_is_shown_and_nothing_counts_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert sail() == 2
    shown = capsys.readouterr().out
    assert all(name in shown for name in verbs.VERBS)


@pytest.mark.parametrize("name", list(verbs.VERBS))
def test_every_verb_lists_every_key_with_its_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sail(name, "--help") == 0
    shown = capsys.readouterr().out
    assert verbs.VERBS[name].summary in shown
    for config in verbs.VERBS[name].configs.values():
        keys, groups = keys_of(config)
        assert keys
        for key in keys:
            assert f"{key.name}={key.default}" in shown
        for group in groups:
            assert f"{group.name}={group.default}" in shown


def test_help_shows_the_keys_of_what_was_chosen_and_whole_comments(capsys: pytest.CaptureFixture[str]) -> None:
    assert sail("improve", "planner=adapted", "--help") == 0
    shown = capsys.readouterr().out
    assert "planner=adapted " in shown and "planner.strength=0.3" in shown
    assert "steers away from what the arm does anyway, towards what worked" in shown
    assert sail("improve", "planner=adapted_animatelcm", "--help") == 0
    shown = capsys.readouterr().out
    for said in ("planner.general.base=emilianJR/epiCRealism ", "planner.strength_schedule=constant ", "=25 "):
        assert said in shown
    assert "planner.general=" not in shown


@pytest.mark.parametrize("name", list(verbs.VERBS))
def test_the_examples_in_the_help_are_real(name: str) -> None:
    for example, _ in verbs.VERBS[name].examples:
        words = shlex.split(example)[1:]
        assert words[0] == name
        arguments = front.parse(verbs.VERBS[name], words[1:])
        if verbs.VERBS[name].configs:
            front._check_settings(verbs.VERBS[name], arguments)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["impove"], "improve"),
        (["improve", "taks=door-close"], "task"),
        (["improve", "learner.planner.step=3"], "learner.planner.steps"),
        (["improve", "task=door-clse"], "door-close"),
        (["evaluate", "tasks=reach,door-clse"], "door-close"),
        (["improve", "planner=orcale"], "oracle"),
        (["improve", "experiment=quik"], "quick"),
        (["bench", "rendr"], "render"),
        (["tasks", "--jsn"], "--json"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sail(*words) == 2
    assert f"Did you mean {meant}" in complaint(capsys)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["improve", "iterations=two"], "whole number"),
        (["improve", "iterations=1.5"], "whole number"),
        (["improve", "learner.keep_above=much"], "must be a number"),
        (["improve", "tensorboard=1"], "true or false"),
        (["improve", "iterations=["], "cannot be read"),
        (["improve", "iterations"], "KEY=VALUE"),
        (["train"], "autoencoder|planner|inverse_dynamics"),
        (["doctor", "x=1"], "has no settings: leave out x=1"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sail(*words) == 2
    assert says in complaint(capsys)


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(verb: verbs.Verb, arguments: verbs.Arguments) -> int:
        raise error

    monkeypatch.setattr(verbs.Verb, "run", run)


@pytest.mark.parametrize("words", [[], ["robot=arm"], ["task="], ["iterations=1", "--json"]])
def test_improving_at_nothing_in_particular_asks_what_and_shows_where_to_begin(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, AssertionError("work began"))
    assert sail("improve", *words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Say what to improve at: sail improve task=NAME")
    commands = [line.split("  ")[1] for line in told.err.splitlines() if line.startswith("  sail ")]
    assert commands == ["sail improve task=drawer-close", "sail improve experiment=quick", "sail tasks"]
    assert told.err.count("\n") < 24


@pytest.mark.parametrize("words", [["task=reach"], ["experiment=quick"], ["robot=arm", "instruction=fold the towel"]])
def test_improving_at_something_begins(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, SailError("Work began."))
    assert sail("improve", *words) == 2
    monkeypatch.setattr(verbs.Verb, "run", lambda *_: 0)
    assert sail("improve", *words) == 0


def test_an_expected_error_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raising(monkeypatch, SailError("The planner\nis not there."))
    assert sail("improve", "task=reach") == 2
    assert complaint(capsys) == "sail: The planner is not there.\n"


def test_ctrl_c_names_the_command_that_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    assert sail("improve", "task=door-close", "instruction=close the door") == 130
    told = capsys.readouterr().err
    assert "Stopped; continue with: sail improve task=door-close 'instruction=close the door'" in told


def test_a_full_disk_is_one_sentence_even_where_a_library_wraps_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "runs/x.npz"))
    assert sail("improve", "task=reach") == 2
    assert "The disk is full (writing runs/x.npz)" in complaint(capsys)
    wrapped = RuntimeError("could not serialise")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    raising(monkeypatch, wrapped)
    assert sail("improve", "task=reach") == 2
    assert "The disk is full" in complaint(capsys)


def test_a_defect_still_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyError("x"))
    with pytest.raises(KeyError):
        sail("improve", "task=reach")
    raising(monkeypatch, ValueError("bad"))
    monkeypatch.setenv("SAIL_TRACEBACK", "1")
    with pytest.raises(ValueError, match="bad"):
        sail("improve", "task=reach")


def test_tasks_lists_all_fifty_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert sail("tasks", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 50
    assert [row["split"] for row in rows].count("seen") == 8
    assert [row["split"] for row in rows].count("unseen") == 12
    assert all(row["instruction"] for row in rows)
