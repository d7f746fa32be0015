"""Measure how well a pose network reads the gripper in episodes it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from policies.augmentation import Reconstruct
from policies.pose_network import POSE_SIZE, PoseNetwork
from robot.core.data import Episode


def pose_error_m(
    network: PoseNetwork,
    episodes: Iterable[Episode],
    *,
    camera: str = "corner2",
    reconstruct: Reconstruct | None = None,
    precision: torch.dtype | None = None,
) -> dict[str, float]:
    """Return errors against proprioception over all frames of `episodes`, on reconstructions where a callable is given.

    `mean_m`, `p95_m`: mean and 95 % quantile of the distance between estimated and true position, metres. `x_m`, `y_m`,
    `z_m`: mean absolute error an axis. `bias_m`: mean over episodes of the length of the episode's mean error vector,
    which is what calibration at a plan's beginning can take off. `opening`: mean absolute error of the opening, 0–1.
    `frames`: how many. Raises ValueError where there are no episodes or the camera is missing.
    """
    network.eval()
    errors: list[NDArray[np.float64]] = []
    for episode in episodes:
        if camera not in episode.frames:
            raise ValueError(f"An episode of {episode.task!r} has no camera {camera!r}, only {sorted(episode.frames)}.")
        pictures = episode.frames[camera]
        if reconstruct is not None:
            pictures = reconstruct(pictures)
        poses = network.estimate(pictures, precision=precision)
        errors.append(poses.astype(np.float64) - episode.proprio[:, :POSE_SIZE])
    if not errors:
        raise ValueError("There are no episodes to measure pose errors on.")
    every = np.concatenate(errors)
    distance = np.linalg.norm(every[:, :3], axis=1)
    axes = np.abs(every).mean(axis=0)
    bias = float(np.mean([np.linalg.norm(error[:, :3].mean(axis=0)) for error in errors]))
    return {
        "mean_m": float(distance.mean()),
        "p95_m": float(np.quantile(distance, 0.95)),
        "x_m": float(axes[0]),
        "y_m": float(axes[1]),
        "z_m": float(axes[2]),
        "bias_m": bias,
        "opening": float(axes[3]),
        "frames": float(len(every)),
    }
