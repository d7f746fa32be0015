"""Laws of the pool: as many robots as asked for behave like single ones, and the death of a worker does not end it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.core.data import Action
from robot.core.errors import SailError, UnknownNameError
from robot.rollouts.rollout import Attempt, RolloutSettings, RolloutTimings, rollout
from sim.metaworld import MetaWorldRobot
from sim.pool import THREAD_VARIABLES, MetaWorldPool
from tests.fakes import ToyInverseDynamics, toy_policy

Make = Callable[..., MetaWorldRobot]
Draw = Callable[[int, int], list[Action]]
TASK = "drawer-close"


@pytest.fixture(scope="module")
def pool() -> Iterator[MetaWorldPool]:
    with MetaWorldPool(TASK, size=3, workers=2, image_size=24) as pool:
        yield pool


def test_robots_do_what_a_single_one_does(pool: MetaWorldPool, make_robot: Make, random_actions: Draw) -> None:
    robot = make_robot(TASK, image_size=24)
    actions = {number: random_actions(4, number) for number in range(3)}
    starts = pool.reset({0: 5, 1: 6, 2: 7})
    answers = [pool.act({number: drawn[step] for number, drawn in actions.items()}) for step in range(4)]
    for number in range(3):
        seen = [robot.reset(5 + number)]
        for action in actions[number]:
            sent = robot.act(action)
            seen.append(robot.observe())
        given = [starts[number], *(answer[number].observation for answer in answers)]
        for first, second in zip(seen, given, strict=True):
            np.testing.assert_array_equal(first.state, second.state)
            np.testing.assert_array_equal(first.images["corner2"], second.images["corner2"])
            np.testing.assert_array_equal(first.proprio, second.proprio)
        np.testing.assert_array_equal(answers[-1][number].sent.values, sent.values)
        assert answers[-1][number].success is False
    assert pool.spec.camera_matrices.keys() == robot.spec.camera_matrices.keys()


def test_only_the_robots_named_move(pool: MetaWorldPool, random_actions: Draw) -> None:
    pool.reset({0: 1, 1: 1, 2: 1})
    (action,) = random_actions(1, 0)
    first = pool.act({1: action})
    assert set(first) == {1}
    second = pool.act({0: action, 1: action})
    np.testing.assert_array_equal(second[0].observation.state, first[1].observation.state)
    assert second[1].observation.time_s > second[0].observation.time_s


def test_a_mistake_in_one_action_leaves_the_pool_working(pool: MetaWorldPool) -> None:
    pool.reset({0: 1, 1: 2, 2: 3})
    good, bad = Action(np.zeros(4, np.float32)), Action(np.full(4, np.nan, np.float32))
    with pytest.raises(ValueError, match="finite"):
        pool.act({0: bad, 1: good, 2: good})
    with pytest.raises(ValueError, match="no robot 3"):
        pool.act({3: good})
    assert pool.reset({1: 9})[1].state[0] == 9  # type: ignore[index]


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_the_others_live_on(random_actions: Draw) -> None:
    (action,) = random_actions(1, 0)
    with MetaWorldPool(TASK, size=3, workers=2, image_size=16, restarts=2) as pool:
        expected = pool.reset({0: 1, 1: 2, 2: 3})
        after = pool.act({0: action, 1: action, 2: action})
        pool.reset({0: 1, 1: 2, 2: 3})
        os.kill(pool._processes[0].pid, signal.SIGKILL)
        answer = pool.act({0: action, 1: action, 2: action})
        assert set(answer) == {1}  # robots 0 and 2 lived in the worker that is gone
        np.testing.assert_array_equal(answer[1].observation.state, after[1].observation.state)
        assert set(pool.act({0: action, 1: action})) == {1}  # and stay away until they are reset
        pool.reset({0: 1})
        assert set(pool.act({0: action, 2: action})) == {0}  # robot 2 is back too, but not where it was
        again = pool.reset({0: 1, 2: 3})
        np.testing.assert_array_equal(again[2].state, expected[2].state)
        np.testing.assert_array_equal(pool.act({2: action})[2].observation.state, after[2].observation.state)
        # A death in the middle of a reset costs nothing but the time.
        os.kill(pool._processes[1].pid, signal.SIGKILL)
        np.testing.assert_array_equal(pool.reset({1: 2})[1].state, expected[1].state)
        # No restart is left now: one sentence for its robots, and the others live on.
        os.kill(pool._processes[0].pid, signal.SIGKILL)
        with pytest.raises(SailError, match=r"simulator process of drawer-close died"):
            pool.reset({0: 3})
        assert pool.reset({1: 4})[1].state[0] == 4  # type: ignore[index]
        processes = list(pool._processes)
    pool.close()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.slow
def test_an_attempt_whose_worker_is_killed_comes_out_as_if_nothing_had_happened() -> None:
    class Killer(ToyInverseDynamics):
        """Kill the first worker in the middle of the first attempts."""

        def __init__(self, pool: MetaWorldPool | None = None) -> None:
            self.pool = pool
            self.acts = 0

        def act(self, observations, handles, steps):  # type: ignore[no-untyped-def]
            self.acts += 1
            if self.pool is not None and self.acts == 3:
                os.kill(self.pool._processes[0].pid, signal.SIGKILL)
            return [Action(np.array([handle, 0.0, 0.0, 0.0], np.float32)) for handle in handles]

    attempts = [Attempt(seed, TASK, "close the drawer") for seed in range(3)]
    settings = RolloutSettings(max_steps=16)
    outcomes = []
    for kill in (False, True):
        timings = RolloutTimings()
        with MetaWorldPool(TASK, size=2, workers=2, image_size=16) as pool:
            policy = toy_policy(None, Killer(pool if kill else None), execute_frames=2)
            episodes = rollout(pool, policy, attempts, settings, timings=timings)
        assert timings.retries == int(kill)
        outcomes.append([(episode.outcome, episode.states.tolist()) for episode in episodes])  # type: ignore[union-attr]
    assert outcomes[0] == outcomes[1]


def test_what_cannot_be_is_refused_before_any_process_starts() -> None:
    with pytest.raises(UnknownNameError, match="drawer-close"):
        MetaWorldPool("drawer-closes")
    with pytest.raises(ValueError, match="at least one"):
        MetaWorldPool(TASK, size=0)
    with pytest.raises(ValueError, match="negative"):
        MetaWorldPool(TASK, restarts=-1)


def test_a_problem_in_a_worker_s_start_is_raised_here() -> None:
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    with pytest.raises(UnknownNameError, match="no camera 'corner9'.*Did you mean corner"):
        MetaWorldPool(TASK, size=1, cameras=("corner9",))
    assert {name: os.environ.get(name) for name in THREAD_VARIABLES} == before
