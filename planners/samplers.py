"""Draw clips from noise with the samplers of diffusers. A sampler knows neither models nor texts.

Axes: B samples, then any.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler
from torch import Tensor

from planners.compose import Denoise
from planners.parametrisation import Parametrisation
from robot.core.data import SamplerSettings

SAMPLERS = ("ddim", "ddim-linspace", "dpm++", "lcm")

_PREDICTION_NAMES = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}
_LEAST_SIGNAL = 2.0**-24  # ᾱ at the end of a zero-SNR schedule, so that solvers that divide by it can start there


def build_scheduler(terms: Parametrisation, settings: SamplerSettings) -> Any:
    """Return a fresh diffusers scheduler, its steps set, that starts from the noisiest timestep.

    `terms`: of what is sampled from; a flow is sampled in those of another, of noise at whole timesteps. Spacing is
    "trailing", so that few steps still begin where training saw pure noise. Source: Lin et al. (2023), section 3.3.
    `ddim-linspace` alone spreads its timesteps from the first to the last, as AnimateDiff's pipelines do. Samplers:
    DDIM, Song et al. (2021); DPM-Solver++ of order 2, Lu et al. (2022); LCM, Luo et al. (2023), which only gives good
    plans with a denoiser distilled for it. Raises ValueError for an unknown sampler or a step count outside 1 …
    training timesteps.
    """
    bars, timesteps = terms.bars, len(terms.bars)
    if not 1 <= settings.steps <= timesteps:
        raise ValueError(f"A sampler takes 1–{timesteps} steps, not {settings.steps}.")
    if settings.sampler == "ddim-linspace" and settings.steps < 2:
        raise ValueError("The sampler ddim-linspace takes at least 2 steps: a single one would begin where noise ends.")
    bars = bars.double().clamp(min=_LEAST_SIGNAL)
    before = torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    shared: dict[str, Any] = {
        "num_train_timesteps": timesteps,
        "trained_betas": (1 - bars / before).tolist(),
        "prediction_type": _PREDICTION_NAMES[terms.prediction],
    }
    if settings.sampler in ("ddim", "ddim-linspace"):
        spacing = "linspace" if settings.sampler == "ddim-linspace" else "trailing"
        scheduler: Any = DDIMScheduler(**shared, timestep_spacing=spacing, clip_sample=False)
    elif settings.sampler == "dpm++":
        scheduler = DPMSolverMultistepScheduler(
            **shared, timestep_spacing="trailing", algorithm_type="dpmsolver++", final_sigmas_type="zero"
        )
    elif settings.sampler == "lcm":
        # LCM takes its steps from a longer schedule, which has to be at least as long.
        original = min(timesteps, max(50, settings.steps))
        scheduler = LCMScheduler(**shared, original_inference_steps=original)
    else:
        raise ValueError(f"There is no sampler {settings.sampler!r}; known are {', '.join(SAMPLERS)}.")
    with warnings.catch_warnings():
        # diffusers 0.42 makes NumPy arrays from tensors in a way that NumPy 2 will one day refuse
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler.set_timesteps(settings.steps)
    return scheduler


def plan_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return one generator a seed, on the CPU, so that the same seed gives the same noise on any device."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def draw_noise(shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Return standard normal noise of `shape` (B, …), float32, sample i from generator i alone."""
    return torch.stack([torch.randn(tuple(shape[1:]), generator=each) for each in generators]).to(device)


def sample(
    denoise: Denoise,
    terms: Parametrisation,
    shape: Sequence[int],
    seeds: Sequence[int],
    settings: SamplerSettings,
    device: torch.device | None = None,
) -> Tensor:
    """Return clips of `shape` (B, …), float32, as they are diffused, from pure noise, sample i from `seeds[i]` alone.

    `denoise` answers in `terms`. Noise that a sampler adds on its way (LCM) comes from each sample's own seed as well.
    Raises ValueError when there is not one seed a sample, and what `build_scheduler` raises.
    """
    if len(seeds) != shape[0]:
        raise ValueError(f"{shape[0]} samples need as many seeds, got {len(seeds)}.")
    scheduler, generators = build_scheduler(terms, settings), plan_generators(seeds)
    noisy = draw_noise(shape, generators, device or torch.device("cpu")) * scheduler.init_noise_sigma
    extra = {"generator": generators} if isinstance(scheduler, LCMScheduler) else {}
    for timestep in scheduler.timesteps:
        prediction = denoise(noisy, terms.schedule.log_snr(int(timestep))).float()
        noisy = scheduler.step(prediction, timestep, noisy, return_dict=False, **extra)[0]
    return noisy
