"""Record a data set with the real LeRobot, a barcode in every frame; `check_import.py` compares what becomes of it.

It runs in LeRobot's own environment. Success and reward stand in the last row alone, as most recorders write them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from sets import action_of, barcode, state_of  # beside this file: LeRobot's environment has a `tests` of its own

FPS = 30
CAMERAS = {"top": (64, 64), "wrist": (96, 128)}
"""Rows and columns of their pictures."""
EPISODES = ((12, "pick it up"), (7, "place it"), (9, "pick it up"))
"""Rows and task of each."""


def main(folder: Path) -> None:
    """Record three episodes into `folder`."""
    dataset = LeRobotDataset.create("sail/theirs", fps=FPS, features=_features(), root=folder, robot_type="so100")
    for episode, (rows, task) in enumerate(EPISODES):
        for row in range(rows):
            dataset.add_frame(_frame(episode, row, row == rows - 1) | {"task": task})
        dataset.save_episode()
    dataset.finalize()
    read_back(folder)
    print(f"recorded {dataset.num_episodes} episodes with LeRobot")


def read_back(folder: Path) -> None:
    """Write beside a data set the pictures that LeRobot reads out of it, uint8 (N, H, W, 3) for each camera."""
    dataset = LeRobotDataset("sail/theirs", root=folder, video_backend="pyav")
    for name in CAMERAS:
        key = f"observation.images.{name}"
        seen = [dataset[row][key].permute(1, 2, 0).numpy() for row in range(len(dataset))]
        np.save(folder.parent / f"theirs-frames-{name}.npy", np.round(np.stack(seen) * 255).astype(np.uint8))


def _features() -> dict[str, Any]:
    axes = ["height", "width", "channels"]
    cameras = {
        f"observation.images.{name}": {"dtype": "video", "shape": (*size, 3), "names": axes}
        for name, size in CAMERAS.items()
    }
    return cameras | {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }


def _frame(episode: int, row: int, last: bool) -> dict[str, Any]:
    pictures = {
        f"observation.images.{name}": barcode(index, episode, row, *size)
        for index, (name, size) in enumerate(CAMERAS.items())
    }
    return pictures | {
        "observation.state": state_of(episode, row),
        "action": action_of(episode, row),
        "next.reward": np.array([last], np.float32),
        "next.success": np.array([last], np.bool_),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
