"""Laws of composed scores: weight 0 is the base model, the formulas hold, and only what counts is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from planners.compose import NORMALISATIONS, PriorStrength, alone, composed
from planners.diffusion import DiffusionSettings, alphas_cumprod, to_epsilon
from planners.parametrisation import Flow, Parametrisation, Predict
from planners.samplers import Denoise
from planners.scores import VideoScore
from robot.core.errors import CheckpointError

SCALES = [2.5, 1.0, 0.0]
TEXTS, NEGATIVES = ["push the puck", "open", "turn"], ["bad", "", "worse"]


class Toy:
    """A model whose prediction is a fixed mixture of the noisy clip, the first frame, the text and the timestep."""

    frames = 2

    def __init__(self, parametrisation: Parametrisation, identity: str = "toy", latent_space: str = "space") -> None:
        self.parametrisation = parametrisation
        self.identity = identity
        self.latent_space = latent_space
        self.asked: list[tuple[str, ...]] = []
        self.timesteps: list[float] = []

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        said = torch.tensor([float(len(text)) for text in texts], dtype=first_BCHW.dtype).reshape(-1, 1, 1, 1, 1)

        def predict(noisy: Tensor, timestep: float) -> Tensor:
            self.asked.append(tuple(texts))
            self.timesteps.append(timestep)
            mixed = noisy * (0.3 + 0.1 * len(self.identity)) + first_BCHW[:, None] * 0.2
            return mixed + torch.sin(said + len(self.identity)) + timestep / 1000

        return predict


def terms(**options: Any) -> Parametrisation:
    return Parametrisation.of(DiffusionSettings(**options))


def inputs(count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 4, 3, 3, generator=generator), torch.randn(count, 2, 4, 3, 3, generator=generator)


def single(model: Toy, settings: DiffusionSettings, first: Tensor, noisy: Tensor, text: Sequence[str]) -> Tensor:
    """Return what a model with these settings says of the noise at timestep 600, by the functions of training."""
    output = model.conditioned(first, text)(noisy, 600.0)
    bars = alphas_cumprod(settings).double()
    return to_epsilon(output, noisy, torch.full((len(noisy),), 600), bars, settings.prediction)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("gamma", [0.1, 2.0])
@pytest.mark.parametrize("inverse", [False, True])
def test_both_adaptations_are_the_papers_formulas(
    prediction: str, normalisation: str, gamma: float, inverse: bool
) -> None:
    """PA: ε_θ(∅) + α [ε_θ(text) + γ ε_g(text) − ε_θ(∅)]; IPA: the same with the models' parts exchanged.

    Normalised by guidance: the weighted mean of what each model is with guidance of its own.
    """
    settings = DiffusionSettings(prediction=prediction), DiffusionSettings(prediction="epsilon")
    small, general = Toy(Parametrisation.of(settings[0]), "small"), Toy(Parametrisation.of(settings[1]), "general")
    first, noisy = (each.double() for each in inputs())
    base, other, own, its = (small, general, *settings) if not inverse else (general, small, *settings[::-1])
    denoise = composed(base, other, first, TEXTS, NEGATIVES, SCALES, PriorStrength(gamma), normalisation)
    found = to_epsilon(denoise(noisy, 600), noisy, torch.full((3,), 600), alphas_cumprod(own).double(), own.prediction)
    text, empty = single(base, own, first, noisy, TEXTS), single(base, own, first, noisy, NEGATIVES)
    told = single(other, its, first, noisy, TEXTS)
    alpha = torch.tensor(SCALES).reshape(-1, 1, 1, 1, 1)
    if normalisation == "guided":
        its_empty = single(other, its, first, noisy, ["", "", ""])
        wanted = empty + alpha * (text - empty) + gamma * (its_empty + alpha * (told - its_empty))
        assert torch.allclose(found.double(), wanted / (1 + gamma), atol=1e-4)
        return
    wanted = (text + gamma * told) / (1 + gamma if normalisation == "text" else 1)
    assert torch.allclose(found.double(), empty + alpha * (wanted - empty), atol=1e-4)


@pytest.mark.parametrize("strength", [PriorStrength(0.0), PriorStrength(1.0, "interval", (30.0, 40.0))])
def test_without_strength_the_base_model_comes_back_bit_for_bit(strength: PriorStrength) -> None:
    base, other = Toy(terms(prediction="v"), "base"), Toy(terms(), "other")
    first, noisy = inputs()
    found = composed(base, other, first, TEXTS, NEGATIVES, SCALES, strength)(noisy, 600)

    wanted = alone(base, first, TEXTS, NEGATIVES, SCALES)(noisy, 600)
    assert torch.equal(found, wanted)
    assert other.asked == []


def test_a_clip_whose_text_does_not_count_is_the_base_model_s_bit_for_bit_beside_others_that_are_composed() -> None:
    base, other = Toy(terms(prediction="v"), "base"), Toy(terms(), "other")
    first, noisy = inputs()
    lone, both = (
        composed(base, other, first, TEXTS, NEGATIVES, SCALES, PriorStrength(strength))(noisy, 600)
        for strength in (0.0, 0.5)
    )
    assert torch.equal(lone[2], both[2])
    assert not torch.allclose(lone[:2], both[:2], atol=1e-3)


def test_only_what_counts_is_asked() -> None:
    base, other = Toy(terms(), "base"), Toy(terms(), "other")
    first, noisy = inputs()

    def count(
        scales: Sequence[float], strength: PriorStrength, interval: tuple[int, int] = (0, 999), how: str = "none"
    ) -> list[int]:
        base.asked, other.asked = [], []
        composed(base, other, first, TEXTS, NEGATIVES, scales, strength, how, interval)(noisy, 600)
        return [sum(map(len, base.asked)), sum(map(len, other.asked))]

    always = PriorStrength(0.1)
    assert count([2.0, 2.0, 2.0], always) == [6, 3]
    assert count([2.0, 2.0, 2.0], PriorStrength(0.0)) == [6, 0]
    assert count([1.0, 1.0, 1.0], always) == [3, 3]
    assert count([1.0, 1.0, 1.0], PriorStrength(0.0)) == [3, 0]
    assert count(SCALES, always) == [5, 2]
    assert count(SCALES, always, (700, 999)) == [3, 3]  # outside the interval every scale is 1
    assert count([2.0] * 3, PriorStrength(0.1, "interval", (5.0, 9.0))) == [6, 0]
    assert count(SCALES, always, how="guided") == [5, 5]
    assert count([1.0, 1.0, 1.0], always, how="guided") == count(SCALES, always, (700, 999), "guided") == [3, 3]
    assert count(SCALES, PriorStrength(0.0), how="guided") == [5, 0]
    composed(base, other, first, TEXTS, NEGATIVES, SCALES, always)(noisy, 600)
    assert base.asked[-1] == (*TEXTS, "bad", "worse")
    assert other.asked[-1] == tuple(TEXTS[:2])


@pytest.mark.parametrize(("prediction", "asked"), [("epsilon", 0), ("v", 3)])
def test_a_model_of_noise_is_not_asked_where_there_is_more_than_it_knows(prediction: str, asked: int) -> None:
    """A cosine schedule begins with next to no signal, one linear in √β with some."""
    base = Toy(terms(schedule="cosine"), "base")
    other = Toy(terms(schedule="scaled_linear", prediction=prediction), "other")
    first, noisy = inputs()
    denoise = composed(base, other, first, TEXTS, NEGATIVES, [2.0] * 3, PriorStrength(1.0), "text")
    denoise(noisy, 999)
    assert sum(map(len, other.asked)) == asked
    denoise(noisy, 600)
    assert sum(map(len, other.asked)) == asked + 3


def test_outside_the_interval_the_formula_holds_without_guidance() -> None:
    base, other = Toy(terms(), "base"), Toy(terms(), "other")
    first, noisy = inputs()
    outside, unguided = (
        composed(base, other, first, TEXTS, NEGATIVES, scales, PriorStrength(0.4), interval=interval)(noisy, 600)
        for scales, interval in ((SCALES, (0, 500)), ([1.0, 1.0, 1.0], (0, 999)))
    )
    assert torch.equal(outside, unguided)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_one_sampling_may_go_through_the_interval_and_out_of_it(normalisation: str) -> None:
    base, other = Toy(terms(), "base"), Toy(terms(), "other")
    first, noisy = inputs()

    def fresh() -> Denoise:
        strength = PriorStrength(0.4)
        return composed(base, other, first, TEXTS, NEGATIVES, SCALES, strength, normalisation, (500, 700))

    again = fresh()
    for timestep in (800, 600, 400, 550):
        assert torch.equal(again(noisy, timestep), fresh()(noisy, timestep))


@pytest.mark.parametrize("normalisation", ["text", "guided"])
def test_a_model_composed_with_itself_is_itself_where_weights_sum_to_one(normalisation: str) -> None:
    base, same = Toy(terms(prediction="v"), "same"), Toy(terms(prediction="v"), "same")
    first, noisy = inputs()
    lone, twice = (
        composed(base, same, first, TEXTS, [""] * 3, SCALES, PriorStrength(strength), normalisation)(noisy, 600)
        for strength in (0.0, 3.0)
    )
    assert torch.allclose(lone, twice, atol=1e-5)


def test_a_flow_can_be_the_other_model() -> None:
    """Its timestep is that of the same noise: with a cosine schedule near the middle, near its own middle."""
    base, flow = Toy(terms(schedule="cosine"), "base"), Toy(Parametrisation("flow", Flow()), "flow")
    first, noisy = inputs()
    assert bool(composed(base, flow, first, TEXTS, NEGATIVES, SCALES, PriorStrength(0.3))(noisy, 500).isfinite().all())
    assert flow.timesteps == [pytest.approx(500, abs=10)]


def test_two_latent_spaces_are_refused_and_both_are_named() -> None:
    first, _ = inputs()
    models: tuple[VideoScore, VideoScore] = Toy(terms(), "base", "small vae"), Toy(terms(), "other", "large vae")
    with pytest.raises(CheckpointError, match="autoencoder small vae, model other in that of large vae"):
        composed(*models, first, TEXTS, NEGATIVES, SCALES, PriorStrength())
    longer = Toy(terms(), "longer")
    longer.frames = 16
    with pytest.raises(CheckpointError, match="model base imagines 2 frames, model longer 16"):
        composed(Toy(terms(), "base"), longer, first, TEXTS, NEGATIVES, SCALES, PriorStrength())


def test_bad_calls_are_refused() -> None:
    first, _ = inputs()
    models = Toy(terms(), "base"), Toy(terms(), "other")
    with pytest.raises(ValueError, match="3 clips need as many texts"):
        composed(*models, first, TEXTS[:2], NEGATIVES, SCALES, PriorStrength())
    with pytest.raises(ValueError, match="no normalisation 'sum'"):
        composed(*models, first, TEXTS, NEGATIVES, SCALES, PriorStrength(), "sum")


def test_strengths_have_the_shapes_they_are_named_after() -> None:
    linear, late = PriorStrength(0.8, "linear", (-4.0, 4.0)), PriorStrength(0.8, "linear", (4.0, -4.0))
    assert [linear.at(at) for at in (-9, -4, 0, 2, 4, 9)] == pytest.approx([0.8, 0.8, 0.4, 0.2, 0.0, 0.0])
    assert [late.at(at) for at in (-9, -4, 0, 2, 4, 9)] == pytest.approx([0.0, 0.0, 0.4, 0.6, 0.8, 0.8])
    for between in ((-1.0, 2.0), (2.0, -1.0)):
        inside = PriorStrength(0.8, "interval", between)
        assert [inside.at(at) for at in (-1.1, -1, 0, 2, 2.1)] == [0.0, 0.8, 0.8, 0.8, 0.0]
    assert {PriorStrength(0.8).at(at) for at in (-30.0, 0.0, 30.0)} == {0.8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, "cubic"), "no strength schedule 'cubic'"),
        ((-0.1,), "from 0 up"),
        ((float("nan"),), "from 0 up"),
        ((0.1, "linear", (1.0, 1.0)), "two different"),
        ((0.1, "interval", (float("nan"), 1.0)), "two different"),
        ((0.1, "linear", (float("-inf"), 1.0)), "two finite"),
    ],
)
def test_impossible_strengths_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PriorStrength(*arguments)
