"""Draw `backwards.png`: one demonstration of opening a drawer, played as it was and played backwards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from planners.words import opposite
from robot.core.data import Episode
from robot.episodes.reversal import reversed_episode
from sim.collect import Request, collect_one

CAMERA, PICTURES, SIDE, STRIP = "corner2", 6, 160, 26


def strip(episode: Episode) -> np.ndarray:
    """Return pictures from an episode's first to its last, uint8 (H, W, 3), under the words for it."""
    frames = episode.frames[CAMERA]
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, PICTURES).round().astype(int)]
    row = np.hstack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in chosen])
    words = np.full((STRIP, row.shape[1], 3), 255, np.uint8)
    cv2.putText(words, episode.instruction, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (28, 32, 38), 1, cv2.LINE_AA)
    return np.vstack([words, row])


def draw() -> np.ndarray:
    """Return the picture, uint8 (H, W, 3), RGB."""
    shown = collect_one(Request("drawer-open", "demonstrations", 1000, noise=0.1))
    shown = dataclasses.replace(shown, episode_id="shown")
    words = opposite(shown.instruction)
    assert words is not None
    return np.vstack([strip(shown), strip(reversed_episode(shown, words, "drawer-close"))])


if __name__ == "__main__":
    cv2.imwrite(str(Path(__file__).with_name("backwards.png")), cv2.cvtColor(draw(), cv2.COLOR_RGB2BGR))
