"""Which tasks of a store a selection names, and what a task of it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from robot.cli.wording import instruction_in, listed, tasks_named
from robot.core.errors import SailError, UnknownNameError
from robot.episodes.store import EpisodeStore
from tests.unit.robot.cli.test_train_store import moved

KNOWN = ["pick", "pick, then place", "place"]


@pytest.mark.parametrize(
    ("selection", "tasks"),
    [
        ("", ("pick", "pick, then place", "place")),
        ("all", ("pick", "pick, then place", "place")),
        ("place, pick,", ("place", "pick")),
        ("pick, then place", ("pick, then place",)),
        ("pick,pick, then place,place", ("pick", "pick, then place", "place")),
        ("place,place", ("place",)),
    ],
)
def test_tasks_are_named_with_commas_between(selection: str, tasks: tuple[str, ...]) -> None:
    assert tasks_named(selection, KNOWN) == tasks


def test_many_tasks_are_not_all_said() -> None:
    assert listed(KNOWN) == "pick, pick, then place, place"
    assert listed([str(number) for number in range(9)]) == "0, 1, 2, 3, 4, 5 and 3 more"


def test_a_task_called_all_is_meant_by_its_name() -> None:
    assert tasks_named("all", ["all", "pick"]) == ("all",)


def test_an_unknown_task_is_answered_with_the_store_s_own() -> None:
    with pytest.raises(UnknownNameError, match="There is no task 'plaec'. Did you mean place"):
        tasks_named("pick,plaec", KNOWN)
    with pytest.raises(UnknownNameError, match="There is no task 'then place'"):
        tasks_named("place, then place", KNOWN)


def test_a_task_s_words_are_its_episodes_own(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(moved(instruction="pick the cube"))
    store.add(moved(instruction="pick the cube"))
    store.add(moved("place", instruction="put it down"))
    store.add(moved("place", instruction="lay it down"))
    store.add(moved("silent", instruction=" "))
    assert instruction_in(tmp_path, "pick") == "pick the cube"
    with pytest.raises(SailError, match="say 2 things, such as .*say it with instruction='…'"):
        instruction_in(tmp_path, "place")
    with pytest.raises(SailError, match="its episodes say nothing"):
        instruction_in(tmp_path, "silent")
