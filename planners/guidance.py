"""Classifier-free guidance of one model.

Axes: B clips, A of them that are guided, F frames, C latent channels, H and W latent rows and columns, L tokens, D
token-state channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from planners.parametrisation import Predict

DenoiserCall = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""`(latents_BFCHW, timesteps_B, first_BCHW, tokens_BLD, mask_BL) -> prediction_BFCHW`."""

EVERYWHERE = (0, 1 << 30)


def guided_clips(scales: Sequence[float]) -> list[int]:
    """Return which clips are guided at all: those whose scale is not 1."""
    return [index for index, scale in enumerate(scales) if scale != 1.0]


class Guidance:
    """Ask one model about texts and, for the clips that are guided, about negative texts, in one batch.

    The prediction is n + s (c − n) for conditional c, negative n and scale s. Clips with a scale of 1 skip the negative
    half. Source: Ho and Salimans (2022), equation 6, with w = s − 1; Kynkäänniemi et al. (2024), equation 5 (interval).

    `predict_both` knows the rows of all clips and after them those of the guided ones with their negative texts;
    `predict_texts` knows the rows of all clips alone. `interval` (low, high, both included): timesteps at which there
    is guidance; elsewhere every scale is 1.
    """

    def __init__(
        self,
        predict_both: Predict,
        predict_texts: Predict,
        scales: Sequence[float],
        interval: tuple[int, int],
        device: torch.device,
    ) -> None:
        self._predict_both = predict_both
        self._predict_texts = predict_texts
        self._count = len(scales)
        chosen = guided_clips(scales)
        self.active_A = torch.tensor(chosen, dtype=torch.long, device=device)
        self.scale_A = torch.tensor([scales[i] for i in chosen], device=device).reshape(-1, 1, 1, 1, 1)
        self._interval = interval

    def halves(self, latents_BFCHW: Tensor, timestep: int) -> tuple[Tensor, Tensor | None]:
        """Return the predictions for the texts (B, F, C, H, W) and for the negative texts (A, …), None without any."""
        low, high = self._interval
        if len(self.active_A) == 0 or not low <= timestep <= high:
            return self._predict_texts(latents_BFCHW, timestep), None
        both = torch.cat([latents_BFCHW, latents_BFCHW[self.active_A]])
        prediction = self._predict_both(both, timestep).float()
        return prediction[: self._count], prediction[self._count :]

    def blend(self, conditional_BFCHW: Tensor, negative_AFCHW: Tensor | None) -> Tensor:
        """Return n + s (c − n) for the guided clips and c for the others, (B, F, C, H, W)."""
        if negative_AFCHW is None:
            return conditional_BFCHW
        away = conditional_BFCHW[self.active_A] - negative_AFCHW
        return conditional_BFCHW.index_copy(0, self.active_A, negative_AFCHW + self.scale_A * away)


def given(denoiser: DenoiserCall, first_BCHW: Tensor, tokens_BLD: Tensor, mask_BL: Tensor) -> Predict:
    """Return a denoiser with its first frames and texts filled in; all clips of a call share the timestep.

    A timestep that is a whole number is given as int64, another one, between two of them, as float32.
    """

    def predict(latents_BFCHW: Tensor, timestep: float) -> Tensor:
        count, device = len(latents_BFCHW), latents_BFCHW.device
        clock = int(timestep) if float(timestep).is_integer() else float(timestep)
        return denoiser(latents_BFCHW, torch.full((count,), clock, device=device), first_BCHW, tokens_BLD, mask_BL)

    return predict
