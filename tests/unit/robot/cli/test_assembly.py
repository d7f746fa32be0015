"""What does not fit together is refused before the first attempt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from planners.adapted import AdaptedPlanner
from planners.autoencoder import FrameAutoencoder
from planners.best_of_n import BestOfN
from planners.compose import PriorStrength
from planners.denoisers import StackedUNet
from planners.latent_video import LatentVideoPlanner
from planners.text import MiniLM
from planners.turns import Turns
from policies.pose_network import PoseNetwork, PoseNetworkShape
from policies.pose_tracking import PoseTracking
from robot.cli.assembly import (
    Models,
    check_fit,
    exploration_of,
    instruction_of,
    inverse_dynamics_learner,
    planner_learner,
    sampler_of,
)
from robot.cli.compose import build, compose
from robot.cli.evaluate import _method
from robot.cli.improve import what_will_act
from robot.core.data import RobotSpec, View
from robot.core.errors import SailError
from robot.learn.exploration import Phrasing
from robot.learn.finetuning import InverseDynamicsInForce, PlannerInForce
from sim.tasks import INSTRUCTIONS
from tests.fakes import SPEC, ToyPlanner


def robot(rate_hz: float = 40.0, camera: str = "top", size: int = 4) -> RobotSpec:
    action = dataclasses.replace(SPEC.action, rate_hz=rate_hz)
    return dataclasses.replace(SPEC, action=action, cameras={camera: (size, size)})


@pytest.mark.parametrize("action_repeat", [1, 2, 4])
def test_a_rate_at_which_frames_are_whole_steps_apart_is_taken(action_repeat: int) -> None:
    check_fit(ToyPlanner(stride_s=0.05), robot(80 / action_repeat))


@pytest.mark.parametrize("action_repeat", [3, 8])
def test_a_rate_at_which_they_are_not_is_one_sentence(action_repeat: int) -> None:
    with pytest.raises(SailError, match=r"whole number of steps: set robot\.action_repeat"):
        check_fit(ToyPlanner(stride_s=0.05), robot(80 / action_repeat))


def test_no_more_frames_are_carried_out_than_a_plan_has() -> None:
    planner = SimpleNamespace(view=View(frames=8))
    check_fit(planner, robot(), 8)
    with pytest.raises(SailError, match="has 8 frames: execute_frames=9 is too many"):
        check_fit(planner, robot(), 9)


def test_a_camera_or_a_size_that_the_planner_cannot_take_is_one_sentence() -> None:
    planner = SimpleNamespace(view=View("corner2", (128, 128), 0.05))
    check_fit(planner, robot(camera="corner2", size=128))
    with pytest.raises(SailError, match=r"camera 'corner2', and the robot has only top: add it to robot\.cameras"):
        check_fit(planner, robot())
    with pytest.raises(SailError, match=r"128×128 pixels and camera 'corner2' gives 64×64: set robot\.image_size=128"):
        check_fit(planner, robot(camera="corner2", size=64))


def test_a_planner_that_says_nothing_of_itself_is_asked_nothing() -> None:
    check_fit(SimpleNamespace(identity="oracle"), robot(26.7))


def test_an_instruction_of_blanks_is_refused_and_none_is_the_task_s_own() -> None:
    with pytest.raises(SailError, match="instruction is empty"):
        instruction_of(compose("improve", ["instruction=   "]))
    assert instruction_of(compose("improve", ["task=door-close"])) == INSTRUCTIONS["door-close"]


def test_exploration_offers_the_true_instruction_but_not_as_it_is_asked_anyway() -> None:
    config = compose("improve", ["planner.settings.guidance_scale=2.5", "learner.exploration.guidance_scales=1.5,2.5"])
    exploration = exploration_of(config, "close the drawer")
    assert exploration is not None
    own = exploration.bandit.variants("close the drawer")
    assert own == [
        Phrasing("close the drawer", "", 1.5),
        Phrasing("close the drawer", "open the drawer", 1.5),
        Phrasing("close the drawer", "open the drawer", 2.5),
    ]
    config.learner.exploration.true_instruction = False
    without = exploration_of(config, "close the drawer")
    assert without is not None
    assert "close the drawer" not in without.bandit.instructions


def test_inverse_dynamics_without_a_folder_of_weights_cannot_be_fine_tuned() -> None:
    config = compose("improve", ["task=drawer-close", "inverse_dynamics=tiny"])
    shape = PoseNetworkShape(widths=(8, 8, 16, 16), keypoints=8, hidden=16)
    acting = InverseDynamicsInForce(PoseTracking(PoseNetwork(shape)))
    with pytest.raises(SailError, match=r"no folder of weights.*inverse_dynamics\.train=false"):
        inverse_dynamics_learner(config, Models(None, acting), lambda: (), {}, "")


def save_two_planners(folder: Path) -> list[str]:
    """Save an in-domain and a general planner of one tiny autoencoder; return the pairs that name them."""
    torch.manual_seed(0)
    autoencoder = FrameAutoencoder(widths=(8, 8, 8), norm_groups=4, image_size=32).eval()
    autoencoder.save(folder / "autoencoder")
    for name in ("small", "general"):
        denoiser = StackedUNet(widths=(16, 16), attention=(False, True), heads=2, groups=4)
        LatentVideoPlanner(denoiser, autoencoder, MiniLM(), image_size=(32, 32)).save(folder / name)
    return [
        "planner=adapted",
        f"planner.planner={folder / 'small'}",
        f"planner.autoencoder={folder / 'autoencoder'}",
        f"planner.general={folder / 'general'}",
    ]


def test_an_adapted_planner_is_put_together_and_its_in_domain_half_is_what_is_trained(tmp_path: Path) -> None:
    words = save_two_planners(tmp_path)
    pairs = ("planner.strength=0.3", "planner.strength_schedule=linear", "planner.strength_range=[2,-2]")
    config = compose("improve", [*words, *pairs, "planner.adaptation=ipa"])
    planner = build(config.planner)
    assert isinstance(planner, AdaptedPlanner)
    assert planner.strength == PriorStrength(0.3, "linear", (2.0, -2.0))
    assert planner.settings == sampler_of(config, "push it")
    general = LatentVideoPlanner.load(tmp_path / "general", planner.autoencoder, MiniLM())
    assert planner.identity == f"{general.identity}+{planner.in_domain.identity}"
    check_fit(planner, robot(camera="corner2", size=32))
    assert planner_learner(config, PlannerInForce(planner), lambda: (), 40.0, "") is not None
    assert planner.finetuned == "in_domain"
    assert what_will_act(config, planner) == "Plans come from ipa until the planner is fine-tuned, then from in_domain."
    assert what_will_act(config, planner.with_adaptation("in_domain")) is None
    assert what_will_act(config, planner.in_domain) is None
    first = PlannerInForce(planner.with_adaptation("general"))
    assert planner_learner(config, first, lambda: (), 40.0, "") is not None
    alone = PlannerInForce(
        build(compose("improve", [*words, "planner.adaptation=general", "planner.finetuned="]).planner)
    )
    with pytest.raises(SailError, match=r"planner\.adaptation=general no plan would ever come from the in-domain"):
        planner_learner(config, alone, lambda: (), 40.0, "")
    config.learner.planner.train = False
    assert planner_learner(config, alone, lambda: (), 40.0, "") is None


def test_best_of_n_stands_around_the_starter_or_another_and_samples_as_that_does(tmp_path: Path) -> None:
    config = compose("improve", ["planner=best_of_n", "planner.planner.settings.steps=7"])
    assert sampler_of(config, "push it").steps == 7
    assert config.planner.planner._target_ == "planners.latent_video.LatentVideoPlanner.load"
    inner = [pair.replace("planner.", "planner.planner.", 1) for pair in save_two_planners(tmp_path)[1:]]
    words = ["planner=best_of_n", "planner@planner.planner=adapted", *inner, "planner.candidates=3"]
    config = compose("improve", words)
    planner = build(config.planner)
    assert isinstance(planner, BestOfN)
    assert isinstance(planner.planner, AdaptedPlanner)
    assert planner.candidates == 3
    assert planner.planner.settings == sampler_of(config, "push it")
    check_fit(planner, robot(camera="corner2", size=32))
    assert planner_learner(config, PlannerInForce(planner), lambda: (), 40.0, "") is not None
    turns = build(compose("improve", ["planner=turns", *inner]).planner)
    assert isinstance(turns, Turns)
    assert turns.planner.settings == sampler_of(compose("improve", ["planner=turns", *inner]), "push it")
    away = compose("improve", ["planner=turns", *inner, "planner.planner.settings.negative_prompt=opposite"])
    assert sampler_of(away, "push it").negative_prompt == "pull it"
    assert planner_learner(config, PlannerInForce(turns), lambda: (), 40.0, "") is not None
    with pytest.raises(SailError, match=r"no planner 'adopted'\. Did you mean adapted"):
        compose("improve", ["planner=best_of_n", "planner@planner.planner=adopted"])


def test_without_a_general_planner_there_is_one_sentence_and_the_in_domain_one_still_plans(tmp_path: Path) -> None:
    words = [*save_two_planners(tmp_path)[:3], f"planner.general={tmp_path / 'nowhere'}"]
    with pytest.raises(SailError, match=r"no general planner in .*nowhere: `make starter-general` makes"):
        build(compose("improve", words).planner)
    planner = build(compose("improve", [*words, "planner.adaptation=in_domain"]).planner)
    assert planner.identity == planner.in_domain.identity


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "zero_shot"),
        (["planner=oracle"], "oracle_pose_tracking"),
        (["planner=adapted"], "zero_shot_ipa_0.3"),
        (["planner=adapted", "planner.adaptation=pa", "planner.strength=1"], "zero_shot_pa_1"),
        (["planner=adapted", "planner.adaptation=in_domain"], "zero_shot"),
        (["planner=animatediff"], "zero_shot_general"),
        (["planner=animatediff", "planner.settings.negative_prompt=opposite"], "zero_shot_general_opposite"),
        (["planner=oracle", "inverse_dynamics=frame_pair"], "oracle_frame_pair"),
        (["policy=expert"], "expert"),
        (["planner=turns"], "zero_shot_turns_in_domain_general_2.8"),
        (
            ["planner=turns", "planner.planner.settings.negative_prompt=opposite", "planner.adaptations=[general,ipa]"],
            "zero_shot_turns_general_ipa_2.8_opposite",
        ),
        (["planner.settings.negative_prompt=opposite"], "zero_shot_opposite"),
        (["planner.settings.negative_prompt=blurred"], "zero_shot"),
        (["planner=best_of_n"], "zero_shot_best_of_4"),
        (
            ["planner=best_of_n", "planner@planner.planner=adapted", "planner.candidates=2"],
            "zero_shot_ipa_0.3_best_of_2",
        ),
    ],
)
def test_measurements_of_different_planners_have_different_names(words: list[str], name: str) -> None:
    assert _method(compose("evaluate", ["task=reach", *words])) == name


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            {"_target_": "no_such_package.Score"},
            r"There is no no_such_package\.Score .*No module named 'no_such_package'",
        ),
        (
            {"_target_": "planners.best_of_n.TextAlignment", "nope": 1},
            "TextAlignment is not made with these keys.*nope",
        ),
        ({"_target_": "planners.best_of_n.Judged"}, "Judged is not made with these keys.*judge"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(node: dict[str, Any], said: str) -> None:
    with pytest.raises(SailError, match=said):
        build(OmegaConf.create(node))
