"""What every `InverseDynamics` keeps to: the fake, pose tracking and the frame pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from policies.frame_pair import FramePair
from policies.frame_pair_network import FramePairNetwork, FramePairShape
from policies.pose_network import PoseNetwork, PoseNetworkShape
from policies.pose_tracking import PoseTracking
from robot.core.data import ActionSpec, Observation, VideoPlan
from robot.core.protocols import InverseDynamics
from sim.metaworld import action_spec
from tests.fakes import SPEC, ToyInverseDynamics, ToyPlanner, ToyRobot

FRAMES = 3
STRIDE = 2


@dataclass
class Case:
    """An inverse dynamics with three observations and plans, and the action it has to give."""

    inverse_dynamics: InverseDynamics
    observations: list[Observation]
    plans: list[VideoPlan]
    action: ActionSpec
    clips: bool = True


def pictured(inverse_dynamics: InverseDynamics) -> Case:
    rng = np.random.default_rng(0)
    observations = [
        Observation(
            {"corner2": rng.integers(0, 256, (32, 32, 3), np.uint8)},
            np.array([0.0, 0.6, 0.1 + 0.1 * number, 1.0], np.float32),
            0.0,
        )
        for number in range(3)
    ]
    pictures = rng.integers(0, 256, (3, FRAMES, 32, 32, 3), np.uint8)
    plans = [VideoPlan(frames, STRIDE * 0.025, "reach", 0, "fake") for frames in pictures]
    return Case(inverse_dynamics, observations, plans, action_spec(2))


def pose_tracking() -> Case:
    torch.manual_seed(0)
    shape = PoseNetworkShape(size=16, widths=(8, 8, 8, 8), keypoints=4, attended=2, hidden=16)
    return pictured(PoseTracking(PoseNetwork(shape), precision="float32"))


def frame_pair() -> Case:
    torch.manual_seed(0)
    shape = FramePairShape(size=32, widths=(8, 8, 16, 16), hidden=16)
    return pictured(FramePair(FramePairNetwork(shape), precision="float32"))


def fake() -> Case:
    observations = [ToyRobot().reset(seed) for seed in range(3)]
    plans = ToyPlanner({"go right": 0.5}, FRAMES).plan(observations, ["go right"] * 3, [0, 1, 2])
    return Case(ToyInverseDynamics(), observations, plans, SPEC.action, clips=False)


CASES: dict[str, Callable[[], Case]] = {"fake": fake, "pose tracking": pose_tracking, "frame pair": frame_pair}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def acted(case: Case, order: list[int], steps: int) -> list[np.ndarray]:
    """Return the actions, float32 (steps, N, Da), of plans taken in `order` with the same observations throughout."""
    observations = [case.observations[place] for place in order]
    handles = case.inverse_dynamics.begin(observations, [case.plans[place] for place in order])
    return [
        np.stack([action.values for action in case.inverse_dynamics.act(observations, handles, [step] * len(order))])
        for step in range(steps)
    ]


def test_it_is_inverse_dynamics(case: Case) -> None:
    assert isinstance(case.inverse_dynamics, InverseDynamics)


def test_every_plan_has_a_handle_and_every_observation_an_action(case: Case) -> None:
    handles = case.inverse_dynamics.begin(case.observations, case.plans)
    assert len(handles) == 3
    for step in range(FRAMES * STRIDE):
        actions = case.inverse_dynamics.act(case.observations, handles, [step] * 3)
        assert len(actions) == 3
        for action in actions:
            assert action.values.shape == (case.action.size,)
            assert np.all(np.isfinite(action.values))
            if case.clips:
                np.testing.assert_array_equal(action.values, case.action.clip(action.values))


def test_it_goes_on_past_the_end_of_a_plan(case: Case) -> None:
    """Plans of several robots may end at different times; a late step is asked for the last frame's sake."""
    handles = case.inverse_dynamics.begin(case.observations, case.plans)
    for step in range(FRAMES * STRIDE + 4):
        actions = case.inverse_dynamics.act(case.observations, handles, [step] * 3)
    assert all(np.all(np.isfinite(action.values)) for action in actions)


def test_what_is_done_depends_on_the_plan_and_not_on_its_place(case: Case) -> None:
    straight, turned = acted(case, [0, 1, 2], 5), acted(case, [2, 1, 0], 5)
    for one, other in zip(straight, turned, strict=True):
        np.testing.assert_allclose(one, other[::-1], atol=1e-4)
    alone = acted(case, [1], 5)
    for one, other in zip(straight, alone, strict=True):
        np.testing.assert_allclose(one[1:2], other, atol=1e-4)


def test_beginning_anew_repeats_it(case: Case) -> None:
    for one, other in zip(acted(case, [0, 1, 2], 5), acted(case, [0, 1, 2], 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_some_robots_may_act_at_steps_of_their_own(case: Case) -> None:
    handles = case.inverse_dynamics.begin(case.observations, case.plans)
    case.inverse_dynamics.act(case.observations, handles, [0, 0, 0])
    (action,) = case.inverse_dynamics.act(case.observations[1:2], handles[1:2], [STRIDE])
    assert action.values.shape == (case.action.size,)
    assert len(case.inverse_dynamics.act(case.observations[::2], handles[::2], [1, STRIDE])) == 2


def test_plans_of_different_robots_lead_to_different_actions(case: Case) -> None:
    first = acted(case, [0, 1, 2], 1)[0]
    assert np.abs(first - first[0]).max() > 1e-6


def test_nobody_does_nothing(case: Case) -> None:
    assert case.inverse_dynamics.begin([], []) == []
    assert case.inverse_dynamics.act([], [], []) == []


def test_as_many_plans_as_observations_are_needed(case: Case) -> None:
    if isinstance(case.inverse_dynamics, ToyInverseDynamics):
        pytest.skip("the fake does not look")
    with pytest.raises(ValueError, match="plan"):
        case.inverse_dynamics.begin(case.observations, case.plans[:2])
