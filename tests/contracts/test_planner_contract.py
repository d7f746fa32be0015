"""What every `Planner` keeps to: the fake, the oracle, a tiny latent video planner, and what is built around such."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners.adapted import AdaptedPlanner
from planners.autoencoder import FrameAutoencoder
from planners.best_of_n import BestOfN, TextAlignment
from planners.compose import PriorStrength
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.general import GeneralPlanner
from planners.latent_video import LatentVideoPlanner
from planners.turns import Turns
from robot.core.data import Observation, SamplerSettings
from robot.core.protocols import Planner
from sim.metaworld import MetaWorldRobot
from sim.oracle import OraclePlanner
from tests.fakes import ToyPlanner, ToyRobot

SIDE = 32


@dataclass
class Case:
    """A planner with what to ask it: observations it can plan from and words it knows."""

    planner: Planner
    observations: list[Observation]
    words: tuple[str, str]
    rate_hz: float = 40.0
    takes_settings: bool = True
    random: bool = True


class LetterText:
    """Text states made of letter counts: enough to tell texts apart."""

    dim = 26
    config: dict[str, Any] = {"kind": "letters"}  # noqa: RUF012 (never changed)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        counts = [[text.count(chr(ord("a") + letter)) for letter in range(26)] for text in texts]
        return torch.tensor(counts, dtype=torch.float32)[:, None], torch.ones(len(texts), 1, dtype=torch.bool)


def latent_video(seed: int = 0) -> Case:
    torch.manual_seed(seed)
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), frames=3, text_dim=26, heads=2, groups=4)
    torch.nn.init.normal_(denoiser.unet.conv_out.weight, std=0.05)  # not the zeros that training starts from
    planner = LatentVideoPlanner(
        denoiser,
        FrameAutoencoder(widths=(8, 8, 8), norm_groups=8).eval(),
        LetterText(),
        settings=SamplerSettings(steps=2),
        image_size=(SIDE, SIDE),
        precision="fp32",
        device="cpu",
    )
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    seen = [Observation({"corner2": picture}, np.zeros(4, np.float32), 0.0) for picture in pictures]
    return Case(planner, seen, ("close the drawer", "open the box"))


def adapted() -> Case:
    case, general = latent_video(), latent_video(seed=1)
    assert isinstance(case.planner, LatentVideoPlanner)
    assert isinstance(general.planner, LatentVideoPlanner)
    torch.manual_seed(0)
    shared = LatentVideoPlanner(
        general.planner.denoiser,
        case.planner.autoencoder,
        case.planner.text_encoder,
        DiffusionSettings("linear", "epsilon"),
        image_size=(SIDE, SIDE),
        precision="fp32",
        device="cpu",
    )
    return dataclasses.replace(case, planner=AdaptedPlanner(case.planner, shared, "pa", PriorStrength(0.5), "text"))


def general() -> Case:
    case = latent_video()
    assert isinstance(case.planner, LatentVideoPlanner)
    planner = GeneralPlanner(
        case.planner,
        case.planner.autoencoder,
        frames=3,
        settings=SamplerSettings(steps=2),
        image_size=(SIDE, SIDE),
        precision="fp32",
        device="cpu",
    )
    return dataclasses.replace(case, planner=planner)


def best_of_n() -> Case:
    case = latent_video()
    return dataclasses.replace(case, planner=BestOfN(case.planner, TextAlignment([0.0]), 2))


def turns() -> Case:
    case = adapted()
    assert isinstance(case.planner, AdaptedPlanner)
    seen = [dataclasses.replace(each, time_s=2.0 * turn) for turn, each in enumerate(case.observations)]
    return dataclasses.replace(case, planner=Turns(case.planner, ["in_domain", "general"], 2.0), observations=seen)


def oracle() -> Case:
    robot = MetaWorldRobot("drawer-close", image_size=16)
    seen = [robot.reset(seed) for seed in range(3)]
    robot.close()
    words = "close the drawer"
    planner = OraclePlanner(frames=2, stride=2, image_size=16)
    return Case(planner, seen, (words, words), takes_settings=False, random=False)


def fake() -> Case:
    robot = ToyRobot()
    seen = [robot.reset(seed) for seed in range(3)]
    return Case(ToyPlanner({"go right": 0.5}), seen, ("go right", "go left"))


CASES: dict[str, Callable[[], Case]] = {
    "fake": fake,
    "oracle": oracle,
    "latent video": latent_video,
    "adapted": adapted,
    "general": general,
    "best of n": best_of_n,
    "turns": turns,
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    case = CASES[request.param]()
    yield case
    if isinstance(case.planner, OraclePlanner):
        case.planner.close()


def test_it_is_a_planner_with_an_identity(case: Case) -> None:
    assert isinstance(case.planner, Planner)
    assert isinstance(case.planner.identity, str)
    assert case.planner.identity == case.planner.identity != ""


def test_it_gives_one_plan_an_observation_that_says_where_it_comes_from(case: Case) -> None:
    words = [case.words[0], case.words[1], case.words[0]]
    plans = case.planner.plan(case.observations, words, [5, 6, 7])
    assert [plan.instruction for plan in plans] == words
    assert [plan.seed for plan in plans] == [5, 6, 7]
    assert {plan.planner for plan in plans} == {case.planner.identity}
    assert len({len(plan) for plan in plans}) == 1
    for plan, observation in zip(plans, case.observations, strict=True):
        assert len(plan) >= 1
        assert plan.frames.shape[1:] in [image.shape for image in observation.images.values()]


def test_a_plan_s_stride_is_a_whole_number_of_robot_steps(case: Case) -> None:
    (plan,) = case.planner.plan(case.observations[:1], case.words[:1], [0])
    steps = plan.stride_s * case.rate_hz
    assert steps == pytest.approx(round(steps))
    assert round(steps) >= 1


def test_the_same_seeds_give_the_same_plans(case: Case) -> None:
    first, second = (case.planner.plan(case.observations, [case.words[0]] * 3, [1, 2, 3]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)


def test_a_plan_depends_on_its_seed_and_not_on_its_place_in_the_batch(case: Case) -> None:
    words = [case.words[0]] * 3
    together = case.planner.plan(case.observations, words, [1, 2, 3])
    turned = case.planner.plan(case.observations[::-1], words, [3, 2, 1])[::-1]
    alone = [case.planner.plan([seen], words[:1], [seed])[0] for seed, seen in enumerate(case.observations, 1)]
    for plan, moved, single in zip(together, turned, alone, strict=True):
        # Batches of other sizes may be summed in another order: at most a grey level or so.
        assert np.abs(plan.frames.astype(int) - moved.frames).max() <= 2
        assert np.abs(plan.frames.astype(int) - single.frames).max() <= 2


def test_other_seeds_give_other_plans(case: Case) -> None:
    if not case.random:
        pytest.skip("this planner draws nothing")
    plans = case.planner.plan([case.observations[0]] * 2, [case.words[0]] * 2, [1, 2])
    assert np.abs(plans[0].frames.astype(int) - plans[1].frames).max() > 4


def test_a_plan_begins_from_what_is_observed(case: Case) -> None:
    """With the same words and seed, another observation leads elsewhere, unless the planner looks at nothing."""
    if isinstance(case.planner, ToyPlanner):
        pytest.skip("the fake does not look")
    plans = case.planner.plan(case.observations[:2], [case.words[0]] * 2, [1, 1])
    assert np.abs(plans[0].frames.astype(int) - plans[1].frames).max() > 4


def test_settings_are_taken_plan_by_plan_and_kept(case: Case) -> None:
    if not case.takes_settings:
        pytest.skip("this planner has no sampler")
    settings = [SamplerSettings(steps=1), SamplerSettings(steps=2, guidance_scale=3.0), SamplerSettings(steps=1)]
    plans = case.planner.plan(case.observations, [case.words[0]] * 3, [1, 2, 3], settings)
    assert [plan.settings for plan in plans] == settings


def test_lengths_that_differ_are_refused(case: Case) -> None:
    with pytest.raises((ValueError, AssertionError)):
        case.planner.plan(case.observations, case.words, [1, 2, 3])
    with pytest.raises((ValueError, AssertionError)):
        case.planner.plan(case.observations, [case.words[0]] * 3, [1])


def test_an_empty_instruction_is_refused(case: Case) -> None:
    if isinstance(case.planner, ToyPlanner):
        pytest.skip("the fake knows no words by heart")
    with pytest.raises(ValueError, match="empty"):
        case.planner.plan(case.observations[:1], ["  "], [1])


def test_planning_for_nobody_gives_nothing(case: Case) -> None:
    assert case.planner.plan([], [], []) == []
