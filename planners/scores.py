"""Models whose scores can be composed: what is asked of one, and our own latent video model as one.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from planners.guidance import DenoiserCall, given
from planners.parametrisation import Parametrisation, Predict, asked_in
from planners.text import TextEncoder
from robot.core.errors import CheckpointError

Weight = Callable[[float], float]
"""`weight(log_snr) -> weight` that a model's text score has at a log-SNR of its own schedule."""


def always(log_snr: float) -> float:
    """Return 1, the weight of a model that plans alone, at any log-SNR."""
    return 1.0


@runtime_checkable
class VideoScore(Protocol):
    """A text-to-video diffusion model, or a flow-matching one, that starts from a given first frame.

    One that was trained at a certain pace also has `stride_s`, the seconds between two frames of a clip of latents;
    without it any pace is taken to suit.
    """

    @property
    def identity(self) -> str:
        """Return a short hash of the weights; plans carry it."""
        ...

    @property
    def latent_space(self) -> str:
        """Return the identity of the autoencoder whose latents it imagines."""
        ...

    @property
    def frames(self) -> int | None:
        """Return how many frames a clip must have; None where any number will do."""
        ...

    @property
    def parametrisation(self) -> Parametrisation:
        """Return in which terms it is asked and answers."""
        ...

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the model with the latents of the frames to start from and one text a clip filled in.

        What does not depend on noise or timestep is best computed here, once. The function returned takes noisy clips
        (B, F, C, H, W) in the model's own terms and one timestep for all of them, and returns its prediction, likewise.
        """
        ...


def model_from(general: object) -> VideoScore:
    """Return a model as it is given, or what its maker makes; raise ValueError for anything else."""
    made = general if isinstance(general, VideoScore) or not callable(general) else general()
    if not isinstance(made, VideoScore):
        raise ValueError(
            f"A general model has identity, latent_space, frames, parametrisation and conditioned, which a "
            f"{type(made).__name__} has not: see docs/adaptation.md, A general model of your own."
        )
    return made


def check_composable(one: VideoScore, other: VideoScore) -> None:
    """Raise CheckpointError unless two models imagine clips of one length and pace in one latent space."""
    if one.latent_space != other.latent_space:
        raise CheckpointError(
            f"Scores are composed in one latent space only: model {one.identity} works in that of autoencoder "
            f"{one.latent_space}, model {other.identity} in that of {other.latent_space}; take two of the same."
        )
    if None not in (one.frames, other.frames) and one.frames != other.frames:
        raise CheckpointError(
            f"Scores are composed for clips of one length only: model {one.identity} imagines {one.frames} frames, "
            f"model {other.identity} {other.frames}; take two of the same."
        )
    ours_s, theirs_s = stride_of(one), stride_of(other)
    if ours_s is not None and theirs_s is not None and not math.isclose(ours_s, theirs_s, rel_tol=1e-6):
        raise CheckpointError(
            f"Scores are composed for clips of one pace only: model {one.identity} imagines frames {ours_s:g} s apart, "
            f"model {other.identity} {theirs_s:g} s; take two of the same."
        )


def stride_of(model: VideoScore) -> float | None:
    """Return the seconds between two frames of a model's clips; None where it does not say."""
    stride_s = getattr(model, "stride_s", None)
    return None if stride_s is None else float(stride_s)


@dataclass(frozen=True, slots=True)
class LatentVideoScore:
    """A denoiser of ours with its text encoder. A `VideoScore`; see `LatentVideoPlanner.score`."""

    denoiser: DenoiserCall
    text_encoder: TextEncoder
    parametrisation: Parametrisation
    frames: int
    identity: str
    latent_space: str
    device: torch.device
    bf16: bool = False
    stride_s: float | None = None

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the denoiser with first frames and texts filled in; it computes in the planner's precision."""
        tokens, mask = (each.to(self.device) for each in self.text_encoder.encode(texts))
        predict = given(self.denoiser, first_BCHW, tokens, mask)

        def computed(noisy_BFCHW: Tensor, timestep: float) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                return predict(noisy_BFCHW, timestep)

        return computed


@dataclass(frozen=True, slots=True)
class Retold:
    """Present a model in other terms than its own. A `VideoScore`.

    With it a flow-matching model can be what a sampler of noise-prediction models runs in.
    """

    model: VideoScore
    parametrisation: Parametrisation

    @property
    def identity(self) -> str:
        """Return the model's."""
        return self.model.identity

    @property
    def latent_space(self) -> str:
        """Return the model's."""
        return self.model.latent_space

    @property
    def frames(self) -> int | None:
        """Return the model's."""
        return self.model.frames

    @property
    def stride_s(self) -> float | None:
        """Return the model's."""
        return stride_of(self.model)

    def conditioned(self, first_BCHW: Tensor, texts: Sequence[str]) -> Predict:
        """Return the model, asked and answering in these terms, with first frames and texts filled in."""
        own, terms = self.model, self.parametrisation
        translated = asked_in(own.conditioned(first_BCHW, texts), own.parametrisation, terms, first_BCHW)
        return lambda noisy_BFCHW, timestep: translated(noisy_BFCHW, terms.schedule.log_snr(timestep))
