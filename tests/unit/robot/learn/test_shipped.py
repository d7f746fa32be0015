"""What ships in starter/: small enough, whole, and what the configuration loads by default."""

from __future__ import annotations

import numpy as np
import pytest

from policies.frame_pair import FramePair, FramePairChunks
from policies.pose_tracking import PoseTracking
from robot.cli.compose import PROJECT
from robot.core.data import Observation, VideoPlan

STARTER = PROJECT / "starter"
MOST_MIB = 45


def test_it_is_no_larger_than_promised_and_has_a_card() -> None:
    size = sum(file.stat().st_size for file in STARTER.rglob("*") if file.is_file())
    assert size <= MOST_MIB * 2**20
    card = (STARTER / "README.md").read_text()
    for folder in STARTER.iterdir():
        if folder.is_dir():
            assert (folder / "model.json").is_file() and (folder / "model.safetensors").is_file()
    assert all(word in card for word in ("eight seen tasks", "Hardware", "Seed", "Licence", "make starter"))


@pytest.mark.parametrize("kind", ["pose_tracking", "frame_pair"])
def test_either_inverse_dynamics_acts_on_a_plan(kind: str) -> None:
    folder = STARTER / {"pose_tracking": "inverse_dynamics", "frame_pair": "frame_pair"}[kind]
    loaded = (PoseTracking if kind == "pose_tracking" else FramePair).load(folder)
    assert loaded.identity
    if isinstance(loaded, FramePair):
        assert loaded.network.shape.chunk == 2  # a plan's frames are two robot steps apart
        frames = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), np.uint8)
        seen = Observation({"corner2": frames[0]}, np.zeros(4, np.float32), 0.0)
        (handle,) = loaded.begin([seen], [VideoPlan(frames, 0.05, "close the door", 0, "")])
        assert isinstance(handle, FramePairChunks)
        (action,) = loaded.act([seen], [handle], [0])
        assert action.values.shape == (4,) and np.abs(action.values).max() <= 1.0
