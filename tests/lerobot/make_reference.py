"""Export some episodes, in several ways, and write what is in them as plain NumPy files, for `check.py` to compare."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from robot.core.data import Outcome
from robot.episodes.lerobot.exporting import export_lerobot
from robot.episodes.video import LOSSLESS, Quality
from sim.collect import Request, collect_one


def main(folder: Path) -> None:
    """Record three short episodes of two tasks in the simulator and export them to `folder`."""
    cameras = ("corner2", "corner3")
    requests = [
        Request(task, "play", seed, max_steps=25, image_size=96, cameras=cameras)
        for task, seed in (("drawer-close", 1), ("drawer-close", 2), ("reach", 3))
    ]
    episodes = [collect_one(request) for request in requests]
    folder.mkdir(parents=True, exist_ok=True)
    reference = []
    for number, episode in enumerate(episodes):
        success = episode.success if episode.success is not None else np.zeros(len(episode), np.bool_)
        arrays = {"state": episode.proprio[:-1], "action": episode.sent, "success": success}
        arrays["reward"] = success.astype(np.float32)
        arrays |= {f"frames-{camera}": frames[:-1] for camera, frames in episode.frames.items()}
        for key, values in arrays.items():
            np.save(folder / f"{number}-{key}.npy", values, allow_pickle=False)
        row = {"id": number, "length": len(episode), "instruction": episode.instruction, "cameras": list(cameras)}
        reference.append(row)
    (folder / "reference.json").write_text(json.dumps(reference))
    export_lerobot(episodes, folder / "exact", LOSSLESS)
    export_lerobot(episodes, folder / "usual", Quality(18))
    unknown = [replace(episode, success=None, outcome=Outcome.TIMEOUT) for episode in episodes]
    export_lerobot(unknown, folder / "unknown", Quality(18))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
