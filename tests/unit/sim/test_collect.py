"""Laws of collecting: what was asked for comes, in that order, whoever makes it, and reads as an episode should."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from robot.core.data import Action, Episode, Outcome
from robot.core.errors import SailError
from sim import collect as module
from sim.collect import Request, collect, collect_one

TASK = "drawer-close"
REQUESTS = [
    Request(TASK, "demonstrations", 3, image_size=24),
    Request(TASK, "play", 4, image_size=24, max_steps=8),
    Request(TASK, "failures", 5, image_size=24, max_steps=12),
    Request(TASK, "suboptimal", 6, image_size=24, max_steps=9),
]


@pytest.fixture(scope="module")
def serial() -> Iterator[list[Episode]]:
    yield list(collect(REQUESTS, workers=1))
    for robot in module._cached.values():
        robot.close()
    module._cached.clear()


def assert_same(first: Episode, second: Episode) -> None:
    for name in ("proprio", "requested", "sent", "times_s", "states", "success"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name, frames in first.frames.items():
        np.testing.assert_array_equal(frames, second.frames[name])
    for name in ("task", "instruction", "spoken", "robot", "outcome", "seed"):
        assert getattr(first, name) == getattr(second, name)


def test_episodes_come_in_the_order_asked_for(serial: list[Episode]) -> None:
    assert [episode.seed for episode in serial] == [3, 4, 5, 6]
    assert all(episode.task == TASK and episode.instruction == "close the drawer" for episode in serial)
    assert all(episode.frames["corner2"].shape[1:] == (24, 24, 3) for episode in serial)


def test_a_demonstration_succeeds_and_goes_on_a_little(serial: list[Episode]) -> None:
    demonstration = serial[0]
    assert demonstration.outcome is Outcome.SUCCESS
    assert demonstration.success is not None
    np.testing.assert_array_equal(demonstration.success[-4:], True)
    assert not demonstration.success[:-4].any()


def test_play_lasts_as_long_as_asked(serial: list[Episode]) -> None:
    assert len(serial[1]) == 8


def test_what_is_suboptimal_is_kept_though_it_fails(serial: list[Episode]) -> None:
    assert (len(serial[3]), serial[3].outcome) == (9, Outcome.TIMEOUT)


def test_what_was_sent_leads_from_state_to_state(serial: list[Episode]) -> None:
    """Replay an episode from its first state: the recorded actions give the recorded states again."""
    episode = serial[0]
    assert episode.states is not None
    robot = module._robot(REQUESTS[0])
    robot.restore(episode.states[0])
    for step, values in enumerate(episode.sent):
        robot.act(Action(values))
        np.testing.assert_array_equal(robot.state(), episode.states[step + 1])
    np.testing.assert_array_equal(robot.observe().images["corner2"], episode.frames["corner2"][-1])


def test_workers_make_the_same_episodes_as_one_process(serial: list[Episode]) -> None:
    for first, second in zip(serial, collect(REQUESTS, workers=2), strict=True):
        assert_same(first, second)


def test_a_start_at_which_the_expert_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class FailsOnce(module.ScriptedExpert):
        def __init__(self, task: str, seed: int, noise: float) -> None:
            super().__init__(task, seed, noise, "none" if seed >= 1_000_000 else "freeze")
            self._turns_at = 0

    monkeypatch.setattr(module, "ScriptedExpert", FailsOnce)
    episode = collect_one(Request(TASK, "demonstrations", 3, image_size=24, max_steps=60))
    assert episode.outcome is Outcome.SUCCESS
    assert episode.seed == 1_000_003


def test_an_expert_that_never_succeeds_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with pytest.raises(SailError, match=r"drawer-close failed 2 times from seed 3.*max_steps"):
        collect_one(Request(TASK, "demonstrations", 3, image_size=24, max_steps=1))


def test_asking_for_nothing_gives_nothing() -> None:
    assert list(collect([])) == []
