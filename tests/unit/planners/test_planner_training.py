"""Training a planner: it learns, it is reproducible, it leaves the planner it started from alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planners.diffusion import PREDICTIONS, DiffusionSettings, alphas_cumprod
from planners.diffusion_training import DenoisingLoss, train_planner
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Parametrisation
from planners.windows import LatentCache, LatentEpisode, Source, WindowSampler
from robot.core.data import SamplerSettings
from robot.core.errors import NotFiniteError
from robot.core.training import TrainingSettings

QUICK = TrainingSettings(steps=40, batch_size=8, learning_rate=3e-3, warmup_steps=5, ema_decay=0.0, precision="fp32")


@pytest.fixture
def planner(make_denoiser: Any, autoencoder: Any, text_encoder: Any) -> LatentVideoPlanner:
    return LatentVideoPlanner(
        make_denoiser(awake=False),
        autoencoder,
        text_encoder,
        settings=SamplerSettings(steps=4, guidance_scale=1.0),
        image_size=(32, 32),
        precision="fp32",
        device="cpu",
    )


@pytest.fixture
def windows(autoencoder: Any, make_episode: Any) -> WindowSampler:
    return WindowSampler([Source([LatentCache(autoencoder).get(make_episode(length=6))])], frames=3)


def score(planner: LatentVideoPlanner, windows: WindowSampler) -> float:
    """Return a planner's loss on fixed windows, timesteps and noise."""
    batch = {name: torch.as_tensor(value) for name, value in windows.draw(np.random.default_rng(0), 64).items()}
    loss = DenoisingLoss(*planner.text_encoder.encode(windows.texts), planner.diffusion)
    with torch.no_grad():
        return float(loss(planner.denoiser, batch, torch.Generator().manual_seed(0))[0])


def quietly(step: int, total: int, metrics: Any) -> None:
    """Show nothing."""


class Perfect(nn.Module):
    """Answer exactly what is asked, knowing the clean clip of the batch."""

    def __init__(self, clip: Tensor, diffusion: DiffusionSettings) -> None:
        super().__init__()
        self.clip, self.diffusion = clip, diffusion
        self.bars = alphas_cumprod(diffusion)
        self.timesteps: list[Tensor] = []

    def forward(self, noisy: Tensor, timesteps: Tensor, first: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        self.timesteps.append(timesteps)
        level = self.bars[timesteps].reshape(-1, 1, 1, 1, 1)
        noise = (noisy - level.sqrt() * self.clip) / (1 - level).sqrt()
        v = level.sqrt() * noise - (1 - level).sqrt() * self.clip
        return {"epsilon": noise, "x0": self.clip, "v": v}[self.diffusion.prediction]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_denoiser_has_no_loss_and_timesteps_are_spread(prediction: str, text_encoder: Any) -> None:
    diffusion = DiffusionSettings(prediction=prediction, min_snr_gamma=5.0, scale=2.0)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "first": torch.randn(10, 4, 2, 2),
        "future": torch.randn(10, 3, 4, 2, 2),
        "known": torch.ones(10, 3, dtype=torch.bool),
        "text": torch.zeros(10, dtype=torch.long),
    }
    perfect = Perfect(Parametrisation.of(diffusion).clip(batch["future"], batch["first"]), diffusion)
    loss, _ = DenoisingLoss(*text_encoder.encode([""]), diffusion)(perfect, batch, generator)
    assert float(loss) < 1e-3
    assert sorted((perfect.timesteps[0] // 100).tolist()) == list(range(10))


def test_frames_past_an_episodes_end_are_asked_nothing(text_encoder: Any) -> None:
    diffusion = DiffusionSettings()
    batch = {
        "first": torch.randn(10, 4, 2, 2),
        "future": torch.randn(10, 3, 4, 2, 2),
        "known": torch.tensor([[True, True, False]] * 9 + [[False] * 3]),
        "text": torch.zeros(10, dtype=torch.long),
    }
    lossy = Perfect(Parametrisation.of(diffusion).clip(batch["future"], batch["first"]), diffusion)
    lossy.clip[:, 2] += 100.0
    loss, _ = DenoisingLoss(*text_encoder.encode([""]), diffusion)(lossy, batch, torch.Generator().manual_seed(0))
    clean = Perfect(Parametrisation.of(diffusion).clip(batch["future"], batch["first"]), diffusion)
    same, _ = DenoisingLoss(*text_encoder.encode([""]), diffusion)(clean, batch, torch.Generator().manual_seed(0))
    assert float(loss) == pytest.approx(float(same), abs=1e-3)


def test_training_learns_a_clip_and_leaves_the_planner_alone(
    planner: LatentVideoPlanner, windows: WindowSampler, make_episode: Any, tmp_path: Path
) -> None:
    before = planner.identity
    improved, metrics = train_planner(
        planner,
        windows,
        tmp_path / "state",
        QUICK,
        tmp_path / "planner",
        {"data": "one episode"},
        progress=quietly,
    )
    assert score(improved, windows) < 0.8 * score(planner, windows)
    assert metrics["loss"] > 0
    assert planner.identity == before != improved.identity
    assert not planner.denoiser.unet.conv_out.weight.any()
    seen = [make_episode(length=6).observation(0)]
    stored = LatentVideoPlanner.load(
        tmp_path / "planner", planner.autoencoder, planner.text_encoder, precision="fp32", device="cpu"
    )
    plans = [each.plan(seen, ["push the puck"], [0])[0] for each in (improved, stored)]
    assert np.array_equal(plans[0].frames, plans[1].frames)
    assert stored.identity == improved.identity


def test_the_same_seed_trains_the_same_planner(
    planner: LatentVideoPlanner, windows: WindowSampler, tmp_path: Path
) -> None:
    short = TrainingSettings(steps=3, batch_size=2, precision="fp32")
    found = {
        train_planner(planner, windows, tmp_path / name, short, progress=quietly)[0].identity for name in ("a", "b")
    }
    assert len(found) == 1


def test_nan_in_the_data_stops_training(planner: LatentVideoPlanner, tmp_path: Path) -> None:
    broken = LatentEpisode(np.full((5, 4, 8, 8), np.nan, np.float16), "push")
    with pytest.raises(NotFiniteError, match="NaN or infinity in 'first'"):
        train_planner(planner, WindowSampler([Source([broken])], frames=3), tmp_path, QUICK, progress=quietly)


def test_windows_of_another_length_are_refused(planner: LatentVideoPlanner, tmp_path: Path) -> None:
    episode = LatentEpisode(np.zeros((5, 4, 8, 8), np.float16), "push")
    with pytest.raises(ValueError, match="plans 3 frames, the windows hold 4"):
        train_planner(planner, WindowSampler([Source([episode])], frames=4), tmp_path, QUICK, progress=quietly)
