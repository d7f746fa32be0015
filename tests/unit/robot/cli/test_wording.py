"""Tasks in any words on an arm, and none of MetaWorld's demonstrations or instructions with them."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from robot.cli.assembly import exploration_of, without_demonstrations
from robot.cli.compose import build, compose, config_hash, plain
from robot.cli.evaluate import tasks_asked
from robot.cli.improve import Narrator, run_folder, seen_demonstrations
from robot.cli.keys import group_options
from robot.cli.main import main
from robot.cli.screen import Screen, meter, screen
from robot.cli.wording import takes_any_words, task_of, told
from robot.core.data import Verdict
from robot.core.errors import SailError
from robot.core.protocols import TakesAnyWords
from robot.core.text import visible
from robot.episodes.store import EpisodeStore
from robot.learn.journal import Journal
from robot.learn.run import LoopEvent
from tests.fakes import toy_episode
from tests.hostile import HOSTILE, IDS
from tests.unit.hardware.serving import served


def test_an_arm_takes_any_words_and_the_simulator_one_of_the_fifty() -> None:
    arm = compose("improve", ["robot=arm", "task=Fold the towel!"])
    assert takes_any_words(arm) and task_of(arm) == ("fold-the-towel", "Fold the towel!")
    assert run_folder(arm).name.startswith("fold-the-towel-seed0-")
    assert takes_any_words(compose("improve", ["robot=franka"]))
    assert tasks_asked(compose("evaluate", ["robot=arm", "task=fold it"])) == {"fold-it": "fold it"}
    assert task_of(compose("improve", ["task=door-close"])) == ("door-close", "close the door")
    for robot in ("metaworld", "metaworld_zmq"):
        with pytest.raises(SailError, match="no task 'Fold"):
            task_of(compose("improve", [f"robot={robot}", "task=Fold the towel!"]))
    with pytest.raises(SailError, match="one task"):
        tasks_asked(compose("evaluate", ["robot=arm", "tasks=seen"]))


def test_a_robot_of_somebody_s_own_takes_any_words_if_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["robot._target_=tests.own_robot.OwnRobot", "task=Fold the towel!"]
    own = compose("improve", words)
    assert takes_any_words(own) and task_of(own) == ("fold-the-towel", "Fold the towel!")
    assert tasks_asked(compose("evaluate", words)) == {"fold-the-towel": "Fold the towel!"}
    exploration = exploration_of(own, "Fold the towel!")
    assert exploration is not None and list(exploration.bandit.instructions) == ["Fold the towel!"]
    for verb in ("improve", "evaluate"):  # what does not fit is its camera, not its task
        assert main([verb, *words, "planner=tiny", "inverse_dynamics=tiny"]) == 2
        assert "camera 'corner2', and the robot has only top" in capsys.readouterr().err
    silent = compose("improve", ["robot._target_=tests.fakes.ToyRobot", "task=Fold the towel!"])
    assert not takes_any_words(silent)
    with pytest.raises(SailError, match="no task 'Fold"):
        task_of(silent)


@pytest.mark.parametrize("target", ["tests.own_robot.Nobody", "nowhere.Robot", "robot.cli.wording", "…", "7.x"])
def test_a_robot_that_is_nowhere_is_told_and_not_its_task(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"robot._target_={target}", "task=fold the towel", "planner=tiny"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and (target in told or "no task 'fold the towel'" in told)


def test_what_makes_no_robot_is_told_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["robot._target_=robot.core.text", "task=reach", "planner=tiny", "inverse_dynamics=tiny"]
    assert main(["evaluate", *words]) == 2
    told = capsys.readouterr().err
    assert "names makes nothing" in told and told.count("\n") == 1


@pytest.mark.parametrize("option", group_options("robot"))
def test_what_is_built_takes_the_words_that_its_configuration_says(option: str) -> None:
    config = compose("improve", [f"robot={option}"])
    with served() as server:
        here = {
            "address": server.address,
            "cameras": ["front"],
            "known": "",
            "kinematics": None,
            "size": 1,
            "workers": 1,
        }
        if option == "metaworld":
            here["cameras"] = ["corner2"]
        settings = {key: here.get(key, value) for key, value in plain(config.robot).items()}
        built = build(OmegaConf.create(settings), task="reach")
        try:
            assert (isinstance(built, TakesAnyWords) and built.takes_any_words) == takes_any_words(config)
        finally:
            built.close()


def test_what_was_improved_in_own_words_is_evaluated_in_them() -> None:
    words = "instruction=put the lid on"
    assert tasks_asked(compose("evaluate", ["task=box-close", words])) == {"box-close": "put the lid on"}
    assert tasks_asked(compose("evaluate", ["robot=arm", "task=box-close", words])) == {"box-close": "put the lid on"}
    assert len(tasks_asked(compose("evaluate", ["task=seen"]))) == 8
    with pytest.raises(SailError, match="one task"):
        tasks_asked(compose("evaluate", ["tasks=seen", words]))
    with pytest.raises(SailError, match="empty"):
        tasks_asked(compose("evaluate", ["task=box-close", "instruction='  '"]))


@pytest.mark.parametrize("verb", ["improve", "evaluate"])
def test_the_command_lets_words_through_on_an_arm_alone(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "task=fold the towel"]) == 2
    assert "fold the towel" in capsys.readouterr().err
    assert main([verb, "task=fold the towel", "robot=arm", "robot.address=here", "planner=tiny"]) == 2
    assert "tcp://HOST:PORT" in capsys.readouterr().err


def test_on_an_arm_nothing_of_metaworld_is_borrowed_or_mixed_in() -> None:
    config = compose("improve", ["robot=arm", "task=fold the towel"])
    exploration = exploration_of(config, "fold the towel")
    assert exploration is not None and list(exploration.bandit.instructions) == ["fold the towel"]
    config.learner.exploration.true_instruction = False
    assert exploration_of(config, "fold the towel") is None
    alone = without_demonstrations(config).learner
    assert (alone.planner.seen_share, alone.inverse_dynamics.seen_share, alone.planner.unhesitating) == (
        0.0,
        0.0,
        False,
    )
    assert config.learner.planner.unhesitating
    with meter(screen(True)) as progress:
        assert list(seen_demonstrations(config, progress, print)) == []


def test_a_store_s_own_demonstrations_are_mixed_in_where_they_worked(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path / "store")
    words = ["robot=arm", f"demonstrations_from={store.folder}"]
    with meter(screen(True)) as progress:
        with pytest.raises(SailError, match="sail arm teleoperate"):
            seen_demonstrations(compose("improve", words), progress, print)
        for name, worked in (("a", True), ("b", False), ("c", True)):
            store.add(toy_episode([False, worked]), episode_id=name)
        store.append_verdict("c", Verdict(0.0, "person"))
        mixed = seen_demonstrations(compose("improve", words), progress, print)
    assert [episode.episode_id for episode in mixed] == ["a"]


def test_a_run_without_a_store_of_demonstrations_is_called_as_before() -> None:
    assert config_hash(compose("improve")) != config_hash(compose("improve", ["demonstrations_from=here"]))
    assert np.unique([config_hash(compose("improve", [f"robot.known={name}", "robot=arm"])) for name in "ab"]).size == 1


@pytest.mark.parametrize("words", ["../../etc/passwd", "\x1b[2J", "[/x]", "—", "fold it " * 100, "-rf /", ".hidden"])
def test_whatever_words_a_task_is_asked_for_in_a_file_can_be_called_after_it(words: str, tmp_path: Path) -> None:
    task, instruction = told(words, "")
    assert instruction == " ".join(words.split())
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", task) and len(task) <= 100
    (tmp_path / f"{task}-20261124-101112-000000").mkdir()


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_the_loop_tells_of_words_as_text(text: str, tmp_path: Path) -> None:
    file = io.StringIO()
    console = Screen(file, width=300, is_terminal=False)
    with meter(console, every_s=0) as progress:
        narrator = Narrator(console, progress, Journal(tmp_path), text)
        explored = {"rollouts": 1, "successes": 1, "arms": [{"instruction": text, "successes": 1}]}
        narrator.hear(LoopEvent("run_started", 0, {"resumed": False}))
        narrator.hear(LoopEvent("rollouts_finished", 0, {"successes": 1, "rollouts": 2, "exploration": explored}))
        narrator.say(text)
    lines = file.getvalue().split("\n")
    assert lines[0] == f"“{visible(text)}” in {tmp_path}" and lines[3:] == [visible(text), ""]
    assert lines[1] == f"Its report, drawn anew after every round: {tmp_path}/report/index.html"
    assert lines[2].startswith("iteration 0: success 50 % (") and lines[2].endswith(f"(best: “{visible(text)}”)")
