"""Small stand-ins that the planners' tests share: an autoencoder without weights and a text encoder without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from planners.denoisers import StackedUNet
from robot.core.data import Episode, Observation, Outcome


class PoolingAutoencoder:
    """Average 4×4 pixels into a latent of red, green, blue and brightness, in −1…1; decode by repeating pixels."""

    identity = "pooling"

    def encode(self, frames: Tensor) -> Tensor:
        rgb = functional.avg_pool2d(frames.permute(0, 3, 1, 2).float() / 127.5 - 1, 4)
        return torch.cat([rgb, rgb.mean(1, keepdim=True)], dim=1)

    def decode(self, latents: Tensor) -> Tensor:
        rgb = functional.interpolate(latents[:, :3].float(), scale_factor=4.0)
        return ((rgb + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


class HashingText:
    """Give every word random states that depend on the word alone; the empty text is one token."""

    dim = 12
    length = 6

    @property
    def config(self) -> dict[str, Any]:
        return {"kind": "hashing"}

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        states = torch.zeros(len(texts), self.length, self.dim)
        mask = torch.zeros(len(texts), self.length, dtype=torch.bool)
        for row, text in enumerate(texts):
            for column, word in enumerate(["", *text.split()][: self.length]):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
                states[row, column] = torch.from_numpy(np.random.default_rng(seed).normal(size=self.dim)).float()
                mask[row, column] = True
        return states, mask


def build_tiny_denoiser(seed: int = 0, awake: bool = True) -> StackedUNet:
    """Return a denoiser of 8-pixel latents and 3 frames; awake, its last layer is not the zeros it starts from."""
    torch.manual_seed(seed)
    tiny = StackedUNet(
        widths=(16, 16), attention=(False, True), frames=3, text_dim=HashingText.dim, heads=2, groups=4
    ).eval()
    if awake:
        torch.nn.init.normal_(tiny.unet.conv_out.weight, std=0.05)
    return tiny


def build_episode(length: int = 12, task: str = "push", instruction: str = "push the puck", seed: int = 0) -> Episode:
    """Return an episode in which a white bar moves one column a step over a seeded noise background of 32×32 px."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 120, (1, 32, 32, 3), dtype=np.uint8), length + 1, axis=0)
    for step in range(length + 1):
        frames[step, :, step % 32] = 255
    return Episode(
        task=task,
        instruction=instruction,
        robot="fake",
        frames={"corner2": frames},
        proprio=np.zeros((length + 1, 4), np.float32),
        requested=np.zeros((length, 4), np.float32),
        sent=np.zeros((length, 4), np.float32),
        times_s=np.arange(length + 1) / 40,
        outcome=Outcome.SUCCESS,
        seed=seed,
    )


def build_observation(seed: int = 0, size: int = 32) -> Observation:
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Observation({"corner2": image}, np.zeros(4, np.float32), 0.0)


@pytest.fixture
def autoencoder() -> PoolingAutoencoder:
    return PoolingAutoencoder()


@pytest.fixture
def text_encoder() -> HashingText:
    return HashingText()


@pytest.fixture
def tiny_denoiser() -> StackedUNet:
    return build_tiny_denoiser()


@pytest.fixture
def make_episode() -> Any:
    return build_episode


@pytest.fixture
def make_observation() -> Any:
    return build_observation


@pytest.fixture
def make_denoiser() -> Any:
    return build_tiny_denoiser
