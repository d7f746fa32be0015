"""Gather the statistics that a LeRobotDataset carries: extremes, mean, spread and quantiles of every feature."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
PICTURES = 100
"""Pictures of an episode that are looked at, at most; they are spread evenly."""


class Stats:
    """Add numbers and pictures, merge with others, and give the result."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[NDArray[np.float64]]] = {}
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._pictures: dict[str, int] = {}

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Add rows of a feature, (N,) or (N, D)."""
        self._numbers.setdefault(name, []).append(np.asarray(values, np.float64).reshape(len(values), -1))

    def add_pictures(self, name: str, frames: NDArray[np.uint8]) -> None:
        """Add pictures of a camera, uint8 (N, H, W, 3): how often each of the 256 values occurs in each channel."""
        chosen = np.linspace(0, len(frames) - 1, min(len(frames), PICTURES)).round().astype(np.int64)
        looked_at = frames[chosen]
        counts = np.stack([np.bincount(looked_at[..., channel].reshape(-1), minlength=256) for channel in range(3)])
        self._counts[name] = self._counts.get(name, np.zeros((3, 256), np.int64)) + counts
        self._pictures[name] = self._pictures.get(name, 0) + len(chosen)

    def merge(self, other: Stats) -> None:
        """Add all that was added to another."""
        for name, parts in other._numbers.items():
            self._numbers.setdefault(name, []).extend(parts)
        for name, counts in other._counts.items():
            self._counts[name] = self._counts.get(name, np.zeros((3, 256), np.int64)) + counts
            self._pictures[name] = self._pictures.get(name, 0) + other._pictures[name]

    def result(self) -> dict[str, dict[str, Any]]:
        """Return the statistics by feature, as lists; those of pictures are of values in 0–1, shaped (3, 1, 1)."""
        numbers = {name: _of_numbers(np.concatenate(parts)) for name, parts in self._numbers.items()}
        return numbers | {name: _of_counts(counts, self._pictures[name]) for name, counts in self._counts.items()}


def _of_numbers(values: NDArray[np.float64]) -> dict[str, Any]:
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        **{name: np.quantile(values, share, axis=0) for name, share in QUANTILES.items()},
    }
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(values)]}


def _of_counts(counts: NDArray[np.int64], pictures: int) -> dict[str, Any]:
    levels = np.arange(256) / 255.0
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    below = np.cumsum(counts, axis=1) / total[:, None]
    found = {
        "min": levels[np.argmax(counts > 0, axis=1)],
        "max": levels[255 - np.argmax(counts[:, ::-1] > 0, axis=1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0.0)),
        **{name: levels[np.argmax(below >= share, axis=1)] for name, share in QUANTILES.items()},
    }
    return {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()} | {"count": [pictures]}
