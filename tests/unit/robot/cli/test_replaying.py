"""`sail episodes replay mode=robot`: what does not fit is one sentence, and easing is said before it begins."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from robot.cli.main import main
from robot.core.data import Action
from robot.episodes.store import EpisodeStore
from tests.unit.robot.episodes.test_fit import JOINTS, Arm, joints, recorded, renamed


class Telling(Arm):
    """An arm that says on stdout that it moves."""

    def act(self, action: Action) -> Action:
        if not self.sent:
            print("MOVES")
        return super().act(action)


@pytest.fixture(autouse=True)
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Telling:
    """Work in a folder with an imported episode, its units unknown, and one in millimetres; the robot is an arm."""
    monkeypatch.setattr("os.fsync", lambda _: None)
    monkeypatch.setattr("robot.cli.replaying.has_display", lambda: False)
    monkeypatch.chdir(tmp_path)
    arm = Telling(joints())
    monkeypatch.setattr("robot.cli.replaying._robot", lambda config, episode: arm)
    store = EpisodeStore("data/imported")
    store.add(recorded(renamed(joints(), unit="unknown")), episode_id="theirs")
    store.add(recorded(renamed(joints(), unit="mm"), first=300.0), episode_id="millimetres")
    store.add(recorded(joints(rate_hz=20.0)), episode_id="slower")
    store.add(recorded(renamed(joints(), names=("\x1b[2J", "elbow"))), episode_id="foul")
    return arm


def sail(name: str, *words: str) -> int:
    return main(["episodes", "replay", name, "mode=robot", "speed=0", *words])


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("theirs", (), "does not say in which units its actions are"),
        ("millimetres", ("assume_units=true",), "in other units than arm: shoulder in mm for rad"),
        ("slower", (), "recorded at 20 steps a second and arm runs at 50"),
        ("theirs", ("assume_units=true", "ease_longest_s=1"), "would take 6 s: shoulder is 0.3 rad away"),
        ("theirs", ("rate_hz=quick",), "rate_hz must be a number above 0, got 'quick'"),
        ("theirs", ("rate_hz=-3",), "rate_hz must be a number above 0"),
        ("foul", (), r"\x1b[2J for shoulder"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_nothing_moves(
    name: str, words: tuple[str, ...], says: str, robot: Telling, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sail(name, *words) == 2
    told = capsys.readouterr()
    assert says in told.err and told.err.count("\n") == 1 and not robot.sent and "MOVES" not in told.out


def test_how_long_easing_takes_and_how_far_it_goes_is_said_before_it_begins(
    robot: Telling, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sail("theirs", "assume_units=true") == 0
    shown = capsys.readouterr().out
    said = "Easing into the first pose takes 5.6 s: shoulder goes farthest, 0.3 rad, at no more than 0.1 rad a second."
    assert said in shown and shown.index(said) < shown.index("MOVES")
    assert "eased into the first pose in" in shown and "passed" in shown


def test_names_and_rates_are_taken_as_told(robot: Telling, capsys: pytest.CaptureFixture[str]) -> None:
    assert sail("foul", "assume_names=true", "--json") == 0
    told = capsys.readouterr()
    assert "Easing into the first pose" in told.err
    assert set(json.loads(told.out.replace("MOVES\n", ""))["report"]["rms"]) == set(JOINTS)
    robot.pose = np.zeros(2, np.float32)
    assert sail("slower", "resample=true", "--json") == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert report["steps"] == 12 and report["passed"]


def test_an_episode_of_a_simulator_that_has_no_such_rate_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("metaworld")
    from sim.metaworld import PROPRIO_NAMES, PROPRIO_UNITS, action_spec

    action = dataclasses.replace(action_spec(2), rate_hz=30.0)
    spec = dataclasses.replace(
        joints(name="metaworld/reach"), action=action, proprio_names=PROPRIO_NAMES, proprio_units=PROPRIO_UNITS
    )
    whole = dataclasses.replace(
        recorded(spec),
        robot="metaworld/reach",
        sent=np.zeros((5, 4), np.float32),
        requested=np.zeros((5, 4), np.float32),
        states=np.zeros((6, 100)),
    )
    EpisodeStore("data/imported").add(whole, episode_id="simulated")
    for mode in ("states", "actions"):
        assert main(["episodes", "replay", "simulated", f"mode={mode}", "speed=0"]) == 2
        assert "recorded at 30 steps a second, and the nearest that its simulator does is 26.67" in (
            capsys.readouterr().err
        )
