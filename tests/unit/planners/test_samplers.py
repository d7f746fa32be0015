"""Laws of sampling: a perfect denoiser is followed home, and noise belongs to a plan and not to its batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from planners.compose import Denoise
from planners.diffusion import PREDICTIONS, DiffusionSettings, alphas_cumprod, join, split
from planners.parametrisation import Flow, Parametrisation
from planners.samplers import SAMPLERS, build_scheduler, draw_noise, plan_generators, sample
from robot.core.data import SamplerSettings

SHAPE = (2, 3, 4, 4, 4)
TERMS = Parametrisation.of(DiffusionSettings())


def perfect(x0: Tensor, terms: Parametrisation) -> Denoise:
    """Return a denoiser that knows the clean sample and answers as its prediction type asks."""

    def denoise(noisy: Tensor, log_snr: float) -> Tensor:
        signal, sigma = terms.schedule.factors(log_snr)
        signal = max(signal, 2.0**-12)
        return join(terms.prediction, *split("x0", x0, noisy, signal, sigma), signal, sigma)

    return denoise


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_a_perfect_denoiser_is_followed_to_the_clean_sample(sampler: str, prediction: str, steps: int) -> None:
    schedule = "linear" if prediction == "epsilon" else "cosine"
    diffusion = DiffusionSettings(schedule=schedule, prediction=prediction)
    x0 = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    steps = max(steps, 2) if sampler == "ddim-linspace" else steps
    terms = Parametrisation.of(diffusion)
    found = sample(perfect(x0, terms), terms, SHAPE, [1, 2], SamplerSettings(sampler=sampler, steps=steps))
    assert torch.allclose(found, x0, atol=2e-2)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_a_zero_snr_schedule_can_be_sampled(sampler: str) -> None:
    terms = Parametrisation.of(DiffusionSettings(schedule="scaled_linear", zero_terminal_snr=True))
    x0 = torch.randn(SHAPE)
    found = sample(perfect(x0, terms), terms, SHAPE, [1, 2], SamplerSettings(sampler=sampler, steps=8))
    assert torch.allclose(found, x0, atol=2e-2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_schedule_is_ours_and_starts_at_the_noisiest_timestep(sampler: str) -> None:
    diffusion = DiffusionSettings()
    scheduler = build_scheduler(Parametrisation.of(diffusion), SamplerSettings(sampler=sampler, steps=4))
    assert int(scheduler.timesteps[0]) == 999
    assert len(scheduler.timesteps) == 4
    assert torch.allclose(scheduler.alphas_cumprod, alphas_cumprod(diffusion), atol=1e-6)


def test_timesteps_from_first_to_last_need_two() -> None:
    with pytest.raises(ValueError, match="ddim-linspace takes at least 2 steps"):
        build_scheduler(TERMS, SamplerSettings(sampler="ddim-linspace", steps=1))
    scheduler = build_scheduler(TERMS, SamplerSettings(sampler="ddim-linspace", steps=2))
    assert scheduler.timesteps.tolist() == [999, 0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_belongs_to_the_seed_and_not_to_the_place(sampler: str) -> None:
    settings = SamplerSettings(sampler=sampler, steps=4)

    def run(seeds: list[int]) -> Tensor:
        return sample(lambda noisy, log_snr: noisy * 0.3, TERMS, (len(seeds), *SHAPE[1:]), seeds, settings)

    together = run([5, 6, 7])
    assert torch.equal(together[2], run([7])[0])
    assert torch.equal(together, run([5, 6, 7]))
    assert not torch.allclose(together[0], together[1])


def test_noise_is_standard_normal() -> None:
    noise = draw_noise((4, 64, 64), plan_generators([0, 1, 2, 3]), torch.device("cpu"))
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03


@pytest.mark.parametrize("settings", [SamplerSettings(sampler="euler"), SamplerSettings(steps=0)])
def test_impossible_settings_are_refused(settings: SamplerSettings) -> None:
    with pytest.raises(ValueError, match=r"sampler"):
        build_scheduler(TERMS, settings)


def test_a_flow_is_not_sampled_in_its_own_terms() -> None:
    with pytest.raises(ValueError, match="in the terms of a model of noise"):
        build_scheduler(Parametrisation("flow", Flow()), SamplerSettings())


def test_one_seed_a_sample_is_asked_for() -> None:
    with pytest.raises(ValueError, match="2 samples need as many seeds, got 1"):
        sample(lambda noisy, log_snr: noisy, TERMS, SHAPE, [1], SamplerSettings())
