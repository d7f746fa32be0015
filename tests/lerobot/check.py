"""Load an export with the real LeRobot and compare it with what was exported; `make check-lerobot` runs it.

It runs in LeRobot's own environment, which has nothing of this project: what was exported lies beside the data set as
plain NumPy files (`make_reference.py`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset

CAMERA = "observation.images.corner2"


def main(folder: Path) -> None:
    """Compare every row of every data set in `folder`; leave by an AssertionError where something differs.

    Frames are decoded by PyAV, which brings its own FFmpeg; LeRobot's usual decoder needs that of the system.
    """
    for name, tolerance in (("exact", 0.004), ("usual", 0.03)):
        reference = json.loads((folder / "reference.json").read_text())
        dataset = LeRobotDataset("sail/check", root=folder / name, video_backend="pyav")
        rows = sum(one["length"] for one in reference)
        assert dataset.num_episodes == len(reference), (dataset.num_episodes, len(reference))
        assert len(dataset) == rows, (len(dataset), rows)
        worst, index = 0.0, 0
        for one in reference:
            arrays = {
                key: np.load(folder / f"{one['id']}-{key}.npy") for key in ("state", "action", "success", "reward")
            }
            pictures = {camera: np.load(folder / f"{one['id']}-frames-{camera}.npy") for camera in one["cameras"]}
            for step in range(one["length"]):
                item = dataset[index]
                assert item["task"] == one["instruction"]
                assert torch.equal(item["observation.state"], torch.from_numpy(arrays["state"][step]))
                assert torch.equal(item["action"], torch.from_numpy(arrays["action"][step]))
                assert bool(item["next.success"]) == bool(arrays["success"][step])
                assert float(item["next.reward"]) == float(arrays["reward"][step])
                assert int(item["frame_index"]) == step and int(item["index"]) == index
                for camera, frames in pictures.items():
                    seen = item[f"observation.images.{camera}"].permute(1, 2, 0).numpy()
                    worst = max(worst, float(np.abs(seen - frames[step] / 255.0).mean()))
                index += 1
        assert worst <= tolerance, (name, worst)
        assert set(dataset.meta.stats["action"]) >= {"min", "max", "mean", "std", "count"}
        steps = {"action": [0.0, 1.0 / dataset.fps]}
        ahead = LeRobotDataset("sail/check", root=folder / name, delta_timestamps=steps, video_backend="pyav")
        assert ahead[0]["action"].shape[0] == 2
        print(
            f"{name}: {rows} rows of {len(reference)} episodes; pictures differ by {worst:.4f} of 1 at most, on average"
        )
    check_unknown(folder)


def check_unknown(folder: Path) -> None:
    """Check that a data set whose episodes nobody judged says nothing of success, and can be cut and put together."""
    unknown = LeRobotDataset("sail/check", root=folder / "unknown", video_backend="pyav")
    assert not {"next.success", "next.reward"} & set(unknown.features), sorted(unknown.features)
    lengths = [one["length"] for one in json.loads((folder / "reference.json").read_text())]
    rest = delete_episodes(unknown, [0], output_dir=folder / "rest", repo_id="sail/rest")
    for made, first in ((rest, lengths[0]), (merged(unknown, folder), 0)):
        loaded = LeRobotDataset(made.repo_id, root=made.root, video_backend="pyav")
        worst = max(float((loaded[row][CAMERA] - unknown[first + row][CAMERA]).abs().mean()) for row in range(30))
        assert worst <= 0.05, (made.repo_id, worst)
    print(f"unknown: {len(unknown)} rows without success; cut and put together, frames stay in place")


def merged(dataset: LeRobotDataset, folder: Path) -> LeRobotDataset:
    """Return a data set put together with itself."""
    return merge_datasets([dataset, dataset], output_repo_id="sail/merged", output_dir=folder / "merged")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
