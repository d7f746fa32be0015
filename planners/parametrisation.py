"""What a model diffuses, how noisy at which timestep, and what it predicts.

Write z for the latents of a clip's frames and f for the first frame's. A model diffuses x0 = k (z − d f), with `scale`
k and `delta` d (0 or 1), and sees x = a x0 + s ε, with the signal factor a and the noise factor s of a timestep. How
noisy that is says λ = 2 log(a / s), the log signal-to-noise ratio. In latents it is

    x / (a k) + d f = z + (s / (a k)) ε,

noise of standard deviation s / (a k) on z. That is where models of one latent space meet, whatever else they differ in:
one with k', d', a', s' sees the same noisy latents, with the very same ε, where s' / (a' k') = s / (a k), hence at
λ' = λ − 2 log(k' / k). With a larger scale the same λ is less noise on the latents.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from planners.diffusion import PREDICTIONS, DiffusionSettings, alphas_cumprod, join, split

KINDS = (*PREDICTIONS, "flow")
MOST_LOG_SNR = 40.0
"""Log-SNR beyond which a clip counts as free of noise, or of signal: e^±40 is past what float32 resolves."""


@dataclass(frozen=True, slots=True)
class Discrete:
    """Keep the variance: a² = ᾱ, s² = 1 − ᾱ, with one ᾱ for each of the timesteps 0, 1, …, falling.

    Between two timesteps λ is a straight line, so that a network whose clock takes fractions is asked at exactly the
    wanted noise. `whole`: ask at the timestep of the nearest λ instead, for networks that know whole timesteps only.
    """

    bars: Tensor = field(compare=False)
    whole: bool = False
    _log_snrs: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        falling = self.bars.ndim == 1 and len(self.bars) >= 2 and bool((self.bars.diff() < 0).all())
        if not falling or not 0 <= float(self.bars[-1]) < float(self.bars[0]) <= 1:
            raise ValueError("A noise schedule is an ᾱ falling in 1 … 0, one number for each of two or more timesteps.")
        bars = self.bars.double().cpu().numpy()
        with np.errstate(divide="ignore"):
            log_snrs = np.log(bars) - np.log1p(-bars)
        object.__setattr__(self, "_log_snrs", tuple(np.clip(log_snrs, -MOST_LOG_SNR, MOST_LOG_SNR).tolist()))

    def log_snr(self, timestep: float) -> float:
        """Return λ = log(ᾱ / (1 − ᾱ)), within ±`MOST_LOG_SNR`, between timesteps on a straight line."""
        return float(np.interp(timestep, np.arange(len(self._log_snrs)), self._log_snrs))

    def timestep(self, log_snr: float) -> float:
        """Return the timestep of that noise, the first or the last one beyond them; an int where it is whole."""
        log_snrs: NDArray[np.float64] = np.array(self._log_snrs)
        if self.whole:
            return int(np.abs(log_snrs - log_snr).argmin())
        found = float(np.interp(log_snr, log_snrs[::-1], np.arange(len(log_snrs))[::-1]))
        return int(found) if found.is_integer() else found

    def factors(self, log_snr: float) -> tuple[float, float]:
        """Return √ᾱ and √(1 − ᾱ) of any noise, also of noise that no timestep has."""
        return 1 / math.sqrt(1 + math.exp(-log_snr)), 1 / math.sqrt(1 + math.exp(log_snr))


@dataclass(frozen=True, slots=True)
class Flow:
    """Mix in a straight line: a = 1 − σ, s = σ, with timestep σ · `timesteps`.

    Source: Lipman et al. (2023), "Flow matching for generative modeling", with time running from data to noise as in
    Esser et al. (2024), "Scaling rectified flow transformers". SNR = ((1 − σ) / σ)².
    """

    timesteps: int = 1000

    def log_snr(self, timestep: float) -> float:
        """Return λ = 2 log((1 − σ) / σ), within ±`MOST_LOG_SNR`."""
        sigma = timestep / self.timesteps
        least = math.exp(-MOST_LOG_SNR / 2)
        return 2 * (math.log(max(1 - sigma, least)) - math.log(max(sigma, least)))

    def timestep(self, log_snr: float) -> float:
        """Return the timestep of that noise."""
        return self.factors(log_snr)[1] * self.timesteps

    def factors(self, log_snr: float) -> tuple[float, float]:
        """Return 1 − σ and σ."""
        return 1 / (1 + math.exp(-log_snr / 2)), 1 / (1 + math.exp(log_snr / 2))


@dataclass(frozen=True, slots=True)
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

    @property
    def bars(self) -> Tensor:
        """Return ᾱ at each timestep; raises ValueError for a flow, which has none and is not sampled in its terms."""
        if isinstance(self.schedule, Flow):
            raise ValueError("A flow is sampled in the terms of a model of noise at whole timesteps.")
        return self.schedule.bars

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
        return self.prediction != "epsilon" or log_snr >= self.schedule.log_snr(len(self.bars) - 1) - 1.0

    def split(self, output: Tensor, noisy: Tensor, log_snr: float) -> tuple[Tensor, Tensor]:
        """Return x0 and ε that a prediction means: see `planners.diffusion.split`."""
        return split(self.prediction, output, noisy, *self.schedule.factors(log_snr))

    def join(self, x0: Tensor, epsilon: Tensor, log_snr: float) -> Tensor:
        """Return the prediction that means x0 and ε: the inverse of `split`."""
        return join(self.prediction, x0, epsilon, *self.schedule.factors(log_snr))

    def excess(self, noisy: Tensor, log_snr: float, weight: float | Tensor) -> Tensor:
        """Return what to add to a weighted sum of predictions whose weights sum to `weight` instead of 1.

        A sum of ε stays a sum of ε. Another prediction p is an affine function of ε at the same x, ε = b x + c p, so
        Σ w ε means Σ w p + (Σ w − 1) (b / c) x, where b / c is 0 for ε, s / a for v, −1 / a for x0 and 1 / a for flow.
        """
        a, s = self.schedule.factors(log_snr)
        ratio = {"epsilon": 0.0, "v": s / a, "x0": -1 / a, "flow": 1 / a}[self.prediction]
        return (weight - 1.0) * ratio * noisy
