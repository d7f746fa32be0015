"""`sail episodes import`: what is taken in, what is left out and why, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.cli import main as front
from robot.cli.screen import Screen
from robot.core.text import visible
from robot.episodes.store import EpisodeStore
from tests.hostile import HOSTILE, obeyed, unstyled
from tests.lerobot.sets import Camera, Plan, Take, change_json, write_set


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)


def sail(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert front.main(["episodes", "import", *words]) == status
    captured = capsys.readouterr()
    return captured.err if status == 2 else captured.out


def answer(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sail(capsys, *words, "--json", status=status))
    return found


def test_what_was_left_out_is_a_table_and_the_rest_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    nan = np.full((4, 2), np.nan)
    takes = (Take(4), Take(0), Take(4, actions=nan), Take(4, actions=nan), Take(5, order=[1, 0, 2, 3, 4]))
    write_set(Path("set"), Plan(takes, (Camera(), Camera("depth", kept="depth"))))
    shown = sail(capsys, "set", "store=in", status=1)
    lines = [line.rstrip().split("  ") for line in shown.splitlines()]
    rows = {cells[0]: cells[-1].strip() for cells in lines}
    assert "\n2 episodes added to in.\n" in shown
    assert rows["episode 1"] == "it has no rows"
    assert rows["episodes 2–3"] == "its action is not finite in row 0"
    assert rows["episode 4"] == "its rows were out of order and are sorted by frame_index"
    assert "distances" in rows["camera depth"]
    assert len(EpisodeStore("in").ids()) == 2
    again = answer(capsys, "set", "store=in", status=1)
    assert (again["added"], again["passed_over"]) == (0, 2)
    assert {row["what"] for row in again["left_out"]} == {"episode 1", "episode 2", "episode 3", "camera depth"}
    assert again["notes"] == [{"what": "episode 4", "note": rows["episode 4"]}]


def test_a_whole_set_is_taken_in_twice_without_a_word_of_complaint(capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("set"), Plan((Take(4, success=[0, 0, 0, 1]), Take(5, success=[0] * 5))))
    assert sail(capsys, "set", "store=in").splitlines()[1:] == ["2 episodes added to in."]
    assert sail(capsys, "set", "store=in").splitlines()[1:] == ["0 episodes added to in, 2 were there already."]
    about = [EpisodeStore("in").about(name) for name in EpisodeStore("in").ids()]
    assert {(row["source"], row["source_episode"], row["outcome"]) for row in about} == {
        ("set", 0, "success"),
        ("set", 1, "failure"),
    }


def test_two_folders_of_one_name_do_not_meet(capsys: pytest.CaptureFixture[str]) -> None:
    for number, task in enumerate(("push", "pull")):
        write_set(Path(f"{number}/pick"), Plan((Take(4, (task,)),)))
        assert answer(capsys, f"{number}/pick", "store=in")["added"] == 1
    assert len(EpisodeStore("in").ids()) == 2


def test_the_same_episode_twice_in_a_set_is_kept_once_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    same = {"states": np.zeros((4, 3)), "actions": np.zeros((4, 2))}
    write_set(Path("set"), Plan((Take(4, **same), Take(4, **same)), ()))
    found = answer(capsys, "set", "store=in")
    assert (found["added"], found["passed_over"]) == (1, 1)
    assert found["notes"] == [{"what": "episode 1", "note": "it is the same as episode 0, and kept once"}]


def test_demonstrations_without_flags_ask_for_their_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("set"), Plan((Take(4), Take(5))))
    assert "2 of them carry no success flags and are listed as timeout" in sail(capsys, "set", "store=in")
    assert "outcome=success" not in sail(capsys, "set", "store=other", "outcome=success")
    assert EpisodeStore("other").about(EpisodeStore("other").ids()[0])["outcome"] == "success"
    later = answer(capsys, "set", "store=in", "outcome=success", status=1)
    assert "with the outcome timeout" in later["left_out"][0]["why"], "not the same, so not passed over"


def test_cameras_quality_and_rate_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("set"), Plan((Take(4), Take(5)), (Camera("top", density=2), Camera("wrist"), Camera("side"))))
    change_json(Path("set/meta/info.json"), fps=0)
    assert "states a rate of 0" in sail(capsys, "set", "store=in", status=2)
    answer(capsys, "set", "store=in", "fps=30", "crf=25", "camera=top,wrist")
    kept = EpisodeStore("in").about(EpisodeStore("in").ids()[0])["cameras"]
    assert {name: row["crf"] for name, row in kept.items()} == {"top": 25, "wrist": -1}
    answer(capsys, "set", "store=one", "fps=30", "camera=wrist")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["set", "outcome=sucess"], "Did you mean success"),
        (["set", "camera=tpo"], "There is no camera 'tpo'. Did you mean top?"),
        (["set", "crf=60"], "crf must be a whole number from 0 to 51"),
        (["set", "crf=fine"], "crf must be a whole number from 0 to 51"),
        (["set", "fps=-1"], "fps must be a number above 0"),
        (["set", "fps=fast"], "fps must be a number above 0"),
        (["set", "format=rosbag"], "There is no format"),
        (["nowhere"], "is no LeRobot data set"),
        (["set", "store=set/meta/info.json/in"], "could not be written"),
        ([], "Say which data set"),
    ],
)
def test_every_mistake_is_one_sentence(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("set"), Plan((Take(4),)))
    said = sail(capsys, *words, status=2)
    assert said.count("\n") == 1 and said.startswith("sail: ") and says in said


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\ud800" not in text])
def test_what_a_set_says_is_shown_as_text(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan((Take(4, (text,)), Take(0)), (Camera(text, kept="png"),), names={"action": [text, "y"]})
    write_set(Path("set"), plan)
    change_json(Path("set/meta/info.json"), robot_type=text)
    info = json.loads(Path("set/meta/info.json").read_text())
    info["features"][f"x{text}"] = {"dtype": "float32", "shape": [1]}
    change_json(Path("set/meta/info.json"), features=info["features"])
    monkeypatch.setattr("robot.cli.importing.screen", lambda _: Screen(width=200, is_terminal=False))
    shown = unstyled(sail(capsys, "set", "store=in", status=1))
    assert not obeyed(shown) and "\r" not in shown and visible(text)[:40] in shown
    (name,) = EpisodeStore("in").ids()
    assert name.isprintable() and "/" not in name
    about = EpisodeStore("in").about(name)
    assert about["instruction"] == text and about["robot"] == text and list(about["cameras"]) == [text]
    assert all(path.name.isprintable() for path in EpisodeStore("in").path(name).iterdir())


def test_what_was_copied_and_mended_is_said_of_an_episode(capsys: pytest.CaptureFixture[str]) -> None:
    write_set(Path("set"), Plan((Take(4, order=[1, 0, 2, 3]),)))
    answer(capsys, "set", "store=data/in")
    assert front.main(["episodes", "show", EpisodeStore("data/in").ids()[0]]) == 0
    shown = capsys.readouterr().out
    assert "4 frames of 64×64, h264, as it came" in shown and "source       set" in shown
    assert "note         its rows were out of order and are sorted by frame_index" in shown
