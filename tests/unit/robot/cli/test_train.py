"""`sail train` from recorded episodes: the weights it writes load again, and missing data names the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from planners.autoencoder import FrameAutoencoder
from planners.latent_video import LatentVideoPlanner
from policies.pose_tracking import PoseTracking
from robot.cli.main import main
from robot.data import Episode, Outcome
from robot.episodes.store import EpisodeStore

SIZE = 64


def record(folder: Path, kind: str, count: int = 2, steps: int = 5) -> None:
    rng = np.random.default_rng(0)
    for seed in range(count):
        episode = Episode(
            task="reach",
            instruction="reach the goal",
            robot="fake",
            frames={"corner2": rng.integers(0, 256, (steps + 1, SIZE, SIZE, 3), np.uint8)},
            proprio=rng.uniform(0, 1, (steps + 1, 4)).astype(np.float32),
            requested=np.zeros((steps, 4), np.float32),
            sent=np.zeros((steps, 4), np.float32),
            times_s=np.arange(steps + 1) * 0.025,
            outcome=Outcome.SUCCESS,
            seed=seed,
        )
        EpisodeStore(folder / kind).add(episode)


def trained(capsys: pytest.CaptureFixture[str], *words: str) -> Path:
    assert main(["train", *words, "--json", "seed=3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert np.isfinite(told["metrics"]["loss"])
    output = Path(told["output"])
    card = json.loads((output / "model.json").read_text(encoding="utf-8"))["card"]
    assert card["seed"] == 3
    assert card["command"].startswith("sail train")
    return output


def test_each_model_trains_on_what_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot.cli.train._camera_matrix", lambda episode, camera: None)
    record(tmp_path, "demonstrations")
    record(tmp_path, "play")
    common = [f"data={tmp_path}", "steps=2", "batch_size=2", "warmup_steps=1"]
    small = ["widths=16,16,16", f"image_size={SIZE}", "tasks=reach"]
    autoencoder = trained(capsys, "autoencoder", *common, *small, f"output={tmp_path / 'a'}")
    assert FrameAutoencoder.load(autoencoder).image_size == SIZE

    denoiser = ["denoiser.widths=16,16", "denoiser.attention=false,true", f"autoencoder={autoencoder}"]
    planner = trained(capsys, "planner", *common, *denoiser, f"output={tmp_path / 'p'}")
    loaded = LatentVideoPlanner.load(planner, autoencoder)
    assert loaded.stride_s == pytest.approx(0.05)
    assert loaded.settings.guidance_scale == 2.0

    output = f"output={tmp_path / 'i'}"
    pose = trained(capsys, "inverse_dynamics", *common, f"autoencoder={autoencoder}", output)
    assert PoseTracking.load(pose).identity


def test_missing_episodes_name_the_command_that_records_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "autoencoder", f"data={tmp_path}", "tasks=reach"]) == 2
    assert "sail collect tasks=reach play=10" in capsys.readouterr().err
