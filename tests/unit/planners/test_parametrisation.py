"""Laws of asking one model in another's terms: the noise found is the same, whatever the terms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from planners.diffusion import SCHEDULES, DiffusionSettings, alphas_cumprod
from planners.parametrisation import KINDS, Discrete, Flow, Parametrisation
from planners.scores import ClipDenoiser, Predict

SCALES = st.floats(0.7, 1.5)  # such that no schedule ends before the noise asked about


def terms(kind: str, schedule: str = "cosine", scale: float = 1.0, delta: bool = False) -> Parametrisation:
    if kind == "flow":
        return Parametrisation("flow", Flow(), scale, delta)
    bars = alphas_cumprod(DiffusionSettings(schedule=schedule)).double()
    return Parametrisation(kind, Discrete(bars), scale, delta)


PARAMETRISATIONS = st.builds(terms, st.sampled_from(KINDS), st.sampled_from(SCHEDULES), SCALES, st.booleans())


class Gaussian:
    """The best there is to say of latents drawn from N(mean, deviation²), in whatever terms it is asked.

    It knows its own timestep alone, so that being asked at a wrong one, or about a clip in wrong terms, shows.
    """

    def __init__(self, own: Parametrisation, first: Tensor, mean: Tensor, deviation: float) -> None:
        self.own, self.first, self.mean, self.deviation = own, first, mean, deviation

    def __call__(self, noisy: Tensor, timestep: float) -> Tensor:
        own = self.own
        log_snr = own.schedule.log_snr(timestep)
        a, s = own.schedule.factors(log_snr)
        mean = own.scale * (self.mean - own.delta * self.first[:, None])
        variance = (own.scale * self.deviation) ** 2
        gain = a * variance / (a * a * variance + s * s)
        x0 = mean + gain * (noisy - a * mean)
        return own.join(x0, (noisy - a * x0) / s, log_snr)


class Model:
    """A model of one function. A `VideoScore`."""

    identity, latent_space, frames = "model", "space", None

    def __init__(self, predict: Predict, own: Parametrisation) -> None:
        self.predict, self.parametrisation = predict, own

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        return self.predict


def ask(
    predict: Predict, theirs: Parametrisation, ours: Parametrisation, first: Tensor, noisy: Tensor, log_snr: float
) -> Tensor:
    """Return what a model predicts in our terms about a batch of clips, each with the empty text."""
    every = range(len(first))
    return ClipDenoiser(Model(predict, theirs), first, ours)(noisy, log_snr, every, [""] * len(every))


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@settings(deadline=None, max_examples=150)
@given(ours=PARAMETRISATIONS, theirs=PARAMETRISATIONS, log_snr=st.floats(-3.5, 5), seed=st.integers(0, 99))
def test_the_same_model_in_other_terms_finds_the_same_noise(
    ours: Parametrisation, theirs: Parametrisation, log_snr: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, mean = normal(generator, 2, 3, 4, 4), normal(generator, 2, 2, 3, 4, 4)
    latents, noise = mean + 0.7 * normal(generator, *mean.shape), normal(generator, *mean.shape)
    a, s = ours.schedule.factors(log_snr)
    noisy = a * ours.scale * (latents - ours.delta * first[:, None]) + s * noise
    own = ask(Gaussian(ours, first, mean, 0.7), ours, ours, first, noisy, log_snr)
    other = ask(Gaussian(theirs, first, mean, 0.7), theirs, ours, first, noisy, log_snr)
    assert torch.allclose(own, other, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 4.0])
def test_a_prediction_is_split_and_joined_again(kind: str, log_snr: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = normal(generator, 2, 3), normal(generator, 2, 3)
    own = terms(kind)
    a, s = own.schedule.factors(log_snr)
    noisy = a * x0 + s * noise
    output = own.join(x0, noise, log_snr)
    for found, meant in zip(own.split(output, noisy, log_snr), (x0, noise), strict=True):
        assert torch.allclose(found, meant, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_do_not_sum_to_one_mean_the_same_sum_of_noise(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy, one, two = (normal(generator, 2, 3) for _ in range(3))
    own, log_snr = terms(kind), 0.7
    found = own.split(1.2 * one + 0.5 * two + own.excess(noisy, log_snr, 1.7), noisy, log_snr)[1]
    meant = 1.2 * own.split(one, noisy, log_snr)[1] + 0.5 * own.split(two, noisy, log_snr)[1]
    assert torch.allclose(found, meant, atol=1e-10)


@settings(deadline=None, max_examples=60)
@given(own=PARAMETRISATIONS, timestep=st.floats(5, 990))
def test_a_timestep_is_found_again_by_its_noise(own: Parametrisation, timestep: float) -> None:
    assert own.schedule.timestep(own.schedule.log_snr(timestep)) == pytest.approx(timestep, abs=1e-6)


@pytest.mark.parametrize("timestep", [0, 250, 999])
def test_at_whole_timesteps_the_noise_is_the_schedule_s(timestep: int) -> None:
    bars = alphas_cumprod(DiffusionSettings())
    a, s = Discrete(bars).factors(Discrete(bars).log_snr(timestep))
    assert a * a == pytest.approx(float(bars[timestep]), rel=1e-6)
    assert s * s == pytest.approx(1 - float(bars[timestep]), rel=1e-4)


def test_flow_s_noise_is_a_straight_line() -> None:
    flow = Flow()
    for sigma in (0.1, 0.5, 0.9):
        assert flow.factors(flow.log_snr(1000 * sigma)) == pytest.approx((1 - sigma, sigma))
        assert flow.log_snr(1000 * sigma) == pytest.approx(math.log(((1 - sigma) / sigma) ** 2))


def test_a_network_of_whole_timesteps_is_asked_at_the_nearest() -> None:
    bars = alphas_cumprod(DiffusionSettings())
    exact, whole = Discrete(bars), Discrete(bars, whole=True)
    for timestep in (100.0, 400.3, 400.7):
        assert whole.timestep(exact.log_snr(timestep)) == round(timestep)


@pytest.mark.parametrize(("log_snr", "end"), [(50.0, 0), (-50.0, 999)])
def test_beyond_a_schedule_s_ends_its_ends_are_asked_and_nothing_overflows(log_snr: float, end: int) -> None:
    asked: list[float] = []

    def predict(noisy: Tensor, timestep: float) -> Tensor:
        asked.append(timestep)
        return torch.zeros_like(noisy)

    ours, theirs = terms("v", "cosine", 2.0, True), terms("v", "linear")
    first, noisy = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    found = ask(predict, theirs, ours, first, noisy, max(-40.0, min(40.0, log_snr)))
    assert bool(found.isfinite().all())
    assert asked == [end]


def test_with_no_signal_at_all_there_is_still_an_answer() -> None:
    """A schedule that ends in pure noise (ᾱ = 0) is asked there as the noisiest clip float64 can hold."""
    ours = Parametrisation.of(DiffusionSettings(zero_terminal_snr=True))
    first, noisy = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    found = ask(lambda noisy, _: 0.5 * noisy, terms("v", "linear"), ours, first, noisy, ours.schedule.log_snr(999))
    assert bool(found.isfinite().all())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_model_in_its_own_terms_is_asked_at_its_own_timesteps_and_passed_through(
    schedule: str, zero: bool, whole: bool
) -> None:
    settings = DiffusionSettings(schedule=schedule, zero_terminal_snr=zero, scale=1.3)
    own, again = Parametrisation.of(settings, whole), Parametrisation.of(settings, whole)
    assert own == again and hash(own) == hash(again)
    assert own != terms("v", schedule) and own != Parametrisation.of(DiffusionSettings(schedule, timesteps=500))
    assert [own.schedule.timestep(own.schedule.log_snr(at)) for at in range(1000)] == list(range(1000))
    asked: list[float] = []

    def predict(noisy: Tensor, timestep: float) -> Tensor:
        asked.append(timestep)
        return noisy * 0.37

    first, noisy = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    assert torch.equal(ask(predict, own, again, first, noisy, own.schedule.log_snr(613)), noisy * 0.37)
    assert asked == [613] and isinstance(asked[0], int)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: terms("score"), "no prediction type 'score'"),
        (lambda: Parametrisation("v", Flow()), "goes with a flow's schedule"),
        (lambda: terms("v", scale=0.0), "must be above 0"),
        (lambda: Discrete(torch.tensor([0.5, 0.6])), "falling"),
        (lambda: Discrete(torch.tensor([1.5, 0.6])), "falling in 1 … 0"),
        (lambda: Discrete(torch.tensor([0.9, -0.1])), "falling in 1 … 0"),
        (lambda: Discrete(torch.tensor([0.9, float("nan")])), "falling in 1 … 0"),
    ],
)
def test_impossible_terms_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
