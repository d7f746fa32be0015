"""The starter's planner: on what it is trained, with what, and what its card says of that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planners.windows import WindowSampler
from robot.core.data import Episode, Outcome
from robot.core.training import TrainingSettings
from robot.recipes import starter
from robot.recipes.starter import StarterSettings, make_planner

SHIPPED = Path(__file__).parents[4] / "starter"


def an_episode(seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        task="drawer-open",
        instruction="open the drawer",
        robot="fake",
        frames={"corner2": rng.integers(0, 256, (4, 128, 128, 3), np.uint8)},
        proprio=np.zeros((4, 4), np.float32),
        requested=np.zeros((3, 4), np.float32),
        sent=np.zeros((3, 4), np.float32),
        times_s=np.arange(4) * 0.025,
        outcome=Outcome.SUCCESS,
        seed=seed,
        episode_id=f"e{seed}",
    )


def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Any, WindowSampler, Any, Any]:
    """Return planner, windows and settings of a training that leaves the planner as it is, and its card."""
    seen: list[Any] = []

    def train_planner(planner: Any, windows: Any, folder: Path, settings: TrainingSettings) -> tuple[Any, Any]:
        seen.extend((planner, windows, settings))
        return planner, {"loss": 0.0}

    monkeypatch.setattr("planners.diffusion_training.train_planner", train_planner)
    monkeypatch.setattr(starter, "load_all", lambda settings, name: [an_episode(len(name))])
    (tmp_path / "autoencoder").symlink_to(SHIPPED / "autoencoder")
    make_planner(replace(StarterSettings(), out=str(tmp_path), work=str(tmp_path / "work"), **options))
    return (*seen, json.loads((tmp_path / "planner" / "model.json").read_text()))


def test_a_new_planner_has_fresh_weights_and_the_schedule_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner, windows, training, about = trained(tmp_path, monkeypatch, schedule="linear")
    assert planner.diffusion.schedule == "linear"
    assert training.learning_rate == 4e-4
    assert windows.texts == ("", "open the drawer", "pull the drawer open")
    assert "backwards" not in about["card"]["data"]


def test_a_trained_planner_goes_on_at_a_lower_rate_and_sees_what_was_shown_backwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SHIPPED / "planner"
    planner, windows, training, about = trained(tmp_path, monkeypatch, planner_from=str(folder), reversed_share=0.3)
    identity = json.loads((folder / "model.json").read_text())["identity"]
    assert planner.identity == identity
    assert training.learning_rate == 1e-4
    assert {"close the drawer", "push the drawer shut"} < set(windows.texts)
    assert "played backwards as close the drawer" in about["card"]["data"]
    assert identity in about["card"]["data"]


@pytest.mark.parametrize(("options", "named"), [({"reversed_share": 1.0}, "reversed_share"), ({"schedule": "x"}, "x")])
def test_what_cannot_be_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        StarterSettings(**options)
