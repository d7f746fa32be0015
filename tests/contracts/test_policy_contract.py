"""What every `Policy` keeps to: imagine then track, two toys without plans, and the scripted expert."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from planners.denoisers import StackedUNet
from planners.latent_video import LatentVideoPlanner
from planners.text import MiniLM
from policies.imagine_then_track import ImagineThenTrack
from policies.pose_network import PoseNetwork, PoseNetworkShape
from policies.pose_tracking import PoseTracking
from robot.core.data import Intent, Observation, Outcome, RobotSpec, View
from robot.core.protocols import MadeOfModels, NeedsView, Policy, Robot
from robot.rollouts.rollout import Attempt, RolloutSettings, SingleRobot, rollout
from sim.expert_policy import ExpertPolicy
from sim.metaworld import MetaWorldRobot
from tests.fakes import Chunks, Rightward, ToyPlanner, ToyRobot, toy_policy

SEEDS = [5, 6, 7]


@dataclass
class Case:
    """A policy, a robot that it drives, what the robot is told, and three observations of it."""

    policy: Policy
    robot: Robot
    words: str
    task: str = "toy"
    observations: list[Observation] = field(default_factory=list)

    @property
    def spec(self) -> RobotSpec:
        return self.robot.spec


def toy(policy: Policy) -> Case:
    return Case(policy, ToyRobot(), "go right")


def imagining() -> Case:
    torch.manual_seed(0)
    autoencoder = FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=32).eval()
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), heads=2, groups=4)
    planner = LatentVideoPlanner(denoiser, autoencoder, MiniLM(), image_size=(32, 32), precision="fp32", device="cpu")
    shape = PoseNetworkShape(size=16, widths=(8, 8, 8, 8), keypoints=4, attended=2, hidden=16)
    tracking = PoseTracking(PoseNetwork(shape), precision="float32")
    robot = MetaWorldRobot("drawer-close", image_size=32)
    return Case(ImagineThenTrack(planner, tracking, 40.0, 3), robot, "close the drawer", "drawer-close")


def expert() -> Case:
    return Case(
        ExpertPolicy(steps=4), MetaWorldRobot("drawer-close", image_size=16), "close the drawer", "drawer-close"
    )


POLICIES: dict[str, Callable[[], Case]] = {
    "imagine then track, of toys": lambda: toy(toy_policy(ToyPlanner({"go right": 0.5}))),
    "imagine then track": imagining,
    "one that looks at every step": lambda: toy(Rightward()),
    "one that chooses actions in chunks": lambda: toy(Chunks()),
    "the scripted expert": expert,
}


@pytest.fixture(scope="module", params=list(POLICIES))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    made = POLICIES[request.param]()
    made.observations = [made.robot.reset(seed) for seed in range(3)]
    yield made
    made.robot.close()


def begun(case: Case, order: Sequence[int] = (0, 1, 2)) -> list[Intent]:
    return case.policy.begin(
        [case.observations[place] for place in order], [case.words] * len(order), [SEEDS[place] for place in order]
    )


def acted(case: Case, order: Sequence[int] = (0, 1, 2), steps: int = 3) -> np.ndarray:
    """Return the actions, float32 (N, steps, Da), of intents begun in `order`, each observation shown throughout."""
    intents = begun(case, order)
    seen = [case.observations[place] for place in order]
    rows = [case.policy.act(seen, intents, [step] * len(order)) for step in range(steps)]
    return np.array([[action.values for action in row] for row in rows]).swapaxes(0, 1)


def test_it_is_a_policy_with_a_name(case: Case) -> None:
    assert isinstance(case.policy, Policy)
    assert case.policy.identity and case.policy.identity == case.policy.identity
    if isinstance(case.policy, MadeOfModels):
        assert all(model in case.policy.identity for model in case.policy.models.values())
    if isinstance(case.policy, NeedsView):
        assert isinstance(case.policy.view, View)


def test_each_observation_has_an_intent_that_can_be_acted_on_up_to_its_horizon(case: Case) -> None:
    intents = begun(case)
    assert len(intents) == 3
    for intent in intents:
        assert 1 <= intent.steps <= intent.horizon
    for step in sorted({0, min(one.horizon for one in intents) - 1}):
        for action in case.policy.act(case.observations, intents, [step] * 3):
            assert action.values.shape == (case.spec.action.size,) and np.all(np.isfinite(action.values))


def test_a_plan_it_has_is_told_and_covers_its_horizon(case: Case) -> None:
    for intent in begun(case):
        if intent.plan is not None:
            assert intent.plan.instruction == case.words
            covered_s = len(intent.plan) * intent.plan.stride_s
            assert covered_s * case.spec.action.rate_hz == pytest.approx(intent.horizon)


def test_what_is_intended_depends_on_the_observation_and_the_seed_and_not_on_the_place(case: Case) -> None:
    """But for rounding: imagined pictures have whole levels, and one more or less moves a pose by a thousandth."""
    straight, turned, alone = acted(case), acted(case, (2, 1, 0)), acted(case, (1,))
    np.testing.assert_allclose(straight, turned[::-1], atol=5e-3)
    np.testing.assert_allclose(straight[1:2], alone, atol=5e-3)


def test_beginning_anew_repeats_it(case: Case) -> None:
    np.testing.assert_array_equal(acted(case), acted(case))


def test_robots_may_be_at_steps_of_their_own(case: Case) -> None:
    intents = begun(case)
    case.policy.act(case.observations, intents, [0, 0, 0])
    last = intents[2].horizon - 1
    assert len(case.policy.act(case.observations[1:], intents[1:], [0, last])) == 2
    assert len(case.policy.act(case.observations[:1], intents[:1], [1 % intents[0].horizon])) == 1


def test_nobody_does_nothing(case: Case) -> None:
    assert case.policy.begin([], [], []) == []
    assert case.policy.act([], [], []) == []


def test_lengths_that_differ_are_refused(case: Case) -> None:
    if isinstance(getattr(case.policy, "planner", None), ToyPlanner):
        pytest.skip("the fake planner asserts instead")
    with pytest.raises(ValueError, match=r"."):
        case.policy.begin(case.observations, [case.words] * 2, SEEDS)


def test_it_carries_out_an_attempt_and_only_its_own_plans_are_recorded(case: Case) -> None:
    attempt = Attempt(11, case.task, case.words)
    (episode,) = rollout(SingleRobot(case.robot), case.policy, [attempt], RolloutSettings(max_steps=10))
    assert len(episode) == 10 and episode.outcome is Outcome.TIMEOUT
    plans = begun(case)[0].plan is not None
    assert bool(episode.plans) == plans


def test_an_intent_holds_for_a_step_at_least_and_no_longer_than_its_horizon() -> None:
    assert Intent(3).horizon == 3
    for steps, horizon in ((0, 4), (5, 4), (-1, 0)):
        with pytest.raises(ValueError, match="An intent holds for 1 step or more"):
            Intent(steps, horizon)
    with pytest.raises(ValueError, match="execute_frames must be at least 1"):
        toy_policy(execute_frames=0)
    with pytest.raises(ValueError, match="rate_hz must be positive"):
        ImagineThenTrack(ToyPlanner(), toy_policy().inverse_dynamics, 0.0)
    assert dataclasses.replace(Intent(3, 8), steps=2).horizon == 8
