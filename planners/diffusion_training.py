"""Train a latent video planner, from nothing or from a trained one.

Axes: B windows, F frames, C latent channels, H and W latent rows and columns, L tokens, D token-state channels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from planners.diffusion import DiffusionSettings, add_noise, loss_weights, target
from planners.latent_video import LatentVideoPlanner
from planners.lora import LoraSettings, merged, save_adapters, with_adapters
from planners.parametrisation import Parametrisation
from planners.windows import WindowSampler
from robot.core.protocols import Metrics
from robot.core.training import Progress, TrainingSettings, train


class DenoisingLoss:
    """Score a denoiser on a batch of windows: weighted squared error of what it predicts about noised clips.

    `tokens_NLD` and `mask_NL` are the encoded `WindowSampler.texts`, which a batch's text indices point into.
    """

    def __init__(self, tokens_NLD: Tensor, mask_NL: Tensor, diffusion: DiffusionSettings) -> None:
        self._tokens = tokens_NLD
        self._mask = mask_NL
        self._diffusion = diffusion
        self._terms = Parametrisation.of(diffusion)

    def __call__(
        self, denoiser: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the mean loss of a batch as `WindowSampler.draw` makes it, and nothing else to report.

        Timesteps are stratified: one in each of B equal parts of the schedule, which lowers the loss's variance.
        """
        first, future, text = batch["first"], batch["future"], batch["text"]
        device, count = first.device, len(first)
        where = generator.device
        parts = torch.randperm(count, generator=generator, device=where)
        within = torch.rand(count, generator=generator, device=where)
        timesteps = ((parts + within) / count * self._diffusion.timesteps).long().to(device)
        timesteps = timesteps.clamp(max=self._diffusion.timesteps - 1)
        clip = self._terms.clip(future, first)
        noise = torch.randn(clip.shape, generator=generator, device=where).to(device)
        noisy = add_noise(clip, noise, timesteps, self._terms.bars)
        tokens, mask = self._tokens.to(device)[text], self._mask.to(device)[text]
        prediction = denoiser(noisy, timesteps, first, tokens, mask)
        wanted = target(clip, noise, timesteps, self._terms.bars, self._diffusion.prediction)
        known = batch["known"].to(device).float()  # nothing is asked about frames past an episode's end
        errors_BF = (prediction.float() - wanted).square().flatten(2).mean(2)
        errors = (errors_BF * known).sum(1) / known.sum(1).clamp(min=1.0)
        return (errors * loss_weights(timesteps, self._terms.bars, self._diffusion)).mean(), {}


def train_planner(
    planner: LatentVideoPlanner,
    windows: WindowSampler,
    folder: str | Path,
    settings: TrainingSettings,
    output: str | Path | None = None,
    card: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> tuple[LatentVideoPlanner, Metrics]:
    """Train a copy of a planner's denoiser, fresh or trained; return the new planner and what was measured.

    The planner given is left as it is. `folder` holds the training's own state, from which a killed run resumes. Where
    `output` is given the new planner, with the weights' running average, is saved there, its weights stored as `dtype`
    (None: as they are), `card` beside them. Fine-tuning is the same call with a trained planner, a lower learning rate
    and windows that mix what it knew with what is new. Raises ValueError when the windows have another number of
    frames than the denoiser, and what `robot.core.training.train` raises.
    """
    if windows.frames != planner.denoiser.frames:
        raise ValueError(f"The denoiser plans {planner.denoiser.frames} frames, the windows hold {windows.frames}.")
    denoiser = copy.deepcopy(planner.denoiser)
    tokens, mask = planner.text_encoder.encode(windows.texts)

    def batch(rng: np.random.Generator) -> dict[str, Any]:
        return dict(windows.draw(rng, settings.batch_size))

    loss = DenoisingLoss(tokens, mask, planner.diffusion)
    result = train(denoiser, batch, loss, folder, settings, "planner", progress)
    denoiser.load_state_dict(result.tensors)
    improved = planner.with_denoiser(denoiser)
    if output is not None:
        improved.save(output, card, dtype)
    return improved, {**result.metrics, "training_s": result.wall_s}


def train_adapters(
    planner: LatentVideoPlanner,
    windows: WindowSampler,
    folder: str | Path,
    settings: TrainingSettings,
    output: str | Path,
    lora: LoraSettings = LoraSettings(),  # noqa: B008 (frozen)
    card: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> tuple[LatentVideoPlanner, Metrics]:
    """Train low-rank adapters on a planner whose own weights stay as they are, and save the adapters in `output`.

    Return the planner with the adapters added into its weights, as `LatentVideoPlanner.load(…, adapters=output)` gives
    it again, and what was measured; arguments as for `train_planner`. Raises SailError where `peft` is missing.
    """
    torch.manual_seed(settings.seed)
    beside = planner.with_denoiser(with_adapters(planner.denoiser, lora))
    trained, metrics = train_planner(beside, windows, folder, settings, progress=progress)
    save_adapters(output, trained.denoiser, lora, planner.identity, card, dtype)
    return planner.with_denoiser(merged(planner.denoiser, planner.identity, output)), metrics
