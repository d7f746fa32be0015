from __future__ import annotations

import json

import pytest

from robot.core.data import SamplerSettings
from robot.core.errors import SailError
from robot.judges.everything import KeepEverything
from robot.learn.evaluation import evaluate
from robot.reports.statistics import wilson_interval
from robot.rollouts.rollout import RolloutSettings
from tests.fakes import ToyPlanner, ToyPool, toy_policy

SETTINGS = RolloutSettings(max_steps=40)


def test_a_record_says_what_happened_seed_by_seed() -> None:
    planner = ToyPlanner({"go right": 0.75})
    record = evaluate(ToyPool(3), toy_policy(planner), "toy", "go right", range(20), SETTINGS, method="x")
    assert 0 < record["successes"] < 20
    assert record["succeeded"].count(True) == record["successes"]
    assert record["rollouts"] == 20
    assert record["wilson"] == list(wilson_interval(record["successes"], 20))
    assert (record["method"], record["task"], record["seeds"]) == ("x", "toy", list(range(20)))
    assert json.loads(json.dumps(record)) == record


def test_it_does_not_depend_on_the_pool() -> None:
    planner = ToyPlanner({"go right": 0.75})
    one, other = (
        evaluate(ToyPool(size), toy_policy(planner), "toy", "go right", range(9), SETTINGS) for size in (1, 9)
    )
    assert one["succeeded"] == other["succeeded"]
    assert one["steps"] == other["steps"]


def test_a_broken_robot_is_a_fault_and_not_a_failure() -> None:
    planner = ToyPlanner({"go right": 1.0})
    pool = ToyPool(3, breaks={5: 3})
    record = evaluate(pool, toy_policy(planner), "toy", "go right", range(3, 8), SETTINGS)
    assert record["succeeded"] == [True, True, None, True, True]
    assert (record["successes"], record["rollouts"], record["faults"]) == (4, 4, 1)


def test_the_sampler_is_passed_on() -> None:
    planner = ToyPlanner({})
    sampler = SamplerSettings(guidance_scale=3.0)
    evaluate(ToyPool(1), toy_policy(planner), "toy", "go right", [0], SETTINGS, sampler)
    assert all(settings == [sampler] for _, _, settings in planner.asked)


def test_an_arm_needs_another_judge() -> None:
    planner, pool = ToyPlanner({}), ToyPool(1, knows_truth=False)
    with pytest.raises(SailError, match="no ground truth"):
        evaluate(pool, toy_policy(planner), "toy", "go right", [0], SETTINGS)
    record = evaluate(pool, toy_policy(planner), "toy", "go right", [0], SETTINGS, judge=KeepEverything())
    assert record["successes"] == 1


def test_no_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="no seeds to evaluate task 'toy'"):
        evaluate(ToyPool(1), toy_policy(), "toy", "go right", [])
