"""Laws of who drives when data is collected: experts succeed, disturbed ones mostly do not, play goes everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robot.core.data import Action
from sim.experts import FAILURE_KINDS, Driver, FailureKind, Play, ScriptedExpert, Suboptimal
from sim.metaworld import MetaWorldRobot

Make = Callable[..., MetaWorldRobot]
TASK = "drawer-close"


def drive(robot: MetaWorldRobot, driver: Driver, seed: int, steps: int) -> np.ndarray:
    """Return the actions, float32 (T, 4), until success or for `steps`."""
    robot.reset(seed)
    actions = []
    while len(actions) < steps and not robot.succeeded():
        actions.append(driver.act(robot).values)
        robot.act(Action(actions[-1]))
    return np.stack(actions)


@pytest.fixture
def robot(make_robot: Make) -> MetaWorldRobot:
    return make_robot("door-open", cameras=())


def test_the_expert_succeeds_with_and_without_noise(robot: MetaWorldRobot) -> None:
    for seed in range(3):
        drive(robot, ScriptedExpert(robot.task, seed), seed, 100)
        assert robot.succeeded()
        drive(robot, ScriptedExpert(robot.task, seed, noise=0.2), seed, 120)
        assert robot.succeeded()


def test_failures_fail_more_often_than_not(robot: MetaWorldRobot) -> None:
    succeeded: dict[FailureKind, int] = {}
    for kind in FAILURE_KINDS:
        for seed in range(3):
            drive(robot, ScriptedExpert(robot.task, seed, 0.1, kind), seed, 90)
            succeeded[kind] = succeeded.get(kind, 0) + robot.succeeded()
    assert sum(succeeded.values()) <= 4, succeeded
    assert succeeded["offset"] <= 1
    assert succeeded["freeze"] == 0


def test_noise_disturbs_the_displacements_as_much_as_asked_and_never_the_grip(make_robot: Make) -> None:
    robot = make_robot("reach", cameras=())
    robot.reset(0)
    calm, noisy = ScriptedExpert("reach", 0), ScriptedExpert("reach", 0, noise=0.05)
    differences = []
    for _ in range(60):
        steady = calm.act(robot)
        differences.append(noisy.act(robot).values - steady.values)
        robot.act(steady)
    spread = np.stack(differences)
    np.testing.assert_array_equal(spread[:, 3], 0)
    inside = np.abs(spread[:, :3]) > 0  # what clipping has not swallowed
    assert inside.any(axis=0).sum() >= 2
    assert 0.03 < spread[:, :3][inside].std() < 0.07


def test_three_steps_of_ten_are_the_expert_s_and_the_others_anything(make_robot: Make) -> None:
    robot = make_robot("reach", cameras=())
    robot.reset(0)
    expert, driver = ScriptedExpert("reach", 7), Suboptimal("reach", 7)
    actions = np.stack([driver.act(robot).values for _ in range(400)])
    alike = np.all(actions == expert.act(robot).values, axis=1)
    assert 0.23 < alike.mean() < 0.37
    others = actions[~alike]
    assert np.abs(others).max() <= 1
    np.testing.assert_allclose(others.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(others.std(axis=0), 1 / np.sqrt(3), atol=0.06)


def test_a_driver_is_a_function_of_its_seed(make_robot: Make) -> None:
    robot = make_robot("reach", cameras=())
    for make in (lambda seed: ScriptedExpert("reach", seed, 0.3), lambda seed: Suboptimal("reach", seed), Play):
        runs = [drive(robot, make(seed), 0, 6) for seed in (1, 1, 2)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert runs[0].shape != runs[2].shape or np.abs(runs[0] - runs[2]).max() > 0.05


def test_frozen_experts_stop_and_dropping_ones_let_go(make_robot: Make) -> None:
    robot = make_robot("reach", cameras=())
    robot.reset(0)
    frozen, dropping = ScriptedExpert("reach", 4, 0.0, "freeze"), ScriptedExpert("reach", 4, 0.0, "drop")
    first = frozen.act(robot).values
    assert np.abs(first[:3]).max() > 0.1
    for _ in range(25):
        still, open_hand = frozen.act(robot).values, dropping.act(robot).values
    np.testing.assert_array_equal(still[:3], 0)
    assert open_hand[3] == -1


def test_actions_lie_within_the_limits(make_robot: Make) -> None:
    robot = make_robot("reach", cameras=())
    for driver in (ScriptedExpert("reach", 0, noise=2.0), Play(0, speed=3.0)):
        actions = drive(robot, driver, 0, 20)
        assert actions.dtype == np.float32
        assert np.abs(actions).max() == 1.0


def test_negative_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="noise"):
        ScriptedExpert("reach", 0, noise=-0.1)


def test_play_covers_much_of_the_reachable_space_and_uses_the_gripper(make_robot: Make) -> None:
    robot = make_robot("drawer-close", cameras=())
    robot.reset(0)
    play, places, grips = Play(0), [], []
    for _ in range(200):
        action = play.act(robot)
        grips.append(action.values[3])
        robot.act(action)
        places.append(robot.proprio()[:3])
    low, high = robot.reach_m
    room_m = np.minimum(high, [0.35, 0.85, 0.4]) - np.maximum(low, [-0.35, 0.42, 0.06])
    assert (np.ptp(np.stack(places), axis=0) > 0.35 * room_m).all()
    assert {-1.0, 1.0} <= set(grips)
