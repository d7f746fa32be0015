"""Attempts that begin where the last one ended."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from robot.core.data import Beginning, Episode, Observation, Outcome
from robot.episodes.description import ABOUT
from robot.episodes.store import EpisodeStore
from robot.rollouts.recording import recorder
from robot.rollouts.rollout import Attempt, RolloutSettings, SingleRobot, rollout
from sim.pool import MetaWorldPool
from tests.fakes import SPEC, ToyInverseDynamics, ToyPlanner, ToyPool, ToyRobot, toy_policy

SETTINGS = RolloutSettings(max_steps=6, ends_by="truth")


def attempt(seed: int, robot: int | None = None) -> Attempt:
    return Attempt(seed, "toy", "go right", continues=robot)


def follows(second: Episode, first: Episode) -> bool:
    return np.array_equal(second.proprio[0], first.proprio[-1]) and second.times_s[0] == first.times_s[-1]


@pytest.mark.parametrize("pool", [ToyPool(1), SingleRobot(ToyRobot())])
def test_an_attempt_goes_on_from_the_very_state_the_last_one_ended_in(pool: ToyPool) -> None:
    first, second, third = rollout(pool, toy_policy(), [attempt(0), attempt(1, 0), attempt(2)], SETTINGS)
    assert follows(second, first) and not follows(third, second)
    assert [one.begins for one in (first, second, third)] == [Beginning.SEED, Beginning.CONTINUED, Beginning.SEED]
    (fourth,) = rollout(pool, toy_policy(), [attempt(3, 0)], SETTINGS)  # across calls, too
    assert follows(fourth, third) and fourth.seed == 3


def test_in_the_simulator_it_goes_on_bit_for_bit_and_its_description_says_so(tmp_path: Path) -> None:
    store, names = EpisodeStore(tmp_path), ["one", "two"]

    class Still(ToyInverseDynamics):
        def act(self, observations, handles, steps):  # type: ignore[no-untyped-def]
            return [
                type(one)(np.array([one.values[0], 0, 0, 0], np.float32))
                for one in super().act(observations, handles, steps)
            ]

    with MetaWorldPool("drawer-close", size=1, workers=1, image_size=16) as pool:
        requests = [Attempt(5, "drawer-close", "go right", continues=robot) for robot in (None, 0)]
        record = recorder(store, names, pool.spec)
        rollout(pool, toy_policy(None, Still()), requests, RolloutSettings(max_steps=7), record=record)
    first, second = (store.load(name) for name in names)
    assert first.states is not None and second.states is not None
    np.testing.assert_array_equal(second.states[0], first.states[-1])
    np.testing.assert_array_equal(second.frames["corner2"][0], first.frames["corner2"][-1])
    assert [store.about(name)["begins"] for name in names] == ["seed", "where the last one ended"]
    assert (first.begins, second.begins) == (Beginning.SEED, Beginning.CONTINUED)


def test_a_description_from_before_it_said_how_it_began_still_opens(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    rollout(ToyPool(1), toy_policy(), [attempt(0)], SETTINGS, record=recorder(store, ["old"], SPEC))
    path = tmp_path / "old" / ABOUT
    about = json.loads(path.read_text())
    del about["begins"], about["spec"]["action"]["is_relative"]
    path.write_text(json.dumps(about))
    assert store.load("old").begins is Beginning.SEED


def test_success_of_the_attempt_before_is_not_the_next_one_s() -> None:
    right = toy_policy(ToyPlanner({"go right": 1.0}))
    settings = RolloutSettings(max_steps=40, ends_by="truth")
    first, second = rollout(ToyPool(1), right, [attempt(0), attempt(1, 0)], settings)
    assert first.outcome is Outcome.SUCCESS and len(first) > 5
    assert second.success is not None and second.success.tolist() == [True]  # it is still there, and goes on
    away = toy_policy(ToyPlanner({}))
    pool = ToyPool(1)
    (first,) = rollout(pool, right, [attempt(0)], settings)
    (second,) = rollout(pool, away, [attempt(1, 0)], settings)
    assert second.success is not None and not second.success.any()


def test_of_a_robot_that_cannot_count_anew_success_is_no_longer_known() -> None:
    class Arm(ToyRobot):
        count_anew = None  # type: ignore[assignment]

    right, pool = toy_policy(ToyPlanner({"go right": 1.0})), SingleRobot(Arm())
    settings = RolloutSettings(max_steps=40, ends_by="truth")
    first, second, third = rollout(pool, right, [attempt(0), attempt(1, 0), attempt(2)], settings)
    assert first.outcome is third.outcome is Outcome.SUCCESS
    assert second.success is None and len(second) == 40


def test_each_waits_for_its_own_robot() -> None:
    pool = ToyPool(2)
    first = rollout(pool, toy_policy(), [attempt(0), attempt(1)], SETTINGS)
    second = rollout(pool, toy_policy(), [attempt(2, 1), attempt(3, 0), attempt(4, 1)], SETTINGS)
    assert follows(second[0], first[1]) and follows(second[1], first[0]) and follows(second[2], second[0])


def test_a_robot_that_cannot_go_on_is_begun_from_the_seed_and_the_episode_says_so() -> None:
    class Lost(ToyPool):
        def observe(self, robots: Collection[int]) -> dict[int, Observation]:
            raise ConnectionError("nobody answers")

    for pool in (Lost(1), ToyPool(1, breaks={0: 8})):  # … be it before it begins or in its midst
        first, second = rollout(pool, toy_policy(), [attempt(0), attempt(7, 0)], SETTINGS)
        assert (first.begins, second.begins) == (Beginning.SEED, Beginning.SEED)
        (fresh,) = rollout(ToyPool(1), toy_policy(), [attempt(7)], SETTINGS)
        np.testing.assert_array_equal(second.proprio, fresh.proprio)


def test_a_robot_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no robot 2 of 2"):
        rollout(ToyPool(2), toy_policy(), [attempt(0, 2)], SETTINGS)
    with pytest.raises(ValueError, match="numbered from 0"):
        attempt(0, -1)
