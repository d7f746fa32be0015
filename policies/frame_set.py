"""Hold the frames of many episodes small enough to train from memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from policies.augmentation import Reconstruct, replace_by_reconstructions
from policies.pose_network import POSE_SIZE
from robot.core.data import Episode
from robot.core.pictures import shrink_frames

CameraMatrix = NDArray[np.float64] | Callable[[Episode], NDArray[np.float64] | None] | None
"""world_to_image, float64 (3, 4), of the camera where an episode does not say it itself, or what says it of one."""


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Hold N labelled frames, those of an episode in order and side by side.

    `frames`: uint8 (N, S, S, 3). `poses`: float32 (N, 4), gripper x, y, z in m (world) and opening 0–1. `actions`:
    float32 (N, Da), sent after the frame; zeros after the last frame of an episode. `pixels`: float32 (N, 2), the
    gripper's (column, row) in 0–1 of the picture, NaN where no camera matrix is known. `episodes`: int64 (N,), rising.
    """

    frames: NDArray[np.uint8]
    poses: NDArray[np.float32]
    actions: NDArray[np.float32]
    pixels: NDArray[np.float32]
    episodes: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.frames)
        if {len(self.poses), len(self.actions), len(self.pixels), len(self.episodes)} != {count}:
            raise ValueError(f"A set of {count} frames needs {count} poses, actions, pixels and episode numbers.")
        if not np.all(np.isfinite(self.poses)) or not np.all(np.isfinite(self.actions)):
            raise ValueError("The poses and actions of a set of frames must be finite.")

    def __len__(self) -> int:
        return len(self.frames)

    def starts(self, ahead: int) -> NDArray[np.int64]:
        """Return the indices of the frames that have a frame of the same episode `ahead` steps later."""
        last = max(len(self) - ahead, 0)
        starts: NDArray[np.int64] = np.flatnonzero(self.episodes[:last] == self.episodes[ahead : last + ahead])
        return starts

    def save(self, path: str | Path) -> None:
        """Write the set to `path`, an .npz file."""
        np.savez(
            path,
            frames=self.frames,
            poses=self.poses,
            actions=self.actions,
            pixels=self.pixels,
            episodes=self.episodes,
        )

    @classmethod
    def load(cls, path: str | Path) -> FrameSet:
        """Read a set that `save` wrote; no pickled objects are accepted."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{name: stored[name] for name in ("frames", "poses", "actions", "pixels", "episodes")})


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Hold frames to learn from and the share of a batch, relative to the other sources, that comes from them."""

    name: str
    frames: FrameSet
    share: float = 1.0


def project_to_picture(
    positions_m: NDArray[np.float32], world_to_image: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float32]:
    """Return where points in the world appear, float32 (N, 2), (column, row) in 0–1 of the picture, clipped to it.

    `positions_m`: (N, 3) in metres; `world_to_image`: float64 (3, 4) to pixels of a picture of that size.
    """
    if world_to_image.shape != (3, 4):
        raise ValueError(f"world_to_image must have shape (3, 4), got {world_to_image.shape}.")
    homogeneous = np.concatenate([positions_m.astype(np.float64), np.ones((len(positions_m), 1))], axis=1)
    image = homogeneous @ world_to_image.T
    pixels = image[:, :2] / image[:, 2:]
    return np.clip(pixels / (width, height), 0.0, 1.0).astype(np.float32)


def gather_frames(
    episodes: Iterable[Episode],
    *,
    camera: str = "corner2",
    size: int = 64,
    world_to_image: CameraMatrix = None,
    reconstruct: Reconstruct | None = None,
    reconstructed_share: float = 0.5,
    seed: int = 0,
    posed: bool = True,
    shrunk: Callable[[Episode], NDArray[np.uint8]] | None = None,
) -> FrameSet:
    """Return the frames of `episodes`, which may be a generator, shrunk to `size` pixels, labelled by proprioception.

    Where the gripper appears follows from each episode's own camera matrix, and where it says none from
    `world_to_image`. `reconstruct`, where given, replaces a share of the frames at their full size before shrinking.
    The first four entries of proprioception must be the gripper's x, y, z (m) and opening (0–1), unless they are not
    `posed`: poses are zeros then, and no pixel is known. `shrunk` returns an episode's pictures at that size where they
    are kept already, such as `FrameCache.of`; it is asked where nothing is reconstructed. Raises ValueError where there
    are no episodes, the camera is missing or proprioception is too short.
    """
    rng = np.random.default_rng(seed)
    parts: list[FrameSet] = []
    for episode in episodes:
        if camera not in episode.frames:
            raise ValueError(f"An episode of {episode.task!r} has no camera {camera!r}, only {sorted(episode.frames)}.")
        if posed and episode.proprio.shape[1] < POSE_SIZE:
            raise ValueError(f"Pose labels need {POSE_SIZE} proprioception entries, got {episode.proprio.shape[1]}.")
        count, height, width = episode.shape(camera)[:3]
        poses = np.zeros((count, POSE_SIZE), np.float32)
        pixels = np.full((len(poses), 2), np.nan, np.float32)
        if posed:
            poses[:] = episode.proprio[:, :POSE_SIZE]
            matrix = episode.camera_matrix(camera)
            if matrix is None:
                matrix = world_to_image(episode) if callable(world_to_image) else world_to_image
            if matrix is not None:
                pixels = project_to_picture(poses[:, :3], matrix, height, width)
        if reconstruct is None and shrunk is not None:
            small = shrunk(episode)
        else:
            pictures = episode.frames[camera]
            if reconstruct is not None:
                pictures = replace_by_reconstructions(pictures, reconstruct, reconstructed_share, rng)
            small = shrink_frames(torch.from_numpy(np.ascontiguousarray(pictures)), size).numpy()
        nothing = np.zeros((1, episode.sent.shape[1]), np.float32)
        actions = np.concatenate([episode.sent.astype(np.float32), nothing])
        parts.append(FrameSet(small, poses, actions, pixels, np.zeros(len(poses), np.int64)))
    if not parts:
        raise ValueError("There are no episodes to take frames from.")
    return join_frames(parts)


def join_frames(parts: Sequence[FrameSet]) -> FrameSet:
    """Return the frames of all parts as one set, episodes numbered anew."""
    offsets = np.cumsum([0, *(int(part.episodes.max(initial=-1)) + 1 for part in parts)])
    return FrameSet(
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.poses for part in parts]),
        np.concatenate([part.actions for part in parts]),
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.episodes + offset for part, offset in zip(parts, offsets, strict=False)]),
    )


def draw_indices(
    candidates: Sequence[NDArray[np.int64]], shares: Sequence[float], count: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (source, indices) for a batch of `count`: how many come from each source is drawn by the shares.

    Raises ValueError when a source with a positive share has no candidates or the shares do not sum to more than 0.
    """
    weights = np.asarray(shares, np.float64)
    if not len(weights) or np.any(weights < 0) or not weights.sum() > 0:
        raise ValueError(f"The shares of the sources must be 0 or more and not all 0, got {list(shares)}.")
    for source, (places, weight) in enumerate(zip(candidates, weights, strict=True)):
        if weight > 0 and not len(places):
            raise ValueError(f"Source {source} has nothing to draw from.")
    counts = rng.multinomial(count, weights / weights.sum())
    for source, number in enumerate(counts):
        if number:
            yield source, candidates[source][rng.integers(0, len(candidates[source]), number)]
