"""Laws of the task list: fifty tasks, words for each, a split without overlap."""

from __future__ import annotations

import pytest

from robot.core.errors import UnknownNameError
from sim.tasks import (
    GENERAL,
    GENERAL_PARAPHRASES,
    INSTRUCTIONS,
    PARAPHRASES,
    RESERVED,
    SEEN,
    TUNING,
    UNSEEN,
    check_task,
    instruction,
    tasks_of,
)


def test_there_are_metaworlds_fifty_tasks() -> None:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    assert {f"{task}-v3" for task in INSTRUCTIONS} == set(ALL_V3_ENVIRONMENTS)
    assert len(INSTRUCTIONS) == 50


def test_every_task_is_asked_for_in_its_own_words() -> None:
    assert len(set(INSTRUCTIONS.values())) == 50
    assert all(words == words.strip().lower() and words for words in INSTRUCTIONS.values())


def test_the_split_has_eight_seen_and_twelve_unseen_tasks_without_overlap() -> None:
    assert (len(SEEN), len(UNSEEN)) == (8, 12)
    groups = [set(SEEN), set(UNSEEN), set(TUNING)]
    assert sum(len(group) for group in groups) == len(set().union(*groups))
    assert set().union(*groups) <= set(INSTRUCTIONS)


def test_every_task_is_in_exactly_one_of_general_reserved_seen_and_unseen() -> None:
    groups = (GENERAL, RESERVED, SEEN, UNSEEN)
    assert [len(group) for group in groups] == [22, 8, 8, 12]
    assert sorted(task for group in groups for task in group) == sorted(INSTRUCTIONS)


def test_the_general_tasks_are_said_in_several_ways_that_are_no_other_task_s() -> None:
    assert set(GENERAL_PARAPHRASES) == set(GENERAL)
    said = [words for several in (*GENERAL_PARAPHRASES.values(), *PARAPHRASES.values()) for words in several]
    assert len(set(said)) == len(said)
    assert not set(said) & set(INSTRUCTIONS.values())


def test_paraphrases_are_of_seen_tasks_and_say_no_tasks_own_words() -> None:
    assert set(PARAPHRASES) == set(SEEN)
    borrowed = [words for several in PARAPHRASES.values() for words in several]
    assert len(set(borrowed)) == len(borrowed)
    assert not set(borrowed) & set(INSTRUCTIONS.values())


@pytest.mark.parametrize(("typo", "meant"), [("door-clos", "door-close"), ("drawer_close", "drawer-close")])
def test_a_typo_is_answered_with_the_nearest_tasks(typo: str, meant: str) -> None:
    for ask in (check_task, instruction, tasks_of):
        with pytest.raises(UnknownNameError, match=rf"no task '{typo}'.*Did you mean .*{meant}"):
            ask(typo)


def test_a_name_near_to_nothing_is_answered_with_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match="Known: assembly, basketball"):
        check_task("xyzzy")


def test_a_selection_names_groups_or_tasks() -> None:
    assert tasks_of("seen") == SEEN
    assert tasks_of("unseen") == UNSEEN
    assert tasks_of("tuning") == TUNING
    assert tasks_of("general") == GENERAL
    assert tasks_of("reserved") == RESERVED
    assert tasks_of("all") == tuple(INSTRUCTIONS)
    assert tasks_of("door-close") == ("door-close",)
    assert tasks_of(" window-open, reach ,") == ("window-open", "reach")
    with pytest.raises(UnknownNameError, match="Did you mean unseen"):
        tasks_of("unsee")


def test_groups_and_names_mix_and_each_task_comes_once() -> None:
    assert tasks_of("seen,general") == (*SEEN, *GENERAL)
    assert tasks_of("door-close, tuning,door-lock,unseen") == (
        "door-close",
        *TUNING,
        *(task for task in UNSEEN if task != "door-close"),
    )
    assert tasks_of("all,seen") == tuple(INSTRUCTIONS)
    with pytest.raises(UnknownNameError, match=r"no task 'sene'.*Did you mean seen"):
        tasks_of("unseen,sene")


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        tasks_of(" , ")


def test_instruction_returns_the_words() -> None:
    assert instruction("drawer-close") == "close the drawer"
