"""What every `RobotPool` keeps to: the fake, one robot presented as a pool, and simulators in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.core.data import Action, Feedback, Observation
from robot.core.protocols import RobotPool
from robot.rollouts.rollout import SingleRobot
from sim.metaworld import MetaWorldRobot
from sim.pool import MetaWorldPool
from tests.fakes import ToyPool, ToyRobot

POOLS: dict[str, Callable[[], RobotPool]] = {
    "fake": lambda: ToyPool(3),
    "one fake": lambda: SingleRobot(ToyRobot()),
    "one simulator": lambda: SingleRobot(MetaWorldRobot("drawer-close", image_size=16)),
    "simulators": lambda: MetaWorldPool("drawer-close", size=3, workers=2, image_size=16),
}


@pytest.fixture(scope="module", params=list(POOLS))
def pool(request: pytest.FixtureRequest) -> Iterator[RobotPool]:
    pool = POOLS[request.param]()
    yield pool
    pool.close()
    pool.close()  # closing twice is allowed


def same(first: Observation, second: Observation) -> bool:
    return np.array_equal(first.proprio, second.proprio) and all(
        np.array_equal(image, second.images[name]) for name, image in first.images.items()
    )


def middling(pool: RobotPool, seed: int = 0) -> Action:
    spec = pool.spec.action
    share = np.random.default_rng(seed).uniform(0.1, 0.9, spec.size)
    return Action((spec.low + share * (spec.high - spec.low)).astype(np.float32))


def test_it_is_a_pool_of_some_robots(pool: RobotPool) -> None:
    assert isinstance(pool, RobotPool)
    assert pool.size >= 1


def test_the_robots_named_are_reset_and_observe_what_the_spec_says(pool: RobotPool) -> None:
    for numbers in (range(pool.size), [pool.size - 1], []):
        answer = pool.reset({number: 10 + number for number in numbers})
        assert set(answer) == set(numbers)
        for observation in answer.values():
            assert {name: image.shape[:2] for name, image in observation.images.items()} == dict(pool.spec.cameras)
            assert observation.proprio.shape == (len(pool.spec.proprio_names),)


def test_a_start_depends_on_the_seed_alone_not_on_the_robot(pool: RobotPool) -> None:
    starts = pool.reset(dict.fromkeys(range(pool.size), 7))
    assert all(same(start, starts[0]) for start in starts.values())
    assert not same(pool.reset({0: 8})[0], starts[0])


def test_only_the_robots_named_act_and_all_answer(pool: RobotPool) -> None:
    pool.reset(dict.fromkeys(range(pool.size), 7))
    action = middling(pool)
    answers = pool.act(dict.fromkeys(range(pool.size), action))
    assert set(answers) == set(range(pool.size))
    for feedback in answers.values():
        assert isinstance(feedback, Feedback)
        np.testing.assert_array_equal(feedback.sent.values, action.values)
        assert feedback.success is None or isinstance(feedback.success, bool)
        assert same(feedback.observation, answers[0].observation)
    last = pool.size - 1
    assert set(pool.act({last: action})) == {last}
    assert pool.act({}) == {}


def test_a_robot_that_waits_is_where_it_was(pool: RobotPool) -> None:
    if pool.size < 2:
        pytest.skip("one robot has nobody to wait for")
    start = pool.reset({0: 1, 1: 2})
    pool.act({1: middling(pool)})
    moved = pool.act({0: middling(pool)})
    assert moved[0].observation.time_s - start[0].time_s == pytest.approx(1 / pool.spec.action.rate_hz)


def test_it_answers_with_what_was_really_sent(pool: RobotPool) -> None:
    spec = pool.spec.action
    pool.reset({0: 1})
    beyond = Action((spec.high + 3 * (spec.high - spec.low)).astype(np.float32))
    np.testing.assert_array_equal(pool.act({0: beyond})[0].sent.values, spec.high)


def test_an_action_that_does_not_fit_is_refused_and_the_pool_goes_on(pool: RobotPool) -> None:
    size = pool.spec.action.size
    first = pool.reset({0: 1})[0]
    for values in (np.zeros(size + 1), np.full(size, np.nan)):
        with pytest.raises(ValueError, match="action"):
            pool.act({0: Action(values.astype(np.float32))})
    assert same(pool.reset({0: 1})[0], first)


def test_observing_moves_nothing_and_shows_where_the_robots_named_are(pool: RobotPool) -> None:
    pool.reset(dict.fromkeys(range(pool.size), 7))
    last = pool.act({0: middling(pool)})[0].observation
    for _ in range(2):
        (here,) = pool.observe([0]).values()
        assert same(here, last) and here.time_s == last.time_s
    assert set(pool.observe(range(pool.size))) == set(range(pool.size))
    assert pool.observe([]) == {}
    assert pool.act({0: middling(pool)})[0].success is not True
