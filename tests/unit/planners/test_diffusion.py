"""Laws of the forward process and of what denoisers predict."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from planners.diffusion import (
    PREDICTIONS,
    SCHEDULES,
    DiffusionSettings,
    add_noise,
    alphas_cumprod,
    join,
    loss_weights,
    rescale_zero_terminal_snr,
    split,
    target,
)
from planners.parametrisation import Parametrisation


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zero", [False, True])
def test_signal_falls_from_nearly_one(schedule: str, zero: bool) -> None:
    bars = alphas_cumprod(DiffusionSettings(schedule=schedule, zero_terminal_snr=zero))
    assert bars.shape == (1000,)
    assert bars[0] > 0.99
    assert torch.all(bars[1:] < bars[:-1])
    assert (bars[-1] == 0) == zero


def test_rescaling_keeps_the_first_entry_and_zeroes_the_last() -> None:
    bars = alphas_cumprod(DiffusionSettings(schedule="linear")).double()
    rescaled = rescale_zero_terminal_snr(bars)
    assert rescaled[-1] == 0
    assert rescaled[0] == pytest.approx(float(bars[0]), abs=1e-12)


def test_linear_schedule_is_the_published_one() -> None:
    bars = alphas_cumprod(DiffusionSettings(schedule="linear"))
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert torch.allclose(bars, torch.cumprod(1 - betas, 0).float())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), prediction=st.sampled_from(PREDICTIONS), schedule=st.sampled_from(SCHEDULES))
def test_clean_sample_and_noise_are_read_back_from_the_target(seed: int, prediction: str, schedule: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    bars = alphas_cumprod(DiffusionSettings(schedule=schedule)).double()
    x0, noise = (torch.randn(3, 2, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    timesteps = torch.randint(1, 990, (3,), generator=generator)
    noisy = add_noise(x0, noise, timesteps, bars)
    output = target(x0, noise, timesteps, bars, prediction)
    signal, sigma = bars[timesteps].sqrt()[:, None, None], (1 - bars[timesteps]).sqrt()[:, None, None]
    for found, meant in zip(split(prediction, output, noisy, signal, sigma), (x0, noise), strict=True):
        assert torch.allclose(found, meant, atol=1e-8)


def test_at_zero_snr_nothing_of_the_sample_is_left() -> None:
    bars = alphas_cumprod(DiffusionSettings(zero_terminal_snr=True))
    x0, noise = torch.randn(2, 5), torch.randn(2, 5)
    end = torch.tensor([999, 999])
    assert torch.equal(add_noise(x0, noise, end, bars), noise)
    assert torch.equal(target(x0, noise, end, bars, "v"), -x0)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_mean_the_same_in_every_prediction(gamma: float) -> None:
    """An error in x0 of a given size must count the same whatever is predicted."""
    timesteps = torch.tensor([50, 400, 800])
    bars = alphas_cumprod(DiffusionSettings()).double()
    x0, noise, wrong = (torch.randn(3, 6, dtype=torch.float64) for _ in range(3))
    noisy = add_noise(x0, noise, timesteps, bars)
    levels = bars[timesteps].sqrt()[:, None], (1 - bars[timesteps]).sqrt()[:, None]
    costs = []
    for prediction in PREDICTIONS:
        weights = loss_weights(timesteps, bars, DiffusionSettings(prediction=prediction, min_snr_gamma=gamma))
        answer = join(prediction, *split("x0", wrong, noisy, *levels), *levels)
        error = (answer - target(x0, noise, timesteps, bars, prediction)).square().mean(1)
        costs.append(error * weights)
    assert torch.allclose(costs[0], costs[1])
    assert torch.allclose(costs[0], costs[2])


def test_min_snr_caps_the_weight_of_clean_samples() -> None:
    bars = alphas_cumprod(DiffusionSettings())
    weights = loss_weights(torch.tensor([0, 500]), bars, DiffusionSettings(prediction="x0", min_snr_gamma=5.0))
    assert weights[0] == 5.0
    assert weights[1] == pytest.approx(float(bars[500] / (1 - bars[500])))
    assert torch.equal(loss_weights(torch.tensor([0, 500]), bars, DiffusionSettings()), torch.ones(2))


@pytest.mark.parametrize("delta", [False, True])
def test_clip_and_latents_are_inverse(delta: bool) -> None:
    terms = Parametrisation.of(DiffusionSettings(delta=delta, scale=2.5))
    latents, first = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 4, 5, 5)
    clip = terms.clip(latents, first)
    assert torch.allclose(terms.latents(clip, first), latents, atol=1e-6)
    still = terms.clip(first[:, None].expand(2, 3, 4, 5, 5), first)
    assert bool((still == 0).all()) == delta


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "square"}, "no noise schedule 'square'"),
        ({"prediction": "score"}, "no prediction type 'score'"),
        ({"prediction": "epsilon", "zero_terminal_snr": True}, "predict v or x0"),
        ({"scale": 0.0}, "scale > 0"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusionSettings(**arguments)  # type: ignore[arg-type]
