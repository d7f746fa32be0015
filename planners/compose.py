"""Compose the scores of two text-to-video models: pure functions over what the models predict.

With a base model b, another one o, the empty (or a negative) text ∅, guidance scale α and prior strength γ

    ε = ε_b(∅) + α [ε_b(text) + γ ε_o(text) − ε_b(∅)].

Probabilistic adaptation has the small in-domain model for b and the general one for o; inverse probabilistic adaptation
the other way round. Source: Yang et al. (2023), "Probabilistic adaptation of text-to-video models"; Luo et al. (2025),
"Solving new tasks by adapting internet video knowledge", for the inverse. Deviations: γ may depend on the noise level,
and `normalisation` may divide by what the weights sum to (see `text_weights`).

The sampler runs in the base model's terms and never learns that it samples from two models. See
`planners.parametrisation` for how the other model is asked.

Divided by what the text weights sum to (`normalisation="text"`), that is guidance of the base model alone, and besides
α γ / (1 + γ) times ε_o(text) − ε_b(text): all that the two differ in, not only what the text says. Where that is not
wanted, `normalisation="guided"` guides each away from its own ∅, of which a negative text replaces the base model's,

    ε = (ε̂_b + γ ε̂_o) / (1 + γ),        ε̂ = ε(∅) + α [ε(text) − ε(∅)],

the score of a product of the two guided models, each to the power of its weight.

Axes: B clips, A of them that are guided, F frames, C latent channels, H and W latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from planners.guidance import EVERYWHERE, Guidance, guided_clips
from planners.parametrisation import Translated, asked_in
from planners.samplers import Denoise
from planners.scores import VideoScore, check_composable

SHAPES = ("constant", "linear", "interval")
NORMALISATIONS = ("none", "text", "guided")


@dataclass(frozen=True, slots=True)
class PriorStrength:
    """Say how much the other model counts, γ, at each noise level of the base model.

    `shape`: `constant`, γ = `strength` everywhere; `linear`, γ falls on a straight line in log-SNR from `strength` at
    `between[0]` to 0 at `between[1]` and stays so beyond them, so that (−4, 4) lets the other model shape what is
    decided early, out of noise, and (4, −4) what is drawn late; `interval`, γ = `strength` where the log-SNR lies
    between the two, ends included, and 0 elsewhere. Log-SNR is log(ᾱ / (1 − ᾱ)) of the base model's schedule.
    """

    strength: float = 0.1
    shape: str = "constant"
    between: tuple[float, float] = (-4.0, 4.0)

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"There is no strength schedule {self.shape!r}; known are {', '.join(SHAPES)}.")
        if not 0 <= self.strength < float("inf"):
            raise ValueError(f"A prior strength is a number from 0 up, got {self.strength}.")
        if len(self.between) != 2 or self.between[0] == self.between[1] or any(map(math.isnan, self.between)):
            raise ValueError(f"A strength schedule runs between two different log-SNRs, got {self.between}.")
        if self.shape == "linear" and not all(map(math.isfinite, self.between)):
            raise ValueError(f"A strength falls on a straight line between two finite log-SNRs, got {self.between}.")

    def at(self, log_snr: float) -> float:
        """Return γ at a log-SNR."""
        start, end = self.between
        if self.shape == "linear":
            return self.strength * min(1.0, max(0.0, (end - log_snr) / (end - start)))
        if self.shape == "interval" and not min(start, end) <= log_snr <= max(start, end):
            return 0.0
        return self.strength


def text_weights(strength: float, normalisation: str) -> tuple[float, float]:
    """Return the weights of the base model's and the other's prediction for the text, before guidance.

    `none`, as in the papers: 1 and γ. All weights then sum to 1 + αγ where a prediction of ε has a sum of 1, as if
    there were that much more noise than there is; from a schedule that begins at near-pure noise that leads astray.
    `text` and `guided`: both divided by 1 + γ, so that all weights sum to 1, and composing a model with itself changes
    nothing.
    """
    whole = 1.0 if normalisation == "none" else 1.0 + strength
    return 1.0 / whole, strength / whole


def composed(
    base: VideoScore,
    other: VideoScore,
    first_BCHW: Tensor,
    texts: Sequence[str],
    negatives: Sequence[str],
    scales: Sequence[float],
    strength: PriorStrength,
    normalisation: str = "none",
    interval: tuple[int, int] = EVERYWHERE,
) -> Denoise:
    """Return `denoise(noisy_BFCHW, timestep)` in the base model's terms, with clip i guided by `scales[i]`.

    `first_BCHW`: latents of the first frames; `negatives`: one a clip, in place of ∅. Outside `interval`, timesteps
    (low, high, both included), every scale is 1. Asked is only what counts: the negative text for clips with a scale
    other than 1; the other model where γ is above 0, for clips with a scale other than 0 (`guided`: as the base model
    is) and, if it predicts ε, not beyond the noise it knows (`Parametrisation.knows`). Where nothing of it is asked,
    what comes out is the base model's own guidance, bit for bit. Predictions are combined as ε; where the weights sum
    to one that is the same as combining them as they come. Raises ValueError for lengths that differ and an unknown
    normalisation, CheckpointError for models that differ in latent space, frames or stride.
    """
    _check_counts(first_BCHW, texts, negatives, scales)
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"There is no normalisation {normalisation!r}; known are {', '.join(NORMALISATIONS)}.")
    check_composable(base, other)
    ours, theirs = base.parametrisation, other.parametrisation
    guidance = guidance_of(base, first_BCHW, texts, negatives, scales, interval)
    alpha_B = torch.tensor(scales, device=first_BCHW.device).reshape(-1, 1, 1, 1, 1)
    every, active = list(range(len(scales))), guided_clips(scales)
    heard = [index for index in every if scales[index] != 0.0]
    asked: dict[int, tuple[Tensor, Translated]] = {}  # by how many clips the other model is asked about

    def denoise(noisy_BFCHW: Tensor, timestep: int) -> Tensor:
        conditional, negative = guidance.halves(noisy_BFCHW, timestep)
        log_snr = ours.schedule.log_snr(timestep)
        gamma = strength.at(log_snr) if theirs.knows(ours.log_snr_in(log_snr, theirs)) else 0.0
        apart = normalisation == "guided" and negative is not None
        chosen = heard if negative is not None and not apart else every
        if gamma == 0.0 or not chosen:
            return guidance.blend(conditional, negative)
        own, prior = text_weights(gamma, normalisation)
        words = [texts[index] for index in chosen]
        if apart:
            chosen, words = [*chosen, *active], [*words, *[""] * len(active)]
        if len(chosen) not in asked:
            asked[len(chosen)] = _asked_about(chosen, words, other, base, first_BCHW)
        rows, second = asked[len(chosen)]
        answer = second(noisy_BFCHW[rows], log_snr).float()
        if apart:
            count = len(scales)
            return own * guidance.blend(conditional, negative) + prior * guidance.blend(answer[:count], answer[count:])
        conditional = conditional.float()
        mixed = own * conditional[rows] + prior * answer
        blended = guidance.blend(conditional.index_copy(0, rows, mixed), negative)
        if normalisation == "none":
            weight_B = 1.0 + gamma * (alpha_B if negative is not None else torch.ones_like(alpha_B))
            blended = blended + ours.excess(noisy_BFCHW, log_snr, weight_B)
        return blended

    return denoise


def alone(
    model: VideoScore,
    first_BCHW: Tensor,
    texts: Sequence[str],
    negatives: Sequence[str],
    scales: Sequence[float],
    interval: tuple[int, int] = EVERYWHERE,
) -> Denoise:
    """Return `denoise(noisy_BFCHW, timestep)` of one model with guidance; arguments and errors as for `composed`."""
    _check_counts(first_BCHW, texts, negatives, scales)
    guidance = guidance_of(model, first_BCHW, texts, negatives, scales, interval)

    def denoise(noisy_BFCHW: Tensor, timestep: int) -> Tensor:
        return guidance.blend(*guidance.halves(noisy_BFCHW, timestep))

    return denoise


def guidance_of(
    model: VideoScore,
    first_BCHW: Tensor,
    texts: Sequence[str],
    negatives: Sequence[str],
    scales: Sequence[float],
    interval: tuple[int, int] = EVERYWHERE,
) -> Guidance:
    """Return the guidance of one model; arguments as for `composed`."""
    active = guided_clips(scales)
    both = model.conditioned(
        torch.cat([first_BCHW, first_BCHW[active]]), [*texts, *(negatives[index] for index in active)]
    )
    return Guidance(both, model.conditioned(first_BCHW, texts), scales, interval, first_BCHW.device)


def _check_counts(first_BCHW: Tensor, texts: Sequence[str], negatives: Sequence[str], scales: Sequence[float]) -> None:
    if not len(first_BCHW) == len(texts) == len(negatives) == len(scales):
        raise ValueError(
            f"{len(first_BCHW)} clips need as many texts, negative texts and guidance scales, got {len(texts)}, "
            f"{len(negatives)} and {len(scales)}."
        )


def _asked_about(
    chosen: Sequence[int], words: Sequence[str], other: VideoScore, base: VideoScore, first_BCHW: Tensor
) -> tuple[Tensor, Translated]:
    """Return the rows chosen, int64, and the other model asked about them in these words, in the base model's terms."""
    rows = torch.tensor(chosen, dtype=torch.long, device=first_BCHW.device)
    first = first_BCHW[rows]
    predict = other.conditioned(first, words)
    return rows, asked_in(predict, other.parametrisation, base.parametrisation, first)
