"""An episode played backwards is what an arm would have done that undid it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from robot.core.data import ActionSpec, Episode, Outcome, RobotSpec
from robot.core.errors import SailError
from robot.episodes.reversal import reversed_episode
from robot.episodes.store import EpisodeStore

NAMES = ("x", "y", "gripper")


def spec(is_relative: bool) -> RobotSpec:
    bound = np.ones(3, np.float32)
    action = ActionSpec(NAMES, ("1", "1", "1"), -bound, bound, 20.0, is_relative)
    return RobotSpec("toy", action, ("x", "y", "opening"), ("m", "m", "1"), {"top": (2, 2)})


def opening(is_relative: bool = True, **changes: object) -> Episode:
    """Return 4 steps: x goes on by 0.1 m for each unit sent, y rests, the gripper shuts at the second step."""
    x = np.array([0.0, 0.05, 0.15, 0.15, 0.10], np.float32)
    proprio = np.stack([x, np.full(5, 0.3, np.float32), np.array([1, 1, 0.5, 0.5, 0.5], np.float32)], 1)
    sent = np.array([[0.5, 0, -1], [1.0, 0, 1], [0.0, 0, 1], [-0.5, 0, 1]], np.float32)
    if not is_relative:
        sent[:, :2] = proprio[1:, :2]
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    made = Episode(
        "door-open", "open the door", "toy", {"top": frames}, proprio, sent, sent, np.arange(5) / 20, Outcome.SUCCESS,
        7, "pull it", success=np.array([False, False, True, True]), reward=np.zeros(4, np.float32),
        states=np.arange(5.0)[:, None], spec=spec(is_relative), episode_id="one",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def test_what_was_seen_runs_backwards_and_the_clock_forwards() -> None:
    turned = reversed_episode(opening(), "close the door", "door-close")
    assert turned.frames["top"][:, 0, 0, 0].tolist() == [4, 3, 2, 1, 0]
    assert np.array_equal(turned.proprio, opening().proprio[::-1])
    assert turned.states is not None and turned.states[:, 0].tolist() == [4, 3, 2, 1, 0]
    assert np.allclose(turned.times_s, np.arange(5) / 20)
    assert (turned.task, turned.instruction, turned.spoken) == ("door-close", "close the door", "")


def test_displacements_lead_back_and_the_gripper_is_what_it_was() -> None:
    turned = reversed_episode(opening(), "close the door")
    # From 0.10 to 0.15, 0.15, 0.05 and 0 m at 0.1 m a unit.
    assert np.allclose(turned.sent[:, 0], [0.5, 0.0, -1.0, -0.5], atol=1e-6)
    assert np.allclose(turned.sent[:, 1], 0.0)
    # Sent before the arm was at observations 3, 2, 1; before observation 0 nothing was, and the first counts.
    assert turned.sent[:, 2].tolist() == [1.0, 1.0, -1.0, -1.0]
    assert np.array_equal(turned.requested, turned.sent)


def test_places_are_those_that_come_next() -> None:
    turned = reversed_episode(opening(is_relative=False), "close the door")
    assert np.allclose(turned.sent[:, 0], [0.15, 0.15, 0.05, 0.0])
    assert np.allclose(turned.sent[:, 1], 0.3)


def test_of_a_robot_that_nothing_is_known_of_the_commands_run_backwards() -> None:
    turned = reversed_episode(opening(spec=None), "close the door")
    assert np.array_equal(turned.sent, opening().sent[[2, 1, 0, 0]])


def test_it_succeeds_at_its_end_where_the_deed_was_done() -> None:
    turned = reversed_episode(opening(), "close the door")
    assert turned.success is not None and turned.success.tolist() == [False, False, False, True]
    assert turned.outcome is Outcome.SUCCESS and turned.reward is None and turned.plans == ()
    early = reversed_episode(opening(), "close the door", last=2)
    assert early.success is not None and not early.success.any() and early.outcome is Outcome.TIMEOUT
    unknown = reversed_episode(opening(success=None, reward=None), "close the door")
    assert unknown.success is None


def test_a_part_of_it_can_be_turned() -> None:
    turned = reversed_episode(opening(), "close the door", first=1, last=3)
    assert turned.frames["top"][:, 0, 0, 0].tolist() == [3, 2, 1]
    assert np.allclose(turned.sent[:, 0], [0.0, -1.0], atol=1e-6)
    assert turned.times_s.tolist() == pytest.approx([0.0, 0.05, 0.10])


def test_it_says_for_ever_that_it_never_happened(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.add(reversed_episode(opening(), "close the door"), (), "two")
    assert store.load("two").reversed_of == "one"
    store.add(opening(), (), "one")
    assert store.load("one").reversed_of == ""
    with pytest.raises(SailError, match=r"'two' is played backwards already: take 'one'\."):
        reversed_episode(store.load("two"), "open the door")


def test_twice_turned_by_hand_it_is_what_it_was() -> None:
    once = dataclasses.replace(reversed_episode(opening(), "close the door"), reversed_of="", episode_id="two")
    twice = reversed_episode(once, "open the door")
    assert np.array_equal(twice.frames["top"], opening().frames["top"])
    assert np.allclose(twice.sent[:, :2], opening().sent[:, :2], atol=1e-6)


@pytest.mark.parametrize(("first", "last"), [(2, 2), (-1, 3), (0, 5), (3, 1)])
def test_what_is_no_part_of_it_is_refused(first: int, last: int) -> None:
    with pytest.raises(SailError, match=r"has observations 0 … 4"):
        reversed_episode(opening(), "close the door", first=first, last=last)


def test_what_nothing_undoes_is_refused() -> None:
    with pytest.raises(SailError, match=r"'one' cannot be played backwards: nothing undoes 'door-open'\."):
        reversed_episode(opening(), "close the door", forbidden=("door-open",))
