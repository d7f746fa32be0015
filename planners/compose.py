"""Guide one text-to-video model, or compose the scores of two: one pure function over what the models predict.

With a base model b, another one o, the empty (or a negative) text ∅, guidance scale α and prior strength γ

    ε = ε_b(∅) + α [ε_b(text) + γ ε_o(text) − ε_b(∅)].

Probabilistic adaptation has the small in-domain model for b and the general one for o; inverse probabilistic adaptation
the other way round. Source: Yang et al. (2023), "Probabilistic adaptation of text-to-video models"; Luo et al. (2025),
"Solving new tasks by adapting internet video knowledge", for the inverse. Deviations: γ may depend on the noise level,
and `normalisation` may divide by what the weights sum to (see `text_weights`).

The sampler never learns that it samples from two models: see `planners.scores` for how both are asked alike.
Guidance: Ho and Salimans (2022), equation 6, with w = s − 1; Kynkäänniemi et al. (2024), equation 5 (interval).

Divided by what the text weights sum to (`normalisation="text"`), that is guidance of the base model alone, and besides
α γ / (1 + γ) times ε_o(text) − ε_b(text): all that the two differ in, not only what the text says. Where that is not
wanted, `normalisation="guided"` guides each away from its own ∅, of which a negative text replaces the base model's,

    ε = (ε̂_b + γ ε̂_o) / (1 + γ),        ε̂ = ε(∅) + α [ε(text) − ε(∅)],

the score of a product of the two guided models, each to the power of its weight.

Axes: B clips, A of them that are guided, N of them about which the other model is asked, F frames, C latent channels, H
and W latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from planners.scores import ClipDenoiser

Denoise = Callable[[Tensor, float], Tensor]
"""`denoise(noisy_BFCHW, log_snr) -> prediction_BFCHW`: all that a sampler knows of models, texts and guidance."""

SHAPES = ("constant", "linear", "interval")
NORMALISATIONS = ("none", "text", "guided")
EVERYWHERE = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class PriorStrength:
    """Say how much the other model counts, γ, at each noise level of the base model.

    `shape`: `constant`, γ = `strength` everywhere; `linear`, γ falls on a straight line in log-SNR from `strength` at
    `between[0]` to 0 at `between[1]` and stays so beyond them, so that (−4, 4) lets the other model shape what is
    decided early, out of noise, and (4, −4) what is drawn late; `interval`, γ = `strength` where the log-SNR lies
    between the two, ends included, and 0 elsewhere. Log-SNR is log(ᾱ / (1 − ᾱ)) of the base model's schedule.
    """

    strength: float = 0.3
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


def check_normalisation(normalisation: str) -> None:
    """Raise ValueError for a normalisation that there is not."""
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"There is no normalisation {normalisation!r}; known are {', '.join(NORMALISATIONS)}.")


def composed(
    base: ClipDenoiser,
    other: ClipDenoiser | None,
    texts: Sequence[str],
    negatives: Sequence[str],
    scales: Sequence[float],
    strength: PriorStrength = PriorStrength(),
    normalisation: str = "text",
    interval: tuple[float, float] = EVERYWHERE,
) -> Denoise:
    """Return two models as one, clip i guided by `scales[i]`; without `other`, the base model with guidance.

    Both denoise the same clips in the same terms. `negatives`: one text a clip, in place of ∅. Outside `interval`,
    log-SNRs (low, high, both included), every scale is 1. Asked is only what counts: the negative text for clips with a
    scale other than 1, in one batch with the texts; the other model where γ is above 0, about clips with a scale other
    than 0 (`guided`: as the base model is) and, if it predicts ε, not beyond the noise it knows. Where nothing of it is
    asked, what comes out is the base model's own guidance, bit for bit. Predictions are combined as ε; where the
    weights sum to one that is the same as combining them as they come. Raises ValueError for lengths that differ and an
    unknown normalisation.
    """
    count = len(base.first)
    if not count == len(texts) == len(negatives) == len(scales):
        raise ValueError(
            f"{count} clips need as many texts, negative texts and guidance scales, got {len(texts)}, "
            f"{len(negatives)} and {len(scales)}."
        )
    check_normalisation(normalisation)
    device, every = base.first.device, list(range(count))
    active = [index for index in every if scales[index] != 1.0]
    active_A = torch.tensor(active, dtype=torch.long, device=device)
    scale_A = torch.tensor([scales[index] for index in active], device=device).reshape(-1, 1, 1, 1, 1)

    def guided(predictions: Tensor) -> Tensor:
        """Return n + s (c − n) of predictions c for all clips and, after them, n for those that are guided."""
        conditional, negative = predictions[:count], predictions[count:]
        if len(negative) == 0:
            return conditional
        away = conditional[active_A] - negative
        return conditional.index_copy(0, active_A, negative + scale_A * away)

    def denoise(noisy_BFCHW: Tensor, log_snr: float) -> Tensor:
        against = active if interval[0] <= log_snr <= interval[1] else []
        own = base(noisy_BFCHW, log_snr, [*every, *against], [*texts, *(negatives[index] for index in against)])
        gamma = strength.at(log_snr) if other is not None and other.knows(log_snr) else 0.0
        apart = normalisation == "guided" and bool(against)
        heard = [index for index in every if apart or not against or scales[index] != 0.0]
        if other is None or gamma == 0.0 or not heard:
            return guided(own)
        weight, prior = text_weights(gamma, normalisation)
        if apart:
            theirs = other(noisy_BFCHW, log_snr, [*every, *against], [*texts, *[""] * len(against)])
            return weight * guided(own) + prior * guided(theirs)
        theirs = other(noisy_BFCHW, log_snr, heard, [texts[index] for index in heard])
        heard_N = torch.tensor(heard, device=device)
        mixed = guided(own.index_copy(0, heard_N, weight * own[heard_N] + prior * theirs))
        if normalisation != "none":
            return mixed
        alpha_B = torch.tensor([scale if against else 1.0 for scale in scales], device=device).reshape(-1, 1, 1, 1, 1)
        return mixed + base.terms.excess(noisy_BFCHW, log_snr, 1.0 + gamma * alpha_B)

    return denoise
