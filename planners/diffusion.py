"""The forward diffusion process and what a denoiser is trained to predict: pure functions over tensors.

Axes: B samples, then any. ᾱ (`alphas_cumprod`) is the share of the signal's variance left at each timestep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SCHEDULES = ("cosine", "linear", "scaled_linear")
PREDICTIONS = ("epsilon", "v", "x0")


@dataclass(frozen=True, slots=True)
class DiffusionSettings:
    """Hold what training and sampling must agree on.

    `schedule`: one of `SCHEDULES`. `prediction`: one of `PREDICTIONS`. `zero_terminal_snr`: rescale the schedule so
    that its last timestep is pure noise. `min_snr_gamma`: cap of the signal-to-noise ratio in the loss weights; 0
    weighs all timesteps alike in ε, v or x0. `delta`: the clip diffused is the change from the first frame's latent,
    not the latents. `scale`: what the clip is multiplied by before noise is added, so that its spread comes near one.
    """

    schedule: str = "linear"
    prediction: str = "v"
    zero_terminal_snr: bool = False
    min_snr_gamma: float = 0.0
    delta: bool = True
    timesteps: int = 1000
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"There is no noise schedule {self.schedule!r}; known are {', '.join(SCHEDULES)}.")
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"There is no prediction type {self.prediction!r}; known are {', '.join(PREDICTIONS)}.")
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "With zero_terminal_snr nothing can be read from a predicted ε at the end; predict v or x0."
            )
        if self.timesteps < 2 or self.min_snr_gamma < 0 or not self.scale > 0:
            raise ValueError("Diffusion needs timesteps ≥ 2, min_snr_gamma ≥ 0 and scale > 0.")


def alphas_cumprod(settings: DiffusionSettings) -> Tensor:
    """Return ᾱ, float32 (timesteps,), falling.

    Source: Ho et al. (2020), section 4 (linear); Rombach et al. (2022), released code (scaled_linear: linear in √β);
    Nichol and Dhariwal (2021), equation 17, β at most 0.999 (cosine).
    """
    steps = settings.timesteps
    if settings.schedule == "cosine":
        at = torch.arange(steps + 1, dtype=torch.float64) / steps
        signal = torch.cos((at + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = (1 - signal[1:] / signal[:-1]).clamp(max=0.999)
    elif settings.schedule == "linear":
        scale = 1000 / steps
        betas = torch.linspace(1e-4 * scale, min(2e-2 * scale, 0.999), steps, dtype=torch.float64)
    else:
        scale = 1000 / steps
        ends = math.sqrt(8.5e-4 * scale), math.sqrt(min(1.2e-2 * scale, 0.999))
        betas = torch.linspace(*ends, steps, dtype=torch.float64) ** 2
    bars = torch.cumprod(1 - betas, dim=0)
    if settings.zero_terminal_snr:
        bars = rescale_zero_terminal_snr(bars)
    return bars.float()


def rescale_zero_terminal_snr(bars: Tensor) -> Tensor:
    """Return ᾱ (T,) shifted and stretched so that its last entry is 0 and its first one unchanged.

    Source: Lin et al. (2023), "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
    """
    roots = bars.sqrt()
    first, last = roots[0], roots[-1]
    return ((roots - last) * first / (first - last)) ** 2


def _levels(bars: Tensor, timesteps_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return √ᾱ and √(1 − ᾱ) at each sample's timestep, shaped to multiply `like`."""
    picked = bars.to(like.device)[timesteps_B].reshape(-1, *(1,) * (like.ndim - 1))
    return picked.sqrt(), (1 - picked).sqrt()


def add_noise(x0: Tensor, noise: Tensor, timesteps_B: Tensor, bars: Tensor) -> Tensor:
    """Return x_t = √ᾱ x0 + √(1 − ᾱ) ε, shaped as x0 (B, …). Source: Ho et al. (2020), equation 4."""
    signal, sigma = _levels(bars, timesteps_B, x0)
    return signal * x0 + sigma * noise


def target(x0: Tensor, noise: Tensor, timesteps_B: Tensor, bars: Tensor, prediction: str) -> Tensor:
    """Return what a denoiser of kind `prediction` should answer, shaped as x0 (B, …)."""
    return join(prediction, x0, noise, *_levels(bars, timesteps_B, x0))


def join(prediction: str, x0: Tensor, noise: Tensor, a: float | Tensor, s: float | Tensor) -> Tensor:
    """Return the prediction about x = a x0 + s ε that means x0 and ε: epsilon, x0, v, or flow, which is ε − x0.

    Source: Salimans and Ho (2022), appendix D, for v = a ε − s x0; Esser et al. (2024) for flow.
    """
    if prediction == "epsilon":
        return noise
    if prediction == "x0":
        return x0
    return a * noise - s * x0 if prediction == "v" else noise - x0


def split(
    prediction: str, output: Tensor, noisy: Tensor, a: float | Tensor, s: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return x0 and ε that a prediction about x = a x0 + s ε means: the inverse of `join`.

    Nothing is divided by a or s unless what was predicted leaves no other way: undefined are x0 without noise (s = 0)
    and ε without signal (a = 0). For a flow a = 1 − σ and s = σ, so x0 = x − σ v and ε = x + (1 − σ) v.
    """
    if prediction == "epsilon":
        return (noisy - s * output) / a, output
    if prediction == "x0":
        return output, (noisy - a * output) / s
    if prediction == "v":
        return a * noisy - s * output, s * noisy + a * output
    return noisy - s * output, noisy + a * output


def loss_weights(timesteps_B: Tensor, bars: Tensor, settings: DiffusionSettings) -> Tensor:
    """Return the weight of each sample's squared error in what is predicted, float32 (B,).

    Source: Hang et al. (2023), "Efficient diffusion training via min-SNR weighting", section 3.4: min(SNR, γ) in x0,
    hence over SNR in ε and over SNR + 1 in v. All ones where `min_snr_gamma` is 0.
    """
    if settings.min_snr_gamma == 0:
        return torch.ones(len(timesteps_B), device=timesteps_B.device)
    picked = bars.to(timesteps_B.device)[timesteps_B]
    ratio = picked / (1 - picked).clamp(min=1e-8)
    capped = ratio.clamp(max=settings.min_snr_gamma)
    if settings.prediction == "x0":
        return capped
    # In v at SNR 0 the weight is 0: there x0 is all there is to predict, and γ says it counts for nothing.
    return capped / (ratio if settings.prediction == "epsilon" else ratio + 1)
