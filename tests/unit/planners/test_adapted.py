"""The adapted planner: each part alone when asked so, both together otherwise; only the in-domain half is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners.adapted import ADAPTATIONS, AdaptedPlanner
from planners.compose import PriorStrength
from planners.diffusion import DiffusionSettings
from planners.general import GeneralPlanner
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Flow, Parametrisation
from planners.scores import Predict
from robot.core.data import SamplerSettings, VideoPlan
from robot.core.errors import CheckpointError
from robot.core.protocols import Planner

SETTINGS = SamplerSettings(steps=3, guidance_scale=2.0)


@pytest.fixture
def small(make_denoiser: Any, autoencoder: Any, text_encoder: Any) -> LatentVideoPlanner:
    return build(make_denoiser(seed=0), autoencoder, text_encoder)


@pytest.fixture
def general(make_denoiser: Any, autoencoder: Any, text_encoder: Any) -> LatentVideoPlanner:
    other = DiffusionSettings("linear", "epsilon", delta=False, scale=1.7)
    return build(make_denoiser(seed=1), autoencoder, text_encoder, other)


def build(denoiser: Any, autoencoder: Any, text_encoder: Any, diffusion: Any = None) -> LatentVideoPlanner:
    return LatentVideoPlanner(
        denoiser,
        autoencoder,
        text_encoder,
        diffusion or DiffusionSettings(),
        settings=SETTINGS,
        image_size=(32, 32),
        precision="fp32",
        device="cpu",
    )


def planned(planner: Planner, make_observation: Any, **options: Any) -> list[VideoPlan]:
    seen = [make_observation(seed) for seed in range(3)]
    settings = [replace(SETTINGS, **options), replace(SETTINGS, guidance_scale=1.0), SETTINGS]
    return planner.plan(seen, ["push", "pull", "turn"], [3, 4, 5], settings)


def same(one: list[VideoPlan], two: list[VideoPlan]) -> bool:
    return all(np.array_equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("strength", [PriorStrength(0.0), PriorStrength(2.0, "interval", (60.0, 70.0))])
def test_without_strength_each_adaptation_is_its_base_bit_for_bit(
    small: LatentVideoPlanner, general: LatentVideoPlanner, make_observation: Any, strength: PriorStrength
) -> None:
    adapted = AdaptedPlanner(small, general, "pa", strength)
    alone = {"pa": small, "in_domain": small, "ipa": general, "general": general}
    for adaptation in ADAPTATIONS:
        plans = planned(adapted.with_adaptation(adaptation), make_observation)
        assert same(plans, planned(alone[adaptation], make_observation))


def test_with_strength_plans_come_from_both_and_name_both(
    small: LatentVideoPlanner, general: LatentVideoPlanner, make_observation: Any
) -> None:
    plans = {}
    for adaptation in ADAPTATIONS:
        planner = AdaptedPlanner(small, general, adaptation, PriorStrength(0.5), "text")
        plans[adaptation] = planned(planner, make_observation)
        assert {plan.planner for plan in plans[adaptation]} == {planner.identity}
    assert plans["pa"][0].planner == f"{small.identity}+{general.identity}"
    assert plans["ipa"][0].planner == f"{general.identity}+{small.identity}"
    assert (plans["in_domain"][0].planner, plans["general"][0].planner) == (small.identity, general.identity)
    names = list(plans)
    for index, one in enumerate(names):
        assert not any(same(plans[one], plans[other]) for other in names[index + 1 :])


@pytest.mark.parametrize("adaptation", ["pa", "ipa"])
def test_a_planner_adapted_by_itself_plans_as_it_did(
    small: LatentVideoPlanner, make_observation: Any, adaptation: str
) -> None:
    twice = AdaptedPlanner(small, small, adaptation, PriorStrength(1.5), "text")
    for one, two in zip(planned(twice, make_observation), planned(small, make_observation), strict=True):
        assert np.abs(one.frames.astype(int) - two.frames).max() <= 1


class Stream:
    """A flow-matching model that has learnt one thing: nothing moves, and every clip is its first frame."""

    identity, latent_space = "stream", "pooling"
    frames: int | None = None
    parametrisation = Parametrisation("flow", Flow())

    def conditioned(self, first_BCHW: Tensor, texts: Any) -> Predict:
        def predict(noisy: Tensor, timestep: float) -> Tensor:
            sigma = max(timestep / 1000, 1e-3)
            return (noisy - first_BCHW[:, None]) / sigma  # v = ε − x0 = (x − x0) / σ

        return predict


@pytest.mark.parametrize("adaptation", ["general", "ipa", "pa"])
def test_a_flow_matching_model_takes_either_part(
    small: LatentVideoPlanner, autoencoder: Any, make_observation: Any, adaptation: str
) -> None:
    strength = PriorStrength(1e6 if adaptation == "pa" else 0.0)  # so that it is all that counts
    planner = AdaptedPlanner(small, Stream(), adaptation, strength, "text")
    observation = make_observation()
    (plan,) = planner.plan([observation], ["push"], [0], [replace(SETTINGS, guidance_scale=1.0)])
    frame = torch.from_numpy(observation.images["corner2"])[None]
    still = autoencoder.decode(autoencoder.encode(frame))[0].numpy().astype(int)
    assert np.abs(plan.frames.astype(int) - still).max() <= 1


def test_other_weights_in_domain_leave_the_general_model_as_it_is(
    small: LatentVideoPlanner, general: LatentVideoPlanner, make_denoiser: Any
) -> None:
    adapted = AdaptedPlanner(small, general, "ipa", PriorStrength(0.3), "text", finetuned="")
    tuned = adapted.with_in_domain(small.with_denoiser(make_denoiser(seed=7)))
    assert tuned.general is adapted.general
    assert tuned.identity != adapted.identity
    assert (tuned.adaptation, tuned.strength, tuned.normalisation) == ("ipa", PriorStrength(0.3), "text")


def test_once_fine_tuned_the_in_domain_model_may_go_on_alone(
    small: LatentVideoPlanner, general: LatentVideoPlanner, make_denoiser: Any, make_observation: Any
) -> None:
    adapted = AdaptedPlanner(small, general, "ipa", PriorStrength(0.3), "text", "in_domain")
    assert adapted.identity == f"{general.identity}+{small.identity}"
    part = small.with_denoiser(make_denoiser(seed=7))
    for tuned in (adapted.with_in_domain(part), adapted.with_in_domain(part).with_in_domain(part)):
        assert (tuned.adaptation, tuned.identity) == ("in_domain", part.identity)
        assert same(planned(tuned, make_observation), planned(part, make_observation))
    assert adapted.with_adaptation("pa").with_in_domain(part).adaptation == "in_domain"
    with pytest.raises(ValueError, match="no adaptation 'both'"):
        AdaptedPlanner(small, general, finetuned="both")
    with pytest.raises(ValueError, match="'ipa' needs a general model"):
        AdaptedPlanner(small, None, "in_domain", finetuned="ipa")


def test_it_is_loaded_from_two_folders_and_says_what_makes_the_one_that_is_missing(
    small: LatentVideoPlanner,
    general: LatentVideoPlanner,
    autoencoder: Any,
    text_encoder: Any,
    make_observation: Any,
    tmp_path: Path,
) -> None:
    small.save(tmp_path / "small")
    options: dict[str, Any] = {"text_encoder": text_encoder, "precision": "fp32", "device": "cpu", "strength": 0.4}
    general_folder = tmp_path / "general" / "planner"
    with pytest.raises(CheckpointError, match=r"no general planner in .*: `make starter-general` makes"):
        AdaptedPlanner.load(tmp_path / "small", autoencoder, general_folder, **options)
    alone = AdaptedPlanner.load(tmp_path / "small", autoencoder, general_folder, adaptation="in_domain", **options)
    assert same(planned(alone, make_observation), planned(small, make_observation))
    general.save(general_folder)
    loaded = AdaptedPlanner.load(tmp_path / "small", autoencoder, general_folder, "ipa", **options)
    wanted = AdaptedPlanner(small, general, "ipa", PriorStrength(0.4))
    assert same(planned(loaded, make_observation), planned(wanted, make_observation))
    autoencoder.identity = "another"
    with pytest.raises(CheckpointError, match="latent space of autoencoder pooling, not of another"):
        AdaptedPlanner.load(tmp_path / "small", autoencoder, general_folder, **options)


def test_what_does_not_fit_is_refused(
    small: LatentVideoPlanner, general: LatentVideoPlanner, autoencoder: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no adaptation 'both'; known are pa, ipa"):
        AdaptedPlanner(small, general, "both")
    with pytest.raises(ValueError, match="no normalisation 'mean'"):
        AdaptedPlanner(small, general, normalisation="mean")
    with pytest.raises(ValueError, match="'ipa' needs a general model"):
        AdaptedPlanner(small, None)
    for wrong in ((1, 2, 3), 4, "ab"):
        with pytest.raises(ValueError, match=rf"two log-SNRs, such as \[-4, 4\], got {re.escape(str(wrong))}"):
            AdaptedPlanner.load(tmp_path, autoencoder, tmp_path, strength_range=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"two different log-SNRs, got \(2.0, 2.0\)"):
        AdaptedPlanner.load(tmp_path, autoencoder, tmp_path, strength_range=(2, 2))
    stream = Stream()
    stream.latent_space = "large vae"
    with pytest.raises(CheckpointError, match=r"autoencoder pooling, model stream in that of large vae"):
        AdaptedPlanner(small, stream)
    stream.latent_space, stream.frames = "pooling", 16
    with pytest.raises(CheckpointError, match=rf"model {small.identity} imagines 3 frames, model stream 16"):
        AdaptedPlanner(small, stream)


def test_what_is_no_general_model_is_refused_in_a_sentence(
    small: LatentVideoPlanner, autoencoder: Any, text_encoder: Any, tmp_path: Path
) -> None:
    small.save(tmp_path)
    options: dict[str, Any] = {"text_encoder": text_encoder, "precision": "fp32", "device": "cpu"}
    with pytest.raises(ValueError, match="'ipa' needs a general model"):
        AdaptedPlanner.load(tmp_path, autoencoder, None, **options)
    assert AdaptedPlanner.load(tmp_path, autoencoder, None, "in_domain", **options).general is None
    made = AdaptedPlanner.load(tmp_path, autoencoder, lambda: small, **options)
    assert made.general is not None and made.general.identity == small.identity
    wrong: Any
    for wrong, name in ((object(), "object"), (lambda: 3, "int")):
        with pytest.raises(ValueError, match=f"which a {name} has not"):
            AdaptedPlanner.load(tmp_path, autoencoder, wrong, **options)
    wrong = "models/general"
    with pytest.raises(ValueError, match="which a str has not"):
        GeneralPlanner.load(wrong, autoencoder, image_size=32, frames=small.frames, device="cpu")


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_two_paces_are_refused_and_a_model_that_states_none_fits(
    small: LatentVideoPlanner, make_denoiser: Any, autoencoder: Any, text_encoder: Any, adaptation: str
) -> None:
    slow = LatentVideoPlanner(make_denoiser(seed=1), autoencoder, text_encoder, stride_s=0.32, device="cpu")
    wanted = rf"model {small.identity} imagines frames 0.05 s apart, model {slow.identity} 0.32 s; take two of the same"
    with pytest.raises(CheckpointError, match=wanted):
        AdaptedPlanner(small, slow, adaptation)
    with pytest.raises(CheckpointError, match=rf"model {slow.identity} imagines frames 0.32 s apart, not 0.05 s"):
        GeneralPlanner(slow, autoencoder, slow.frames, image_size=(32, 32), device="cpu")
    slow.stride_s = 0.05 + 1e-9
    assert AdaptedPlanner(small, slow, adaptation).stride_s == 0.05
    assert AdaptedPlanner(small, Stream(), adaptation).stride_s == 0.05
