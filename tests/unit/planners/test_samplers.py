"""Laws of sampling: a perfect denoiser is followed home, and noise belongs to a plan and not to its batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from planners.diffusion import PREDICTIONS, DiffusionSettings, alphas_cumprod, target, to_epsilon
from planners.samplers import SAMPLERS, build_scheduler, draw_noise, plan_generators, sample
from robot.core.data import SamplerSettings

SHAPE = (2, 3, 4, 4, 4)


def perfect(x0: Tensor, diffusion: DiffusionSettings) -> Callable[[Tensor, int], Tensor]:
    """Return a denoiser that knows the clean sample and answers as its prediction type asks."""
    bars = alphas_cumprod(diffusion).clamp(min=2.0**-24)

    def denoise(noisy: Tensor, timestep: int) -> Tensor:
        at = torch.full((len(noisy),), timestep)
        epsilon = to_epsilon(x0, noisy, at, bars, "x0")
        return target(x0, epsilon, at, bars, diffusion.prediction)

    return denoise


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_a_perfect_denoiser_is_followed_to_the_clean_sample(sampler: str, prediction: str, steps: int) -> None:
    schedule = "linear" if prediction == "epsilon" else "cosine"
    diffusion = DiffusionSettings(schedule=schedule, prediction=prediction)
    x0 = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    steps = max(steps, 2) if sampler == "ddim-linspace" else steps
    scheduler = build_scheduler(diffusion, SamplerSettings(sampler=sampler, steps=steps))
    found = sample(perfect(x0, diffusion), SHAPE, scheduler, plan_generators([1, 2]))
    assert torch.allclose(found, x0, atol=2e-2)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_a_zero_snr_schedule_can_be_sampled(sampler: str) -> None:
    diffusion = DiffusionSettings(schedule="scaled_linear", zero_terminal_snr=True)
    x0 = torch.randn(SHAPE)
    scheduler = build_scheduler(diffusion, SamplerSettings(sampler=sampler, steps=8))
    found = sample(perfect(x0, diffusion), SHAPE, scheduler, plan_generators([1, 2]))
    assert torch.allclose(found, x0, atol=2e-2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_schedule_is_ours_and_starts_at_the_noisiest_timestep(sampler: str) -> None:
    diffusion = DiffusionSettings()
    scheduler = build_scheduler(diffusion, SamplerSettings(sampler=sampler, steps=4))
    assert int(scheduler.timesteps[0]) == 999
    assert len(scheduler.timesteps) == 4
    assert torch.allclose(scheduler.alphas_cumprod, alphas_cumprod(diffusion), atol=1e-6)


def test_timesteps_from_first_to_last_need_two() -> None:
    with pytest.raises(ValueError, match="ddim-linspace takes at least 2 steps"):
        build_scheduler(DiffusionSettings(), SamplerSettings(sampler="ddim-linspace", steps=1))
    scheduler = build_scheduler(DiffusionSettings(), SamplerSettings(sampler="ddim-linspace", steps=2))
    assert scheduler.timesteps.tolist() == [999, 0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_belongs_to_the_seed_and_not_to_the_place(sampler: str) -> None:
    diffusion = DiffusionSettings()

    def run(seeds: list[int]) -> Tensor:
        scheduler = build_scheduler(diffusion, SamplerSettings(sampler=sampler, steps=4))
        return sample(lambda noisy, timestep: noisy * 0.3, (len(seeds), *SHAPE[1:]), scheduler, plan_generators(seeds))

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
        build_scheduler(DiffusionSettings(), settings)


def test_one_generator_a_sample_is_asked_for() -> None:
    scheduler = build_scheduler(DiffusionSettings(), SamplerSettings())
    with pytest.raises(ValueError, match="as many generators"):
        sample(lambda noisy, timestep: noisy, SHAPE, scheduler, plan_generators([1]))
