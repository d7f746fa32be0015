"""The models that plans are drawn from, and the one convention in which samplers and composition ask them.

A model brings its own terms: a `VideoScore` has a `Parametrisation` and is asked at its own timesteps. It is wrapped
once, in a `ClipDenoiser`, and from there on all that is known of it is

    denoise(noisy, λ, clips, texts) -> prediction,

about x = a x0 + s ε of log-SNR λ, in the terms of whatever is sampled from: `terms`, one for all models of a sampling.

Why not k-diffusion's D(x, σ) with x = z + σ ε, which has no terms at all? A schedule may end in pure noise, where σ is
infinite and x without bound, and λ and x here are neither. The samplers of diffusers take predictions as they come; to
turn them into denoised latents and back magnifies rounding by 1 / a or 1 / s. And a model that is asked in its own
terms is passed through untouched, so that what is sampled from one model alone is what it says, bit for bit. In other
terms it is shown the same z + σ ε, and what it answers is split into x0 and ε, which is the same ε for both.

Axes: B clips, N pairs of a clip and a text, F frames, C latent channels, H and W latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from planners.parametrisation import Parametrisation
from robot.core.errors import CheckpointError

Predict = Callable[[Tensor, float], Tensor]
"""`predict(noisy_BFCHW, timestep) -> prediction_BFCHW`: a model in its own terms, frames and texts already given."""


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


class ClipDenoiser:
    """Wrap a model for one batch of clips: `denoise(noisy_BFCHW, log_snr, clips, texts) -> prediction_NFCHW`.

    `first_BCHW`: latents of the first frames. `terms`: in which it is to be asked and to answer; its own by default.
    In other terms its timestep is that of the same noise on the latents: between two of its timesteps where its clock
    takes fractions, else the nearest. Where its schedule does not reach so far, its first or last timestep stands in,
    and the clip it is shown is still scaled for the noise that is really there.
    """

    def __init__(self, model: VideoScore, first_BCHW: Tensor, terms: Parametrisation | None = None) -> None:
        self.first, self.terms = first_BCHW, terms or model.parametrisation
        self._model, self._own = model, model.parametrisation
        self._given: dict[tuple[tuple[int, ...], tuple[str, ...]], tuple[Tensor, Predict]] = {}

    def knows(self, log_snr: float) -> bool:
        """Return whether the model can be asked at λ: see `Parametrisation.knows`."""
        return self._own.knows(self.terms.log_snr_in(log_snr, self._own))

    def __call__(self, noisy_BFCHW: Tensor, log_snr: float, clips: Sequence[int], texts: Sequence[str]) -> Tensor:
        """Return the predictions, float32 (N, F, C, H, W), about clip `clips[i]` of the batch with `texts[i]`."""
        asked = tuple(clips), tuple(texts)
        if asked not in self._given:
            first = self.first[list(clips)]
            self._given[asked] = first, self._model.conditioned(first, texts)
        first, predict = self._given[asked]
        noisy, terms, own = noisy_BFCHW[list(clips)], self.terms, self._own
        if own == terms:
            return predict(noisy, own.schedule.timestep(log_snr)).float()
        own_log_snr = terms.log_snr_in(log_snr, own)
        a, own_a = terms.schedule.factors(log_snr)[0], own.schedule.factors(own_log_snr)[0]
        apart = (float(terms.delta) - float(own.delta)) * first[:, None]  # how the two differ in what they diffuse
        shown = noisy * (own_a / a * own.scale / terms.scale) + own_a * own.scale * apart
        output = predict(shown, own.schedule.timestep(own_log_snr)).to(noisy.dtype)
        x0, epsilon = own.split(output, shown, own_log_snr)
        return terms.join(x0 * (terms.scale / own.scale) - terms.scale * apart, epsilon, log_snr).float()


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


@runtime_checkable
class Paced(Protocol):
    """What a model has beside that says how far the frames of its clips lie apart, in s."""

    stride_s: float


def stride_of(model: VideoScore) -> float | None:
    """Return the seconds between two frames of a model's clips; None where it does not say."""
    return float(model.stride_s) if isinstance(model, Paced) else None
