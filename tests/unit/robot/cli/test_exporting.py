"""`sail episodes export`: all that can be handed on is, what cannot be stands in a table, and the doctor is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.cli import main as front
from robot.core.data import Outcome, Verdict
from robot.episodes.arrival import Arrival
from robot.episodes.labels import Field, Label
from robot.episodes.lerobot.importing import LeRobotSource
from robot.episodes.store import EpisodeStore
from tests.hostile import HOSTILE, obeyed
from tests.unit.robot.episodes.samples import assert_same, episode


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EpisodeStore:
    """Work in a folder with a store of three episodes."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.chdir(tmp_path)
    made = EpisodeStore("data/play")
    for number in range(3):
        made.add(episode(6, seed=number, size=16), [Verdict(1.0, "truth")], f"e{number}")
    return made


def sail(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert front.main(["episodes", *words]) == status
    return capsys.readouterr().out


def exported(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(sail(capsys, "export", "out=set", *words, "--json", status=status))
    return said


def test_the_rest_is_handed_on_and_the_doctor_named(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    path = store.path("e1") / "camera-top.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (store.path("e2") / "episode.json").write_text("{")
    store.add(episode(0, size=16), episode_id="empty")
    store.add(episode(6, size=16, sent=np.full((6, 2), np.nan, np.float32)), episode_id="nan")
    said = sail(capsys, "export", "out=set", status=1)
    assert "1 episodes, 6 frames in set" in said and "4 left out:" in said
    for name, why in (
        ("e1", "camera-top.mkv is damaged"),
        ("e2", "is damaged: it is not JSON"),
        ("empty", "no action"),
    ):
        assert any(line.startswith(name) and why in line for line in said.splitlines())
    assert "`sail episodes doctor`" in said
    assert [one.bare.episode_id for one in LeRobotSource("set") if isinstance(one, Arrival)] == ["e0"]
    left_out = {row["episode"]: row for row in exported(capsys, "out=other", status=1)["left_out"]}
    assert "no number in the action sent of step 0" in left_out["nan"]["why"] and left_out["nan"]["damaged"]
    assert not left_out["empty"]["damaged"] and left_out["e1"]["store"] == "data/play"


def test_where_nothing_can_be_handed_on_there_is_no_data_set(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in store.ids():
        (store.path(name) / "steps.parquet").unlink()
    assert "Nothing was written to set: all were left out" in sail(capsys, "export", "out=set", status=1)
    assert not Path("set").exists() and sorted(path.name for path in Path().iterdir()) == ["data"]


def test_a_store_of_two_sizes_goes_out_one_at_a_time(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.add(episode(6, size=24), episode_id="large")
    assert exported(capsys, "size=24x24")["info"]["total_episodes"] == 1
    assert exported(capsys, "size=16x16", "out=others")["info"]["total_episodes"] == 3
    assert exported(capsys, "id=e0,e2", "out=two")["info"]["total_episodes"] == 2


def test_only_the_pictures_of_the_cameras_named_go_out(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    frames = {name: np.full((7, 16, 16, 3), shade, np.uint8) for name, shade in (("top", 9), ("wrist", 200))}
    store.add(episode(6, frames=frames), episode_id="both")
    info = exported(capsys, "camera=top", "crf=0")["info"]
    assert info["total_episodes"] == 4
    assert [key for key in info["features"] if "images" in key] == ["observation.images.top"]
    assert [set(one.pictures) for one in LeRobotSource("set") if isinstance(one, Arrival)] == [{"top"}] * 4


def test_the_rate_that_counts_is_asked_for(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.add(episode(6, size=16, times_s=np.arange(7) / 8), episode_id="slow")
    said = exported(capsys, status=1)
    assert [row["episode"] for row in said["left_out"]] == ["slow"]
    assert "came at 8 Hz and were to come at 40 Hz" in said["left_out"][0]["why"]
    said = exported(capsys, "out=all", "fps=20")
    assert said["info"]["fps"] == 20 and said["info"]["total_episodes"] == 4
    assert said["notices"] == ["The rows are counted at 20 Hz; they came at 8 to 40 Hz."]


def test_out_and_back_nothing_that_was_said_is_lost(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    person = {"success": None, "reward": None, "states": None, "outcome": Outcome.TIMEOUT}
    store.add(episode(6, seed=9, size=16, plans=(), **person), episode_id="mine")
    store.append_labels("mine", [Label(Field.SEGMENT, "grasp", "person", "ada", span=(2, 6))])
    store.append_verdict("mine", Verdict(0.7, "classifier", "9c", np.linspace(0, 1, 7, dtype=np.float32), "looks so"))
    store.append_verdict("mine", Verdict(1.0, "person"))
    said = exported(capsys, "id=mine", "crf=0")
    assert said["notices"] == [] and "next.success" in said["info"]["features"]
    sail(capsys, "import", "set", "store=back")
    back = EpisodeStore("back")
    assert_same(back.load("mine"), store.load("mine"))
    assert back.labels("mine") == store.labels("mine")


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\ud800" not in text and len(text) < 100])
def test_what_is_left_out_is_shown_as_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = EpisodeStore("data/theirs")
    for name, camera in (("good", "top"), ("foul", f"{text}/")):
        made.add(episode(6, frames={camera: np.zeros((7, 16, 16, 3), np.uint8)}), episode_id=name)
    shown = sail(capsys, "export", "out=foul", "store=data/theirs", "id=foul", status=1)
    assert not obeyed(shown) and "cannot name a folder" in shown
    assert front.main(["episodes", "export", "out=set", "store=data/theirs"]) == 2
    assert not obeyed(capsys.readouterr().err)
