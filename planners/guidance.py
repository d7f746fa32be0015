"""Classifier-free guidance as a pure function over one denoiser.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns, L tokens, D token-state channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from planners.samplers import Denoise

DenoiserCall = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""`(latents_BFCHW, timesteps_B, first_BCHW, tokens_BLD, mask_BL) -> prediction_BFCHW`."""

EVERYWHERE = (0, 1 << 30)


def guided(
    denoiser: DenoiserCall,
    first_BCHW: Tensor,
    tokens_BLD: Tensor,
    mask_BL: Tensor,
    negative_tokens_BLD: Tensor,
    negative_mask_BL: Tensor,
    scales: Sequence[float],
    interval: tuple[int, int] = EVERYWHERE,
) -> Denoise:
    """Return `denoise(latents_BFCHW, timestep)` with clip i guided by `scales[i]` away from its negative text.

    The prediction is n + s (c − n) for conditional c, negative n and scale s. Clips with a scale of 1 skip the negative
    half, and so do all of them at timesteps outside `interval` (low, high, both included).
    Source: Ho and Salimans (2022), equation 6, with w = s − 1; Kynkäänniemi et al. (2024), equation 5 (interval).
    Raises ValueError when there is not one scale a clip.
    """
    if len(scales) != len(first_BCHW):
        raise ValueError(f"{len(first_BCHW)} clips need as many guidance scales, got {len(scales)}.")
    count = len(scales)
    device = first_BCHW.device
    active = torch.tensor([i for i, scale in enumerate(scales) if scale != 1.0], dtype=torch.long, device=device)
    scale_A = torch.tensor([scale for scale in scales if scale != 1.0], device=device).reshape(-1, 1, 1, 1, 1)
    first_both = torch.cat([first_BCHW, first_BCHW[active]])
    tokens_both = torch.cat([tokens_BLD, negative_tokens_BLD[active]])
    mask_both = torch.cat([mask_BL, negative_mask_BL[active]])
    low, high = interval

    def denoise(latents_BFCHW: Tensor, timestep: int) -> Tensor:
        if len(active) == 0 or not low <= timestep <= high:
            at = torch.full((count,), timestep, device=device)
            return denoiser(latents_BFCHW, at, first_BCHW, tokens_BLD, mask_BL)
        at = torch.full((count + len(active),), timestep, device=device)
        both = torch.cat([latents_BFCHW, latents_BFCHW[active]])
        prediction = denoiser(both, at, first_both, tokens_both, mask_both).float()
        conditional, negative = prediction[:count], prediction[count:]
        return conditional.index_copy(0, active, negative + scale_A * (conditional[active] - negative))

    return denoise
