"""`sail episodes`: tables, filters, JSON, mending, replaying and handing on, and one sentence for every mistake."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.cli import main as front
from robot.cli.screen import Screen
from robot.core.data import Outcome, Verdict
from robot.core.text import visible
from robot.episodes import viewer
from robot.episodes.description import Heading, Origin
from robot.episodes.store import EpisodeStore
from tests.hostile import HOSTILE, obeyed, unstyled
from tests.unit.robot.episodes.samples import episode, record


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EpisodeStore:
    """Work in a folder with one run's store, of two episodes, and one of data, of one."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr(viewer, "has_viewer", lambda: False)
    monkeypatch.setattr("robot.cli.replaying.has_display", lambda: False)
    monkeypatch.chdir(tmp_path)
    EpisodeStore("data/play").add(episode(task="push"), episode_id="alone")
    made = EpisodeStore("runs/one/episodes")
    made.add(episode(12, size=16), [Verdict(1.0, "truth")], "good", Origin("one", 0))
    made.add(episode(outcome=Outcome.TIMEOUT), [Verdict(0.0, "truth")], "bad", Origin("one", 1))
    return made


def sail(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert front.main(["episodes", *words]) == status
    captured = capsys.readouterr()
    return captured.err if status == 2 else captured.out


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    said = sail(capsys, *words, status=2)
    assert said.count("\n") == 1 and said.startswith("sail: ")
    return said


def ids(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    return [row["id"] for row in json.loads(sail(capsys, "list", *words, "--json"))]


def test_every_store_is_listed_and_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    assert ids(capsys) == ["alone", "bad", "good"]
    assert ids(capsys, "task=push") == ["alone"] and ids(capsys, "iteration=1") == ["bad"]
    assert ids(capsys, "verdict=success") == ["good"] and ids(capsys, "outcome=timeout") == ["bad"]
    assert ids(capsys, "judged_by=truth", "store=runs/one/episodes") == ["bad", "good"]
    shown = sail(capsys)
    assert "truth: success" in shown and "3 episodes, 18 steps" in shown
    assert [line.split()[0] for line in shown.splitlines()] == [
        *("data/play", "episode", "alone"),
        *("runs/one/episodes", "episode", "bad", "good"),
        "3",
    ]
    assert "and 2 more" in sail(capsys, "list", "limit=1")
    none = "None of the 3 episodes there are passes these filters."
    assert sail(capsys, "list", "task=push", "verdict=success").strip() == none


def test_a_filter_that_nothing_meets_says_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["task=pish"], "There is no task 'pish'. Did you mean push?"),
        (["task=nothing-like-it"], "There is no task 'nothing-like-it'. Known: push, reach."),
        (["id=god,alone"], "There is no id 'god'. Did you mean good?"),
        (["camera=tip"], "There is no camera 'tip'. Did you mean top?"),
        (["size=16x1"], "There is no size '16x1'. Did you mean 16x16?"),
        (["judged_by=trut"], "There is no judge 'trut'. Did you mean truth?"),
        (["run=two"], "There is no run 'two'."),
    ):
        words = words if words[0] != "id=god,alone" else [*words, "task=reach"]
        for subject in ("list", "stats"):
            assert says in sail(capsys, subject, *words)
        assert says in complaint(capsys, "export", "out=x", *words)
    assert ids(capsys, "task=pish") == []


def test_episodes_are_chosen_by_id_camera_and_size(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    two = {"top": np.zeros((4, 8, 8, 3), np.uint8), "left wrist": np.zeros((4, 16, 24, 3), np.uint8)}
    store.add(episode(frames=two), episode_id="t[w]o")
    assert ids(capsys, "id=good") == ["good"] and ids(capsys, "id=bad,good,gone") == ["bad", "good"]
    assert ids(capsys, "id=*o*") == ["alone", "good", "t[w]o"] and ids(capsys, "id=?ad") == ["bad"]
    assert ids(capsys, "id=t[w]o") == ["t[w]o"] and ids(capsys, "id=t.*") == []
    assert ids(capsys, "camera=left wrist") == ["t[w]o"] == ids(capsys, "camera=top,left wrist")
    assert ids(capsys, "camera=left") == []
    assert ids(capsys, "size=8x8") == ["alone", "bad", "t[w]o"] and ids(capsys, "size=24×16") == ["t[w]o"]
    assert ids(capsys, "size=16x24") == [] and ids(capsys, "size=8x8", "camera=left wrist") == []
    assert ids(capsys, "size=8x8", "camera=top", "task=reach") == ["bad", "t[w]o"]
    (row,) = json.loads(sail(capsys, "list", "id=t[w]o", "--json"))
    assert (row["cameras"], row["sizes"]) == (["top", "left wrist"], ["8x8", "24x16"])


def test_stats_count_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(sail(capsys, "stats", "--json"))
    assert rows["episodes"] == 3
    reach = next(row for row in rows["tasks"] if row["task"] == "reach")
    assert reach["outcomes"] == {"success": 1, "timeout": 1} and reach["judged success"] == 1
    assert "push" in sail(capsys, "stats")


def test_an_episode_is_shown_in_words_with_how_to_get_the_viewer(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sail(capsys, "show", "good")
    assert "success after 12 steps" in shown and "bit for bit" in shown and "run          one, iteration 0" in shown
    assert "pip install 'sail-stack[rerun]'" in shown and "“push the puck”" in shown
    assert json.loads(sail(capsys, "show", "id=good", "--json"))["verdicts"][0]["source"] == "truth"


def test_an_episode_opens_in_the_viewer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    fake: Any = types.ModuleType("rerun")
    for name in ("init", "spawn", "set_time", "reset_time", "disconnect"):
        setattr(fake, name, lambda *_, name=name, **__: logged.append(name))
    fake.save = lambda path: (logged.append("save"), Path(path).touch())
    fake.log = lambda path, *_, **__: logged.append(path)
    for name in ("Image", "Scalars", "TextDocument"):
        setattr(fake, name, lambda value: value)
    monkeypatch.setitem(sys.modules, "rerun", fake)
    monkeypatch.setattr(viewer, "has_viewer", lambda: True)
    monkeypatch.setattr(viewer, "has_display", lambda: False)
    assert "rerun good.rrd" in sail(capsys, "show", "good")
    assert "save" in logged and "spawn" not in logged
    assert logged.count("seen/top") == 13 and logged.count("imagined") > 0 and logged.count("action/x/sent") == 12
    monkeypatch.setattr(viewer, "has_display", lambda: True)
    assert "Opened" in sail(capsys, "show", "good") and "spawn" in logged
    assert json.loads(sail(capsys, "show", "good", "save=to/b.rrd", "--json"))["saved"] == "to/b.rrd"
    assert Path("to/b.rrd").is_file()
    fake.save = lambda _: None
    assert "c.rrd was not written" in sail(capsys, "show", "good", "save=c.rrd", status=1)


def test_a_recording_that_cannot_be_written_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sail(capsys, "show", "good", "save=a.rrd", status=1)
    assert "success after 12 steps" in shown and "a.rrd was not written" in shown and "sail-stack[rerun]" in shown
    assert json.loads(sail(capsys, "show", "good", "save=a.rrd", "--json", status=1))["saved"] is None
    assert not Path("a.rrd").exists()


def test_the_doctor_says_what_it_would_do_and_does_it(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sound" in sail(capsys, "doctor")
    path = store.path("good") / "camera-top.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    shown = sail(capsys, "doctor", status=1)
    assert "camera-top.mkv is damaged" in shown and "--repair" in shown
    found = json.loads(sail(capsys, "doctor", "--json", status=1))
    assert found["sound"] is False and found["findings"][0]["name"] == "good"
    assert "All that could be mended is" in sail(capsys, "doctor", "--repair")
    assert "sound" in sail(capsys, "doctor")


def test_the_doctor_looks_into_a_store_with_nothing_but_an_open_episode(capsys: pytest.CaptureFixture[str]) -> None:
    whole = episode(steps=12)
    with EpisodeStore("runs/two/episodes").record(Heading.of(whole), "first", flush_every=1) as writer:
        record(writer, whole)
    assert "first 11 steps are saved as first-recovered" in sail(capsys, "doctor", status=1)
    sail(capsys, "doctor", "--repair")
    assert ids(capsys, "store=runs/two/episodes") == ["first-recovered"]
    assert "sound" in sail(capsys, "doctor")


@pytest.mark.parametrize("width", [200, 80, 30])
def test_the_table_leaves_columns_out_before_it_squeezes_any(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot.cli.episodes.screen", lambda _: Screen(width=width, is_terminal=True))
    shown = sail(capsys)
    lines = [line for line in shown.splitlines() if line.startswith(("alone", "good", "bad"))]
    assert len(lines) == 3 and all(len(line.rstrip()) <= width and "…" not in line for line in lines)
    assert any("timeout" in line for line in lines)
    assert ("plans" in shown) is (width == 200) and ("recorded" in shown) is (width > 30)
    assert ("truth: failure" in shown) is (width > 30)


def test_the_recorded_video_becomes_a_file_where_there_is_no_display(capsys: pytest.CaptureFixture[str]) -> None:
    assert "good.mp4" in sail(capsys, "replay", "good") and Path("good.mp4").stat().st_size > 0
    assert json.loads(sail(capsys, "replay", "good", "save=a.gif", "--json"))["file"] == "a.gif"


def test_episodes_go_out_and_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert "12 frames in" in sail(capsys, "export", "format=lerobot", "out=set", "verdict=success")
    assert "1 episodes added" in sail(capsys, "import", "set", "store=back")
    assert EpisodeStore("back").about("good")["source"] == "set"
    again = json.loads(sail(capsys, "import", "set", "store=back", "--json"))
    assert (again["added"], again["passed_over"]) == (0, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "goood"], "Did you mean good"),
        (["show", "zzzzzzzz"], "`sail episodes list` shows the 3 there are"),
        (["show", "../good"], "not an episode's id"),
        (["show"], "Say which episode"),
        (["list", "store=nowhere"], "There is no store in nowhere"),
        (["list", "verdict=fine"], "verdict must be"),
        (["list", "outcome=sucess"], "outcome must be one of success, failure"),
        (["list", "date=2026-13"], "date must be like 2026"),
        (["list", "iteration=x"], "iteration must be a whole number"),
        (["list", "data=x", "runs=y"], "no episodes in x or y"),
        (["replay", "good", "mode=backwards"], "There is no mode"),
        (["replay", "good", "mode=actions"], "no simulator here"),
        (["replay", "good", "speed=-1"], "speed must be 0"),
        (["replay", "good", "save=a.txt"], "must end in .gif or .mp4"),
        (["export", "format=zip", "out=x"], "There is no format"),
        (["export"], "out=FOLDER"),
        (["export", "out=x", "task=nothing"], "None of the 3 episodes there are passes"),
        (["export", "out=x"], "not all have the same cameras (top 8×8: 2; top 16×16: 1). Choose with size=… or camera"),
        (["export", "out=x", "size=8x8", "fps=fast"], "fps must be a number"),
        (["export", "out=x", "size=8x8", "fps=0"], "fps must lie between"),
        (["export", "out=x", "size=8x8", "crf=99"], "must lie in 0 … 51"),
        (["export", "out=data", "size=8x8"], "data exists already"),
        (["list", "size=640"], "size must be width and height"),
        (["import"], "Say which data set"),
        (["import", "data"], "is no LeRobot data set"),
        (["lst"], "Did you mean list"),
        (["show", "good", "twice"], "KEY=VALUE"),
    ],
)
def test_every_mistake_is_one_sentence(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in complaint(capsys, *words)


def test_an_id_in_two_stores_must_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    EpisodeStore("data/play").add(episode(), episode_id="good")
    assert "say which with store=" in complaint(capsys, "show", "good")
    assert "data/play" in sail(capsys, "show", "good", "store=data/play")


def test_a_damaged_episode_is_listed_and_refused(store: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    (store.path("bad") / "episode.json").write_text('{"schema": 99}')
    assert "1 cannot be read" in sail(capsys, "list")
    assert "schema 99" in complaint(capsys, "show", "bad")
    (store.path("good") / "steps.parquet").write_bytes(b"PAR1")
    assert "steps.parquet is damaged" in complaint(capsys, "replay", "good")


@pytest.mark.slow
def test_a_simulated_episode_replays_exactly_and_on_the_robot_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Record in one process's simulator; put it back, feed it, and feed another robot of the same kind."""
    from sim.collect import Request, collect_one

    recorded = collect_one(Request("drawer-close", "play", 7, max_steps=25, image_size=32))
    simulated = EpisodeStore("data/simulated")
    simulated.add(recorded, episode_id="simulated")
    for mode in ("states", "actions", "robot"):
        words = ("replay", "simulated", f"mode={mode}", "speed=0", "robot.image_size=32", "robot.workers=1")
        report = json.loads(sail(capsys, *words, "--json"))["report"]
        assert report["passed"] and report["exact"] is True and report["steps"] == 25, (mode, report)
        assert max(report["largest"].values()) == 0.0
    sail(capsys, "replay", "simulated", "mode=actions", "speed=0", "save=again.mp4")
    assert Path("again.mp4").exists()

    assert recorded.states is not None
    states = recorded.states.copy()
    states[-1, -1] = np.nextafter(states[-1, -1], 9)
    other = {name: getattr(recorded, name) for name in recorded.__slots__} | {"states": states}
    simulated.add(type(recorded)(**other), episode_id="other")
    sail(capsys, "replay", "other", "mode=actions", "speed=0", status=1)


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\ud800" not in text])
def test_what_was_recorded_is_shown_as_text(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = EpisodeStore("data/theirs")
    changes = {"task": text, "instruction": text, "spoken": f"say {text}", "robot": text, "config_hash": text}
    said = [Verdict(0.5, "somebody", model=text, rationale=text)]
    made.add(episode(**changes), said, "a[bold]", Origin(text, 0), more={"calibration": text})
    shutil.copytree(made.path("a[bold]"), made.folder / "\x1b[2Jfoul")
    for width in (None, 200):
        monkeypatch.setattr("robot.cli.episodes.screen", lambda _, w=width: Screen(width=w, is_terminal=w is not None))
        listed = sail(capsys, "list", "store=data/theirs")
        rows = [line for line in listed.splitlines() if "a[bold]" in line or r"\x1b[2Jfoul" in line]
        assert len(rows) == 3 and "1 cannot be read" in rows[2] and not obeyed(listed)
        shown = unstyled(sail(capsys, "show", "a[bold]"))
        assert not obeyed(shown) and "\r" not in shown and "a[bold] in data/theirs" in shown
        for line in (
            f"instruction  “{visible(text)}”",
            f"told         “say {visible(text)}”",
            f"robot        {visible(text)}, seed 5",
            f"verdict      somebody: 0.50 {visible(text)}",
            f"calibration  {visible(text)}",
            f"run          {visible(text)}, iteration 0",
        ):
            assert line.rstrip() in [one.rstrip() for one in shown.split("\n")]
        assert not obeyed(sail(capsys, "stats"))
        assert r"\x1b[2Jfoul" in sail(capsys, "doctor", "store=data/theirs", status=1)
    assert json.loads(sail(capsys, "show", "a[bold]", "--json"))["instruction"] == text


def test_a_replay_of_what_somebody_else_named_says_so_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    EpisodeStore("data/theirs").add(episode(), episode_id="b[bold]")
    shown = sail(capsys, "replay", "b[bold]", "save=clip[bold].mp4")
    assert "The pictures are in clip[bold].mp4" in shown and Path("clip[bold].mp4").exists()
    out = sail(capsys, "export", "format=lerobot", "out=set[bold]", "store=data/theirs")
    assert "in set[bold]; open it" in out
    assert "1 episodes added to back[bold]" in sail(capsys, "import", "set[bold]", "store=back[bold]")
