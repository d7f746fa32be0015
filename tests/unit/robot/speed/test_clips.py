"""Errors of imagined clips are nothing for the truth, in the units stated, and leave out what is past the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from planners.diffusion import DiffusionSettings
from planners.latent_video import LatentVideoPlanner
from planners.windows import LatentEpisode, encode_frames
from robot.core.data import SamplerSettings
from robot.speed.clips import clip_errors, held_out_windows, planned_errors
from tests.unit.planners.conftest import HashingText, PoolingAutoencoder, build_episode, build_tiny_denoiser

FRAMES, STRIDE = 3, 2


class ColumnReader:
    """Read the gripper at the brightest column, one millimetre a pixel."""

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        poses = np.zeros((len(frames), 4), np.float32)
        poses[:, 0] = 0.001 * frames.astype(float).sum(axis=(1, 3)).argmax(axis=1)
        return poses


def windows_of(length: int, per_episode: int = 3):  # type: ignore[no-untyped-def]
    episode = build_episode(length)
    latents = encode_frames(PoolingAutoencoder(), episode.frames["corner2"])
    return held_out_windows(
        [(episode, LatentEpisode(latents, episode.instruction))], "corner2", FRAMES, STRIDE, per_episode
    )


def test_windows_are_spread_over_the_places_where_a_whole_one_fits() -> None:
    windows = windows_of(12)
    assert len(windows) == 3
    assert windows.known.all()
    np.testing.assert_array_equal(windows.frames[:, 0, 0].argmax(axis=1)[:, 0], [2, 5, 8])
    np.testing.assert_array_equal(windows.frames[:, -1, 0].argmax(axis=1)[:, 0], [6, 9, 12])
    short = windows_of(3, per_episode=1)
    np.testing.assert_array_equal(short.known, [[True, False, False]])


def test_the_true_latents_have_no_error_but_that_of_decoding() -> None:
    windows = windows_of(12)
    errors = clip_errors(windows.future, windows, PoolingAutoencoder(), None)
    assert set(errors) == {"latent_rmse", "pixel_rmse"}
    np.testing.assert_array_equal(errors["latent_rmse"], 0.0)
    assert (errors["pixel_rmse"] > 1).all()  # it averages 4×4 pixels


def test_errors_are_in_the_units_stated() -> None:
    windows = windows_of(12)
    shifted = clip_errors(windows.future + 0.5, windows, PoolingAutoencoder(), None)
    np.testing.assert_allclose(shifted["latent_rmse"], 0.5, atol=1e-6)
    black = clip_errors(np.full_like(windows.future, -1), windows, PoolingAutoencoder(), ColumnReader())
    expected = np.sqrt((windows.frames.astype(float) ** 2).mean(axis=(1, 2, 3, 4)))
    np.testing.assert_allclose(black["pixel_rmse"], expected, rtol=1e-5)
    # in black frames the brightest column is the first; in the camera's it is the bar
    columns = [[2, 4, 6], [5, 7, 9], [8, 10, 12]]
    np.testing.assert_allclose(black["gripper_cm"], 0.1 * np.mean(columns, axis=1), rtol=1e-5)


def test_frames_past_the_end_do_not_count() -> None:
    windows = windows_of(3, per_episode=1)
    wrong = windows.future.copy()
    wrong[:, 1:] += 9.0
    assert clip_errors(wrong, windows, PoolingAutoencoder(), None)["latent_rmse"] == pytest.approx(0.0)
    wrong[:, 0] += 1.0
    assert clip_errors(wrong, windows, PoolingAutoencoder(), None)["latent_rmse"] == pytest.approx(1.0)


def test_plans_are_scored_with_the_same_noise_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = windows_of(12)
    planner = LatentVideoPlanner(
        build_tiny_denoiser(),
        PoolingAutoencoder(),
        HashingText(),
        DiffusionSettings(timesteps=20),
        image_size=(32, 32),
        settings=SamplerSettings(steps=2),
        precision="fp32",
        device="cpu",
    )
    seeds: list[list[int]] = []
    draw = LatentVideoPlanner.draw

    def watched(self, first, instructions, numbers, settings):  # type: ignore[no-untyped-def]
        seeds.append(list(numbers))
        return draw(self, first, instructions, numbers, settings)

    monkeypatch.setattr(LatentVideoPlanner, "draw", watched)
    together = planned_errors(planner, windows, ColumnReader(), samples=2)
    assert seeds == [[0, 1, 2], [1000, 1001, 1002]]
    apart = planned_errors(planner, windows, ColumnReader(), samples=2, batch=2)
    for name, errors in together.items():
        np.testing.assert_allclose(apart[name], errors, rtol=1e-3, atol=1e-3)
    one = planned_errors(planner, windows, None, samples=1)["latent_rmse"]
    with torch.no_grad():
        drawn = draw(planner, torch.from_numpy(windows.first), windows.instructions, [0, 1, 2], [planner.settings] * 3)
    np.testing.assert_allclose(one, np.sqrt(((drawn.numpy() - windows.future) ** 2).mean(axis=(1, 2, 3, 4))), rtol=1e-4)
