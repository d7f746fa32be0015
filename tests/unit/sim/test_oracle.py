"""Laws of the oracle: its plan is what the expert does from here, drawn; and it says what it cannot plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot.core.data import Observation
from robot.core.errors import SailError
from sim.experts import ScriptedExpert
from sim.metaworld import MetaWorldRobot
from sim.oracle import OraclePlanner

Make = Callable[..., MetaWorldRobot]
WORDS = "close the drawer"


@pytest.fixture(scope="module")
def oracle() -> Iterator[OraclePlanner]:
    planner = OraclePlanner(frames=3, stride=2, image_size=24)
    yield planner
    planner.close()
    planner.close()


def test_a_plan_shows_what_the_expert_does_from_here(oracle: OraclePlanner, make_robot: Make) -> None:
    robot = make_robot("drawer-close", image_size=24)
    starts = []
    for seed in (1, 2):
        robot.reset(seed)
        expert = ScriptedExpert("drawer-close", 0)
        for _ in range(4):
            robot.act(expert.act(robot))
        starts.append(robot.observe())
    plans = oracle.plan(starts, [WORDS, WORDS], [0, 9])
    for start, plan in zip(starts, plans, strict=True):
        assert start.state is not None
        robot.restore(start.state)
        expert = ScriptedExpert("drawer-close", 0)
        expected = []
        for step in range(6):
            robot.act(expert.act(robot))
            if step % 2:
                expected.append(robot.observe().images["corner2"])
        np.testing.assert_array_equal(plan.frames, np.stack(expected))
        assert plan.stride_s == pytest.approx(0.05)
        assert (plan.instruction, plan.planner) == (WORDS, "oracle")
    assert [plan.seed for plan in plans] == [0, 9]
    assert (plans[0].frames != plans[1].frames).any()


def test_what_it_cannot_plan_is_said_in_one_sentence(oracle: OraclePlanner, make_robot: Make) -> None:
    start = make_robot("drawer-close", image_size=24).reset(1)
    with pytest.raises(SailError, match="fly to the moon"):
        oracle.plan([start], ["fly to the moon"], [0])
    with pytest.raises(SailError, match="states"):
        oracle.plan([Observation(start.images, start.proprio, 0.0)], [WORDS], [0])
    with pytest.raises(ValueError, match="empty"):
        oracle.plan([start], [" "], [0])
    with pytest.raises(ValueError, match="equally many"):
        oracle.plan([start], [WORDS, WORDS], [0])


def test_planning_for_nobody_gives_nothing(oracle: OraclePlanner) -> None:
    assert oracle.plan([], [], []) == []
