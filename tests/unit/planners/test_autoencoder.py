"""The autoencoder: sizes, round trips and that it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from planners.autoencoder import FrameAutoencoder
from planners.autoencoder_training import train_autoencoder
from robot.core.data import Episode, Outcome
from robot.core.errors import CheckpointError
from robot.core.training import TrainingSettings


def tiny() -> FrameAutoencoder:
    torch.manual_seed(0)
    return FrameAutoencoder(widths=(8, 16), norm_groups=4, image_size=32)


def moving_square(seed: int, frames: int = 12) -> Episode:
    rng = np.random.default_rng(seed)
    video = np.full((frames, 32, 32, 3), 90, np.uint8)
    for index in range(frames):
        row, column = rng.integers(0, 24, 2)
        video[index, row : row + 8, column : column + 8] = (220, 40, 40)
    zeros = np.zeros((frames - 1, 4), np.float32)
    return Episode(
        task=f"square-{seed}",
        instruction="move",
        robot="fake",
        frames={"corner2": video},
        proprio=np.zeros((frames, 4), np.float32),
        requested=zeros,
        sent=zeros,
        times_s=np.arange(frames, dtype=np.float64),
        outcome=Outcome.TIMEOUT,
        seed=seed,
    )


def test_shapes_and_types() -> None:
    model = tiny()
    frames = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    latents = model.encode(frames)
    assert latents.shape == (3, 4, 8, 8) and latents.dtype == torch.float32 and model.latent_size == 8
    decoded = model.decode(latents)
    assert decoded.shape == frames.shape and decoded.dtype == torch.uint8


def test_chunks_do_not_matter() -> None:
    model = tiny()
    frames = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8)
    assert torch.allclose(model.encode(frames, chunk=2), model.encode(frames, chunk=5), atol=1e-5)


def test_a_size_it_cannot_take_names_the_one_it_can() -> None:
    with pytest.raises(ValueError, match=r"multiples of 4 px, got 30×32.*image_size to 32"):
        tiny().encode(torch.zeros((1, 30, 32, 3), dtype=torch.uint8))


def test_saved_weights_are_the_same_model(tmp_path: Path) -> None:
    model = tiny()
    model.latent_mean.fill_(0.5)
    identity = model.save(tmp_path)
    loaded = FrameAutoencoder.load(tmp_path)
    frames = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(loaded.encode(frames), model.encode(frames))
    assert loaded.identity == identity == model.identity


@pytest.mark.parametrize("detail", [False, True])
def test_training_learns_and_measures_its_latents(tmp_path: Path, detail: bool) -> None:
    model = tiny()
    episodes = [moving_square(seed) for seed in range(3)]
    frames = torch.as_tensor(episodes[0].frames["corner2"])
    before = (model.reconstruct(frames).float() - frames).abs().mean()
    settings = TrainingSettings(steps=60, batch_size=8, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9)
    train_autoencoder(model, episodes, tmp_path, settings, progress=lambda *_: None, detail=detail)
    after = (model.reconstruct(frames).float() - frames).abs().mean()
    assert after < 0.4 * before
    latents = model.encode(torch.as_tensor(np.concatenate([e.frames["corner2"] for e in episodes])))
    assert latents.mean((0, 2, 3)).abs().max() < 0.3
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.3


def test_a_pretrained_autoencoder_of_diffusers_loads(tmp_path: Path) -> None:
    network = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, scaling_factor=0.25,
    )  # fmt: skip
    network.save_pretrained(tmp_path, safe_serialization=True)
    model = FrameAutoencoder.from_diffusers(tmp_path, image_size=16)
    frames = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    pictures = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = network.encode(pictures).latent_dist.mean * 0.25
    assert torch.allclose(model.encode(frames), expected, atol=1e-5)
    assert model.decode(model.encode(frames)).shape == frames.shape


def test_a_folder_without_an_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no autoencoder of the diffusers library at"):
        FrameAutoencoder.from_diffusers(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(CheckpointError, match="holds no AutoencoderKL in safetensors"):
        FrameAutoencoder.from_diffusers(tmp_path)
