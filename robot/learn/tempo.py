"""Show what went slowly at the tempo of demonstrations.

An arm that follows an imagined video trails it, and where it pushes against something it trails by much. A planner that
learns from such attempts as they went imagines ever slower motion, attempt after attempt. Where the arm moved as fast
as in demonstrations nothing is changed: a plan of free motion that outruns the arm is no better than one that dawdles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robot.data import Episode


def travelled(episode: Episode) -> NDArray[np.float64]:
    """Return how far the gripper has moved since the episode began, float64 (T+1,), in metres.

    Proprioception must begin with the gripper's x, y, z in metres.
    """
    strides = np.linalg.norm(np.diff(episode.proprio[:, :3].astype(np.float64), axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(strides)])


def typical_speed(episodes: Sequence[Episode]) -> float:
    """Return the median distance the gripper moves in one step, in metres; 0 without episodes."""
    strides = [np.diff(travelled(episode)) for episode in episodes]
    moved = np.concatenate(strides) if strides else np.zeros(0)
    return float(np.median(moved)) if len(moved) else 0.0


def retimed(path_m: NDArray[np.float64], speed_m: float, at_most: int) -> NDArray[np.int64]:
    """Return which frames, int64 (N,), show a motion no slower than `speed_m` metres from one frame to the next.

    `path_m`, float64 (T+1,), is how far the gripper has come at each frame. Between two chosen frames lie as many steps
    as it took to come that far, but `at_most` of them. The first frame and the last are always chosen.
    """
    if at_most < 1 or speed_m < 0:
        raise ValueError(f"Motion can be shown 1 or more times as fast, at a speed ≥ 0; got {at_most} and {speed_m}.")
    chosen = [0]
    last = len(path_m) - 1
    while chosen[-1] < last:
        here = chosen[-1]
        ahead = path_m[here + 1 : min(here + at_most, last) + 1] - path_m[here]
        # The furthest frame that is not yet further away than a demonstration would have come.
        chosen.append(here + max(1, int(np.searchsorted(ahead, speed_m * (1 + 1e-9), side="right"))))
    return np.array(chosen, np.int64)
