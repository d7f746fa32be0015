"""Laws of composed scores: weight 0 is the base model, the formulas hold, and only what counts is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from planners.compose import EVERYWHERE, NORMALISATIONS, Denoise, PriorStrength, composed
from planners.diffusion import DiffusionSettings
from planners.parametrisation import Flow, Parametrisation
from planners.scores import ClipDenoiser, Predict

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


def two(
    base: Toy, other: Toy | None, first: Tensor, texts: Any, negatives: Any, scales: Any, *options: Any, **named: Any
) -> Denoise:
    """Return two models composed, asked by the base model's timesteps."""
    denoiser = ClipDenoiser(base, first)
    second = None if other is None else ClipDenoiser(other, first, denoiser.terms)
    denoise = composed(denoiser, second, texts, negatives, scales, *options, **named)
    return lambda noisy, timestep: denoise(noisy, denoiser.terms.schedule.log_snr(timestep))


def between(low: int, high: int) -> tuple[float, float]:
    """Return the log-SNRs between which two timesteps of the usual schedule lie."""
    return terms().schedule.log_snr(high), terms().schedule.log_snr(low)


def noise_of(model: Toy, output: Tensor, noisy: Tensor) -> Tensor:
    """Return what a prediction at timestep 600 says of the noise."""
    own = model.parametrisation
    return own.split(output.double(), noisy, own.schedule.log_snr(600))[1]


def single(model: Toy, first: Tensor, noisy: Tensor, text: Sequence[str]) -> Tensor:
    """Return what a model says of the noise at timestep 600."""
    return noise_of(model, model.conditioned(first, text)(noisy, 600.0), noisy)


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
    small, general = Toy(terms(prediction=prediction), "small"), Toy(terms(prediction="epsilon"), "general")
    first, noisy = (each.double() for each in inputs())
    base, other = (small, general) if not inverse else (general, small)
    denoise = two(base, other, first, TEXTS, NEGATIVES, SCALES, PriorStrength(gamma), normalisation)
    found = noise_of(base, denoise(noisy, 600), noisy)
    text, empty = single(base, first, noisy, TEXTS), single(base, first, noisy, NEGATIVES)
    told = single(other, first, noisy, TEXTS)
    alpha = torch.tensor(SCALES).reshape(-1, 1, 1, 1, 1)
    if normalisation == "guided":
        its_empty = single(other, first, noisy, ["", "", ""])
        wanted = empty + alpha * (text - empty) + gamma * (its_empty + alpha * (told - its_empty))
        assert torch.allclose(found, wanted / (1 + gamma), atol=1e-4)
        return
    wanted = (text + gamma * told) / (1 + gamma if normalisation == "text" else 1)
    assert torch.allclose(found, empty + alpha * (wanted - empty), atol=1e-4)


@pytest.mark.parametrize("strength", [PriorStrength(0.0), PriorStrength(1.0, "interval", (30.0, 40.0))])
def test_without_strength_the_base_model_comes_back_bit_for_bit(strength: PriorStrength) -> None:
    base, other = Toy(terms(prediction="v"), "base"), Toy(terms(), "other")
    first, noisy = inputs()
    found = two(base, other, first, TEXTS, NEGATIVES, SCALES, strength)(noisy, 600)

    wanted = two(base, None, first, TEXTS, NEGATIVES, SCALES)(noisy, 600)
    assert torch.equal(found, wanted)
    assert other.asked == []


def test_a_clip_whose_text_does_not_count_is_the_base_model_s_bit_for_bit_beside_others_that_are_composed() -> None:
    base, other = Toy(terms(prediction="v"), "base"), Toy(terms(), "other")
    first, noisy = inputs()
    lone, both = (
        two(base, other, first, TEXTS, NEGATIVES, SCALES, PriorStrength(strength))(noisy, 600)
        for strength in (0.0, 0.5)
    )
    assert torch.equal(lone[2], both[2])
    assert not torch.allclose(lone[:2], both[:2], atol=1e-3)


def test_only_what_counts_is_asked() -> None:
    base, other = Toy(terms(), "base"), Toy(terms(), "other")
    first, noisy = inputs()

    def count(
        scales: Sequence[float], strength: PriorStrength, interval: tuple[float, float] = EVERYWHERE, how: str = "none"
    ) -> list[int]:
        base.asked, other.asked = [], []
        two(base, other, first, TEXTS, NEGATIVES, scales, strength, how, interval)(noisy, 600)
        return [sum(map(len, base.asked)), sum(map(len, other.asked))]

    always = PriorStrength(0.1)
    assert count([2.0, 2.0, 2.0], always) == [6, 3]
    assert count([2.0, 2.0, 2.0], PriorStrength(0.0)) == [6, 0]
    assert count([1.0, 1.0, 1.0], always) == [3, 3]
    assert count([1.0, 1.0, 1.0], PriorStrength(0.0)) == [3, 0]
    assert count(SCALES, always) == [5, 2]
    assert count(SCALES, always, between(700, 999)) == [3, 3]  # outside the interval every scale is 1
    assert count([2.0] * 3, PriorStrength(0.1, "interval", (5.0, 9.0))) == [6, 0]
    assert count(SCALES, always, how="guided") == [5, 5]
    assert count([1.0, 1.0, 1.0], always, how="guided") == count(SCALES, always, between(700, 999), "guided") == [3, 3]
    assert count(SCALES, PriorStrength(0.0), how="guided") == [5, 0]
    two(base, other, first, TEXTS, NEGATIVES, SCALES, always)(noisy, 600)
    assert base.asked[-1] == (*TEXTS, "bad", "worse")
    assert other.asked[-1] == tuple(TEXTS[:2])


@pytest.mark.parametrize(("prediction", "asked"), [("epsilon", 0), ("v", 3)])
def test_a_model_of_noise_is_not_asked_where_there_is_more_than_it_knows(prediction: str, asked: int) -> None:
    """A cosine schedule begins with next to no signal, one linear in √β with some."""
    base = Toy(terms(schedule="cosine"), "base")
    other = Toy(terms(schedule="scaled_linear", prediction=prediction), "other")
    first, noisy = inputs()
    denoise = two(base, other, first, TEXTS, NEGATIVES, [2.0] * 3, PriorStrength(1.0), "text")
    denoise(noisy, 999)
    assert sum(map(len, other.asked)) == asked
    denoise(noisy, 600)
    assert sum(map(len, other.asked)) == asked + 3


def test_outside_the_interval_the_formula_holds_without_guidance() -> None:
    base, other = Toy(terms(), "base"), Toy(terms(), "other")
    first, noisy = inputs()
    outside, unguided = (
        two(base, other, first, TEXTS, NEGATIVES, scales, PriorStrength(0.4), interval=interval)(noisy, 600)
        for scales, interval in ((SCALES, between(0, 500)), ([1.0, 1.0, 1.0], EVERYWHERE))
    )
    assert torch.equal(outside, unguided)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_one_sampling_may_go_through_the_interval_and_out_of_it(normalisation: str) -> None:
    base, other = Toy(terms(), "base"), Toy(terms(), "other")
    first, noisy = inputs()

    def fresh() -> Denoise:
        strength = PriorStrength(0.4)
        return two(base, other, first, TEXTS, NEGATIVES, SCALES, strength, normalisation, between(500, 700))

    again = fresh()
    for timestep in (800, 600, 400, 550):
        assert torch.equal(again(noisy, timestep), fresh()(noisy, timestep))


@pytest.mark.parametrize("normalisation", ["text", "guided"])
def test_a_model_composed_with_itself_is_itself_where_weights_sum_to_one(normalisation: str) -> None:
    base, same = Toy(terms(prediction="v"), "same"), Toy(terms(prediction="v"), "same")
    first, noisy = inputs()
    lone, twice = (
        two(base, same, first, TEXTS, [""] * 3, SCALES, PriorStrength(strength), normalisation)(noisy, 600)
        for strength in (0.0, 3.0)
    )
    assert torch.allclose(lone, twice, atol=1e-5)


def test_a_flow_can_be_the_other_model() -> None:
    """Its timestep is that of the same noise: with a cosine schedule near the middle, near its own middle."""
    base, flow = Toy(terms(schedule="cosine"), "base"), Toy(Parametrisation("flow", Flow()), "flow")
    first, noisy = inputs()
    assert bool(two(base, flow, first, TEXTS, NEGATIVES, SCALES, PriorStrength(0.3))(noisy, 500).isfinite().all())
    assert flow.timesteps == [pytest.approx(500, abs=10)]


def test_bad_calls_are_refused() -> None:
    first, _ = inputs()
    models = Toy(terms(), "base"), Toy(terms(), "other")
    with pytest.raises(ValueError, match="3 clips need as many texts"):
        two(*models, first, TEXTS[:2], NEGATIVES, SCALES, PriorStrength())
    with pytest.raises(ValueError, match="no normalisation 'sum'"):
        two(*models, first, TEXTS, NEGATIVES, SCALES, PriorStrength(), "sum")


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
