"""What a model diffuses, how noisy at which timestep, and what it predicts: and how to ask it in another's terms.

Two models of one latent space may differ in all of that and still be asked about the same noisy clip. Write z for the
latents of a clip's frames and f for the first frame's. A model diffuses x0 = k (z − d f), with `scale` k and `delta` d
(0 or 1), and sees x = a x0 + s ε, with the signal factor a and the noise factor s of a timestep. In latents that is

    x / (a k) + d f = z + (s / (a k)) ε,

so noise of standard deviation s / (a k) on z. Another model (k', d', a', s') sees the same noisy latents, with the very
same ε, where s' / (a' k') = s / (a k), that is, with log-SNR λ = 2 log(a / s),

    λ' = λ − 2 log(k' / k),        x' = a' (k'/k · x/a + k' (d − d') f).

With a larger scale the same log-SNR is less noise on the latents. What the other model answers is split into x0' and ε;
ε is the same in both, and x0 = k/k' · x0' + k (d' − d) f. Nothing here divides by a or s unless what was predicted
leaves no other way.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from planners.diffusion import PREDICTIONS, DiffusionSettings, alphas_cumprod

Predict = Callable[[Tensor, float], Tensor]
"""`predict(noisy_BFCHW, timestep) -> prediction_BFCHW`: a model with its frames and texts already given."""

KINDS = (*PREDICTIONS, "flow")
MOST_LOG_SNR = 40.0
"""Log-SNR beyond which a clip counts as free of noise, or of signal: e^±40 is past what float32 resolves."""


class NoiseSchedule(Protocol):
    """Say how noisy a clip is at each of a model's timesteps."""

    def log_snr(self, timestep: float) -> float:
        """Return λ = 2 log(a / s) at a timestep, within ±`MOST_LOG_SNR`."""
        ...

    def timestep(self, log_snr: float) -> float:
        """Return the timestep of that noise, or the nearest there is where the schedule does not reach so far."""
        ...

    def factors(self, log_snr: float) -> tuple[float, float]:
        """Return a and s of any noise, also of noise that no timestep has."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Discrete:
    """Keep the variance: a² = ᾱ, s² = 1 − ᾱ, with one ᾱ for each of the timesteps 0, 1, …, falling.

    Between two timesteps λ is a straight line, so that a network whose clock takes fractions is asked at exactly the
    wanted noise. `whole`: ask at the timestep of the nearest λ instead, for networks that know whole timesteps only.
    """

    bars: Tensor
    whole: bool = False

    def __post_init__(self) -> None:
        falling = self.bars.ndim == 1 and len(self.bars) >= 2 and bool((self.bars.diff() < 0).all())
        if not falling or not 0 <= float(self.bars[-1]) < float(self.bars[0]) <= 1:
            raise ValueError("A noise schedule is an ᾱ falling in 1 … 0, one number for each of two or more timesteps.")

    def log_snr(self, timestep: float) -> float:
        """Return λ = log(ᾱ / (1 − ᾱ)), between timesteps on a straight line."""
        ratios = self._ratios()
        return float(np.interp(timestep, np.arange(len(ratios)), ratios))

    def timestep(self, log_snr: float) -> float:
        """Return the timestep of that noise, the first or the last one beyond them."""
        ratios = self._ratios()
        if self.whole:
            return float(np.abs(ratios - log_snr).argmin())
        return float(np.interp(log_snr, ratios[::-1], np.arange(len(ratios))[::-1]))

    def factors(self, log_snr: float) -> tuple[float, float]:
        """Return √ᾱ and √(1 − ᾱ)."""
        return 1 / math.sqrt(1 + math.exp(-log_snr)), 1 / math.sqrt(1 + math.exp(log_snr))

    def _ratios(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        bars = self.bars.double().cpu().numpy()
        with np.errstate(divide="ignore"):
            ratios = np.log(bars) - np.log1p(-bars)
        clipped: np.ndarray[tuple[int], np.dtype[np.float64]] = np.clip(ratios, -MOST_LOG_SNR, MOST_LOG_SNR)
        return clipped


@dataclass(frozen=True, slots=True)
class Flow:
    """Mix in a straight line: a = 1 − σ, s = σ, with timestep σ · `timesteps`.

    Source: Lipman et al. (2023), "Flow matching for generative modeling", with time running from data to noise as in
    Esser et al. (2024), "Scaling rectified flow transformers". SNR = ((1 − σ) / σ)².
    """

    timesteps: int = 1000

    def log_snr(self, timestep: float) -> float:
        """Return λ = 2 log((1 − σ) / σ)."""
        sigma = timestep / self.timesteps
        least = math.exp(-MOST_LOG_SNR / 2)
        return 2 * (math.log(max(1 - sigma, least)) - math.log(max(sigma, least)))

    def timestep(self, log_snr: float) -> float:
        """Return the timestep of that noise."""
        return self.factors(log_snr)[1] * self.timesteps

    def factors(self, log_snr: float) -> tuple[float, float]:
        """Return 1 − σ and σ."""
        return 1 / (1 + math.exp(-log_snr / 2)), 1 / (1 + math.exp(log_snr / 2))


@dataclass(frozen=True, slots=True, eq=False)
class Parametrisation:
    """Hold in which terms a model is asked and answers: see the top of this file.

    `prediction`: epsilon, v, x0, or flow, which is ε − x0 and goes with a `Flow` schedule alone.
    """

    prediction: str
    schedule: Discrete | Flow
    scale: float = 1.0
    delta: bool = False

    def __post_init__(self) -> None:
        if self.prediction not in KINDS:
            raise ValueError(f"There is no prediction type {self.prediction!r}; known are {', '.join(KINDS)}.")
        if (self.prediction == "flow") != isinstance(self.schedule, Flow):
            raise ValueError("A flow prediction goes with a flow's schedule, the others with ᾱ at whole timesteps.")
        if not self.scale > 0:
            raise ValueError(f"A clip's scale must be above 0, got {self.scale}.")

    @classmethod
    def of(cls, settings: DiffusionSettings, whole: bool = False) -> Parametrisation:
        """Return that of a model trained with these settings; `whole`: see `Discrete`."""
        return cls(settings.prediction, Discrete(alphas_cumprod(settings), whole), settings.scale, settings.delta)

    def latents(self, clip_BFCHW: Tensor, first_BCHW: Tensor) -> Tensor:
        """Return the latents (B, F, C, H, W) of the clip that is diffused: z = x0 / k + d f."""
        unscaled = clip_BFCHW / self.scale
        return unscaled + first_BCHW[:, None] if self.delta else unscaled

    def clip(self, latents_BFCHW: Tensor, first_BCHW: Tensor) -> Tensor:
        """Return the clip that is diffused, (B, F, C, H, W), of latents: x0 = k (z − d f)."""
        return (latents_BFCHW - first_BCHW[:, None] if self.delta else latents_BFCHW) * self.scale

    def log_snr_in(self, log_snr: float, other: Parametrisation) -> float:
        """Return which λ of another model is the same noise on the latents as `log_snr` is here."""
        return log_snr - 2 * math.log(other.scale / self.scale)

    def knows(self, log_snr: float) -> bool:
        """Return whether the model can be asked at λ: not a prediction of ε well beyond its schedule's noisiest end.

        There x0 = (x − s ε) / a magnifies whatever ε is off by, with a far below any that it was trained with. What
        predicts x0 or v can be asked with more noise than it knows, and is taken to say what it says at its end.
        """
        if self.prediction != "epsilon" or not isinstance(self.schedule, Discrete):
            return True
        return log_snr >= self.schedule.log_snr(len(self.schedule.bars) - 1) - 1.0

    def split(self, output: Tensor, noisy: Tensor, log_snr: float) -> tuple[Tensor, Tensor]:
        """Return x0 and ε that a prediction means; undefined for x0 without noise and for ε without signal.

        Source: Salimans and Ho (2022), appendix D, for v; Esser et al. (2024) for flow, where with
        v = ε − x0 and x = (1 − σ) x0 + σ ε: x0 = x − σ v and ε = x + (1 − σ) v.
        """
        a, s = self.schedule.factors(log_snr)
        if self.prediction == "epsilon":
            return (noisy - s * output) / a, output
        if self.prediction == "x0":
            return output, (noisy - a * output) / s
        if self.prediction == "v":
            return a * noisy - s * output, s * noisy + a * output
        return noisy - s * output, noisy + a * output

    def join(self, x0: Tensor, epsilon: Tensor, log_snr: float) -> Tensor:
        """Return the prediction that means x0 and ε: the inverse of `split`."""
        a, s = self.schedule.factors(log_snr)
        return {
            "epsilon": lambda: epsilon,
            "x0": lambda: x0,
            "v": lambda: a * epsilon - s * x0,
            "flow": lambda: epsilon - x0,
        }[self.prediction]()

    def excess(self, noisy: Tensor, log_snr: float, weight: float | Tensor) -> Tensor:
        """Return what to add to a weighted sum of predictions whose weights sum to `weight` instead of 1.

        A sum of ε stays a sum of ε. Another prediction p is an affine function of ε at the same x, ε = b x + c p, so
        Σ w ε means Σ w p + (Σ w − 1) (b / c) x, where b / c is 0 for ε, s / a for v, −1 / a for x0 and 1 / a for flow.
        """
        a, s = self.schedule.factors(log_snr)
        ratio = {"epsilon": 0.0, "v": s / a, "x0": -1 / a, "flow": 1 / a}[self.prediction]
        return (weight - 1.0) * ratio * noisy


def asked_in(predict: Predict, theirs: Parametrisation, ours: Parametrisation, first_BCHW: Tensor) -> Translated:
    """Return a model asked and answering in our terms instead of its own; `first_BCHW`: latents of the first frames."""
    return Translated(predict, theirs, ours, first_BCHW)


@dataclass(frozen=True, slots=True, eq=False)
class Translated:
    """Ask a model about our noisy clip in its own terms, and put its answer into ours. `first`: (B, C, H, W).

    Its timestep is that of the same noise on the latents: between two of its timesteps where its clock takes
    fractions, else the nearest. Where its schedule does not reach so far, its first or last timestep stands in, and the
    clip it is shown is still scaled for the noise that is really there.
    """

    predict: Predict
    theirs: Parametrisation
    ours: Parametrisation
    first: Tensor

    def split(self, noisy_BFCHW: Tensor, log_snr: float) -> tuple[Tensor, Tensor]:
        """Return x0, in our terms, and ε, each (B, F, C, H, W), of our noisy clip whose noise is `log_snr` to us."""
        ours, theirs = self.ours, self.theirs
        a, _ = ours.schedule.factors(log_snr)
        their_log_snr = ours.log_snr_in(log_snr, theirs)
        their_a, _ = theirs.schedule.factors(their_log_snr)
        noisy = noisy_BFCHW * (their_a / a * theirs.scale / ours.scale)
        shift = (float(ours.delta) - float(theirs.delta)) * self.first[:, None]
        if ours.delta != theirs.delta:
            noisy = noisy + their_a * theirs.scale * shift
        output = self.predict(noisy, theirs.schedule.timestep(their_log_snr)).to(noisy.dtype)
        x0, epsilon = theirs.split(output, noisy, their_log_snr)
        x0 = x0 * (ours.scale / theirs.scale)
        return (x0 - ours.scale * shift if ours.delta != theirs.delta else x0), epsilon

    def __call__(self, noisy_BFCHW: Tensor, log_snr: float) -> Tensor:
        """Return the prediction in our terms."""
        return self.ours.join(*self.split(noisy_BFCHW, log_snr), log_snr)
