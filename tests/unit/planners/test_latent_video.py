"""The planner: same seeds, same plan; a plan does not depend on its neighbours; bad input is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planners.autoencoder import FrameAutoencoder
from planners.denoisers import StackedUNet
from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.text import MiniLM
from robot.core.data import SamplerSettings, VideoPlan
from robot.core.errors import CheckpointError
from robot.core.protocols import Planner

SETTINGS = SamplerSettings(steps=3, guidance_scale=2.0)


@pytest.fixture
def planner(tiny_denoiser: Any, autoencoder: Any, text_encoder: Any) -> LatentVideoPlanner:
    return LatentVideoPlanner(
        tiny_denoiser,
        autoencoder,
        text_encoder,
        settings=SETTINGS,
        image_size=(32, 32),
        precision="fp32",
        device="cpu",
    )


def difference(one: VideoPlan, two: VideoPlan) -> int:
    return int(np.abs(one.frames.astype(int) - two.frames.astype(int)).max())


def test_a_plan_says_what_made_it(planner: LatentVideoPlanner, make_observation: Any) -> None:
    assert isinstance(planner, Planner)
    (plan,) = planner.plan([make_observation()], ["push"], [3])
    assert plan.frames.shape == (3, 32, 32, 3)
    assert plan.frames.dtype == np.uint8
    assert (plan.stride_s, plan.instruction, plan.seed) == (0.05, "push", 3)
    assert (plan.settings, plan.planner) == (SETTINGS, planner.identity)
    assert planner.plan([], [], []) == []


def test_the_same_seed_gives_the_same_plan_and_another_another(
    planner: LatentVideoPlanner, make_observation: Any
) -> None:
    seen = [make_observation()]
    first = planner.plan(seen, ["push"], [3])[0]
    assert np.array_equal(first.frames, planner.plan(seen, ["push"], [3])[0].frames)
    assert difference(first, planner.plan(seen, ["push"], [4])[0]) > 2
    assert difference(first, planner.plan(seen, ["pull"], [3])[0]) > 0
    assert difference(first, planner.plan([make_observation(1)], ["push"], [3])[0]) > 2


def test_settings_are_mixed_in_a_batch_and_neighbours_do_not_matter(
    planner: LatentVideoPlanner, make_observation: Any
) -> None:
    choices = [
        SETTINGS,
        replace(SETTINGS, guidance_scale=1.0),
        replace(SETTINGS, sampler="dpm++", steps=2),
        replace(SETTINGS, negative_prompt="pull"),
        replace(SETTINGS, sampler="lcm", guidance_scale=3.0),
        SETTINGS,
    ]
    seen = [make_observation(seed) for seed in range(len(choices))]
    said = ["push", "pull", "push", "turn", "push", "turn"]
    seeds = [9, 8, 7, 6, 5, 4]
    together = planner.plan(seen, said, seeds, choices)
    for index, choice in enumerate(choices):
        (alone,) = planner.plan([seen[index]], [said[index]], [seeds[index]], [choice])
        assert difference(alone, together[index]) <= 1
        assert together[index].settings == choice


def test_plans_are_steered_away_from_the_opposite_of_each_one_s_text(
    planner: LatentVideoPlanner, make_observation: Any
) -> None:
    seen, said, away = [make_observation()] * 2, ["push it", "turn it"], replace(SETTINGS, negative_prompt="opposite")
    plans = planner.plan(seen, said, [3, 3], [away, away])
    literally = [replace(SETTINGS, negative_prompt="pull it"), SETTINGS]
    assert [plan.settings for plan in plans] == literally
    wanted = planner.plan(seen, said, [3, 3], literally)
    assert all(np.array_equal(one.frames, two.frames) for one, two in zip(plans, wanted, strict=True))


def test_guidance_and_negative_prompt_matter(planner: LatentVideoPlanner, make_observation: Any) -> None:
    choices = [
        SETTINGS,
        replace(SETTINGS, guidance_scale=1.0),
        replace(SETTINGS, guidance_scale=8.0),
        replace(SETTINGS, guidance_scale=8.0, negative_prompt="pull"),
        replace(SETTINGS, guidance_scale=8.0, negative_prompt="push"),
    ]
    usual, conditional, strong, other, same = planner.plan([make_observation()] * 5, ["push"] * 5, [0] * 5, choices)
    assert difference(usual, strong) > 0
    assert difference(strong, other) > 0
    assert difference(same, conditional) <= 1


def test_no_predicted_change_means_the_frame_itself(
    make_denoiser: Any, autoencoder: Any, text_encoder: Any, make_observation: Any
) -> None:
    """A denoiser that answers zero in x0 says that nothing changes: the plan is the frame itself."""
    still = LatentVideoPlanner(
        make_denoiser(awake=False),
        autoencoder,
        text_encoder,
        DiffusionSettings(prediction="x0"),
        settings=SETTINGS,
        image_size=(32, 32),
    )
    observation = make_observation()
    (plan,) = still.plan([observation], ["push"], [0])
    frame = torch.from_numpy(observation.images["corner2"])[None]
    expected = autoencoder.decode(autoencoder.encode(frame))[0].numpy().astype(int)
    assert np.abs(plan.frames.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_planner_plans_the_same(
    planner: LatentVideoPlanner,
    autoencoder: Any,
    text_encoder: Any,
    make_observation: Any,
    tmp_path: Path,
    half: bool,
) -> None:
    named = planner.save(tmp_path, {"data": "none"}, torch.float16 if half else None)
    again = LatentVideoPlanner.load(tmp_path, autoencoder, text_encoder, precision="fp32", device="cpu")
    assert again.identity == again.with_autoencoder(again.autoencoder).identity == named
    assert (named == planner.identity) == (not half)
    assert again.config == planner.config
    seen = [make_observation()]
    plans = [each.plan(seen, ["push"], [3])[0] for each in (planner, again)]
    assert difference(*plans) <= (2 if half else 0)


def test_a_planner_is_loaded_from_folders_alone(make_observation: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pictures = FrameAutoencoder(widths=(16, 16), image_size=32).eval()
    denoiser = StackedUNet(widths=(16, 16), attention=(False, True), frames=3, heads=2, groups=4)
    torch.nn.init.normal_(denoiser.unet.conv_out.weight, std=0.05)
    planner = LatentVideoPlanner(denoiser, pictures, MiniLM(), settings=SETTINGS, image_size=(32, 32), device="cpu")
    pictures.save(tmp_path / "autoencoder")
    planner.save(tmp_path / "planner")
    again = LatentVideoPlanner.load(tmp_path / "planner", tmp_path / "autoencoder", device="cpu")
    seen, said = [make_observation()] * 2, ["push the puck", "open the door"]
    for one, two in zip(planner.plan(seen, said, [0, 1]), again.plan(seen, said, [0, 1]), strict=True):
        assert np.array_equal(one.frames, two.frames)


def test_overrides_replace_what_was_saved(
    planner: LatentVideoPlanner, autoencoder: Any, text_encoder: Any, tmp_path: Path
) -> None:
    planner.save(tmp_path)
    again = LatentVideoPlanner.load(tmp_path, autoencoder, text_encoder, settings=SamplerSettings(steps=5))
    assert again.settings.steps == 5


def test_other_weights_are_another_planner(planner: LatentVideoPlanner, make_denoiser: Any) -> None:
    other = planner.with_denoiser(make_denoiser(seed=1))
    assert other.identity != planner.identity
    assert other.config == planner.config


@pytest.mark.parametrize(
    ("instructions", "seeds", "message"),
    [
        ([""], [0], "the one given is empty"),
        (["  "], [0], "the one given is empty"),
        (["push", "pull"], [0], "1 observations need as many"),
        (["push"], [], "1 observations need as many"),
    ],
)
def test_bad_calls_are_refused(
    planner: LatentVideoPlanner, make_observation: Any, instructions: list[str], seeds: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        planner.plan([make_observation()], instructions, seeds)


def test_wrong_pictures_are_refused(planner: LatentVideoPlanner, make_observation: Any) -> None:
    with pytest.raises(ValueError, match="takes images of 32×32 pixels, camera 'corner2' gave 40×40"):
        planner.plan([make_observation(size=40)], ["push"], [0])
    planner.camera = "wrist"
    with pytest.raises(ValueError, match="no camera 'wrist'"):
        planner.plan([make_observation()], ["push"], [0])


def test_checkpoints_that_do_not_fit_are_refused(
    planner: LatentVideoPlanner, autoencoder: Any, text_encoder: Any, tmp_path: Path
) -> None:
    planner.save(tmp_path)
    autoencoder.identity = "another"
    with pytest.raises(CheckpointError, match="latent space of autoencoder pooling, not of another"):
        LatentVideoPlanner.load(tmp_path, autoencoder, text_encoder)
    autoencoder.identity = "pooling"
    about = json.loads((tmp_path / "model.json").read_text())
    about["config"]["denoiser"]["widths"] = [8, 16]
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="for another architecture than StackedUNet"):
        LatentVideoPlanner.load(tmp_path, autoencoder, text_encoder)
    about["config"]["diffusion"]["flow"] = True
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="in a way this version does not read"):
        LatentVideoPlanner.load(tmp_path, autoencoder, text_encoder)


def test_impossible_options_are_refused(tiny_denoiser: Any, autoencoder: Any, text_encoder: Any) -> None:
    for options, message in (
        ({"precision": "int8"}, "no precision 'int8'"),
        ({"guidance_interval": (0.8, 0.2)}, "rising numbers"),
        ({"settings": SamplerSettings(sampler="euler")}, "no sampler 'euler'"),
    ):
        with pytest.raises(ValueError, match=message):
            LatentVideoPlanner(tiny_denoiser, autoencoder, text_encoder, **options)  # type: ignore[arg-type]
