"""Train a frame autoencoder: reconstruction that weighs what matters to a robot, and the statistics of its latents.

Axes: B pictures, C channels, H and W pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from planners.autoencoder import FrameAutoencoder, to_pictures
from robot.core.checkpoints import load_into
from robot.core.data import Episode
from robot.core.training import Batch, Progress, TrainingResult, TrainingSettings, train


def autoencoder_loss(
    module: nn.Module, batch: Batch, generator: torch.Generator, detail: bool = False, kl_weight: float = 1e-6
) -> tuple[Tensor, dict[str, float]]:
    """Return L1 reconstruction plus a small KL term (Rombach et al. 2022), heavier where it matters to a robot.

    `batch["frames"]` is uint8 (B, H, W, 3); `batch["others"]` holds another frame of each one's episode and
    `batch["background"]` the median over all scenes, (1, H, W, 3). Without `detail` the pixels in which a frame and the
    other one differ weigh five times: the arm and what it handles. With `detail` it is whatever differs from the
    background, and the more so the more it stands out from its surroundings, and large errors count squared as well:
    a goal marker of ten pixels is otherwise cheaper to leave out than to draw.
    """
    model: FrameAutoencoder = module.module if hasattr(module, "module") else module  # type: ignore[assignment]
    frames = to_pictures(batch["frames"])
    mean, logvar = model.encode_mean(batch["frames"])
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=torch.float32)
    raw = mean.float() + torch.exp(0.5 * logvar.float()) * noise
    error = (model.decode_raw(raw).float() - frames).abs()
    if detail:
        thing = ((frames - to_pictures(batch["background"])).abs().amax(1, keepdim=True) > 0.12).float()
        surroundings = functional.avg_pool2d(frames, 9, stride=1, padding=4, count_include_pad=False)
        weight = 1.0 + 4.0 * thing + 10.0 * thing * (frames - surroundings).abs().amax(1, keepdim=True)
        penalty = error + 2.0 * error.square()
    else:
        moving = ((frames - to_pictures(batch["others"])).abs().amax(1, keepdim=True) > 0.08).float()
        weight = 1.0 + 4.0 * functional.max_pool2d(moving, 5, stride=1, padding=2)
        penalty = error
    kl = 0.5 * (mean.float().square() + logvar.float().exp() - 1.0 - logvar.float()).mean()
    value = (penalty * weight).sum() / (weight.sum() * 3) + kl_weight * kl
    with torch.no_grad():
        l1 = float(error.mean()) * 127.5
    return value, {"l1_of_255": l1, "kl": float(kl.detach())}


class FrameBatches:
    """Draw pictures evenly over scenes: `frames` and `others`, uint8 (B, H, W, 3), and the `background`."""

    def __init__(self, episodes: Sequence[Episode], camera: str, batch_size: int) -> None:
        scenes: dict[str, list[np.ndarray[Any, Any]]] = {}
        for episode in episodes:
            scenes.setdefault(episode.task, []).append(episode.frames[camera])
        if not scenes:
            raise ValueError("An autoencoder needs at least one episode to train on.")
        self._scenes = [scenes[name] for name in sorted(scenes)]
        self._batch_size = batch_size
        samples = [video[len(video) // 2] for scene in self._scenes for video in scene[:4]]
        self._background = np.median(np.stack(samples), axis=0).astype(np.uint8)[None]

    def __call__(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Return one batch."""
        frames, others = [], []
        for _ in range(self._batch_size):
            scene = self._scenes[rng.integers(len(self._scenes))]
            video = scene[rng.integers(len(scene))]
            first, second = rng.integers(len(video), size=2)
            frames.append(video[first])
            others.append(video[second])
        return {"frames": np.stack(frames), "others": np.stack(others), "background": self._background}


def train_autoencoder(
    model: FrameAutoencoder,
    episodes: Sequence[Episode],
    folder: str | Path,
    settings: TrainingSettings,
    camera: str = "corner2",
    progress: Progress | None = None,
    detail: bool = False,
) -> TrainingResult:
    """Train `model` on all frames of `episodes`, leave it with its averaged weights and measured latent statistics.

    `detail` chooses what `autoencoder_loss` weighs: first train without it, then with.
    """
    batches = FrameBatches(episodes, camera, settings.batch_size)
    loss = functools.partial(autoencoder_loss, detail=detail)
    result = train(model, batches, loss, folder, settings, "autoencoder", progress)
    load_into(model, result.tensors, folder)
    model.eval()
    _measure_latents(model, batches, settings)
    model._identity = ""
    return result


@torch.no_grad()
def _measure_latents(model: FrameAutoencoder, batches: FrameBatches, settings: TrainingSettings) -> None:
    rng = np.random.default_rng([settings.seed, 0xAE])
    device = model.latent_mean.device
    parts = [model.encode_mean(torch.as_tensor(batches(rng)["frames"]).to(device))[0].float() for _ in range(16)]
    latents = torch.cat(parts)
    model.latent_mean.copy_(latents.mean((0, 2, 3), keepdim=True))
    model.latent_std.copy_(latents.std((0, 2, 3), keepdim=True))
