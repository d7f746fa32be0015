"""Score a planner on demonstrations it has not seen: how far what it imagines lies from what happened.

Axes: N windows, F frames of a plan, C latent channels, h and w latent rows and columns, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from planners.autoencoder import Autoencoder
from planners.latent_video import LatentVideoPlanner
from planners.windows import LatentEpisode
from robot.core.data import Episode

MEASURES = ("latent_rmse", "pixel_rmse", "gripper_cm")
"""What is measured of every window; see `clip_errors`."""
Errors = dict[str, NDArray[np.float64]]


class PoseReader(Protocol):
    """Read the gripper's pose from pictures, as `policies.pose_network.PoseNetwork` does."""

    def estimate(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the poses in frames, uint8 (N, H, W, 3), as (N, 4): x, y, z in metres and the opening."""
        ...


@dataclass(frozen=True, slots=True)
class HeldOutWindows:
    """Hold the windows that plans are compared with.

    `first`, float32 (N, C, h, w), and `future`, float32 (N, F, C, h, w), are latents; `frames`, uint8 (N, F, H, W, 3),
    what the camera saw; `known`, bool (N, F), is false where the episode was over; `instructions` has N texts.
    """

    first: NDArray[np.float32]
    future: NDArray[np.float32]
    frames: NDArray[np.uint8]
    known: NDArray[np.bool_]
    instructions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.first)


def held_out_windows(
    episodes: Sequence[tuple[Episode, LatentEpisode]], camera: str, frames: int, stride: int, per_episode: int
) -> HeldOutWindows:
    """Cut `per_episode` windows from every episode, spread evenly over the places where a whole window fits.

    An episode shorter than a window gives windows from its start, marked where they are past its end.
    """
    firsts, futures, pictures, known, instructions = [], [], [], [], []
    offsets = np.arange(1, frames + 1) * stride
    for episode, encoded in episodes:
        last = len(encoded.latents) - 1
        for start in np.linspace(0, max(0, last - int(offsets[-1])), per_episode).round().astype(int):
            places = np.minimum(start + offsets, last)
            firsts.append(encoded.latents[start])
            futures.append(encoded.latents[places])
            pictures.append(episode.frames[camera][places])
            known.append(start + offsets <= last)
            instructions.append(encoded.instruction)
    return HeldOutWindows(
        np.stack(firsts).astype(np.float32),
        np.stack(futures).astype(np.float32),
        np.stack(pictures),
        np.stack(known),
        tuple(instructions),
    )


def planned_errors(
    planner: LatentVideoPlanner, windows: HeldOutWindows, reader: PoseReader | None, samples: int, batch: int = 16
) -> Errors:
    """Return the errors of what a planner imagines for each window, the mean of `samples` plans.

    Window i's plan number s has noise of seed 1000 · s + i, the same for every planner.
    """
    device = next(planner.denoiser.parameters()).device
    drawn: list[Errors] = []
    for sample in range(samples):
        parts = []
        for start in range(0, len(windows), batch):
            these = range(start, min(start + batch, len(windows)))
            parts.append(
                planner.draw(
                    torch.from_numpy(windows.first[these.start : these.stop]).to(device),
                    windows.instructions[these.start : these.stop],
                    [1000 * sample + number for number in these],
                    [planner.settings] * len(these),
                )
            )
        latents = torch.cat(parts).float().cpu().numpy()
        drawn.append(clip_errors(latents, windows, planner.autoencoder, reader))
    return {name: np.mean([errors[name] for errors in drawn], axis=0) for name in drawn[0]}


def clip_errors(
    latents: NDArray[np.float32], windows: HeldOutWindows, autoencoder: Autoencoder, reader: PoseReader | None
) -> Errors:
    """Return the errors of clips of latents, float32 (N, F, C, h, w), against the true ones, each float64 (N,).

    `latent_rmse`: root mean square difference of the latents; `pixel_rmse`: that of the decoded frames from those of
    the camera, in units of 0–255; `gripper_cm`, only with a `reader`: mean distance between the gripper's position
    read from the decoded and from the camera's frames. Frames past an episode's end do not count.
    """
    decoded = decode(latents, autoencoder)
    pixels = (decoded.astype(np.float32) - windows.frames) ** 2
    errors = {
        "latent_rmse": _root_mean((latents - windows.future) ** 2, windows.known),
        "pixel_rmse": _root_mean(pixels, windows.known),
    }
    if reader is not None:
        apart_m = np.linalg.norm(_positions(reader, decoded) - _positions(reader, windows.frames), axis=-1)
        errors["gripper_cm"] = 100.0 * _mean(apart_m, windows.known)
    return errors


@torch.no_grad()
def decode(latents: NDArray[np.float32], autoencoder: Autoencoder) -> NDArray[np.uint8]:
    """Return the frames, uint8 (N, F, H, W, 3), of clips of latents, float32 (N, F, C, h, w)."""
    module = autoencoder if isinstance(autoencoder, torch.nn.Module) else None
    device = next(module.parameters()).device if module is not None else torch.device("cpu")
    clips = [autoencoder.decode(torch.from_numpy(clip).to(device)).cpu().numpy() for clip in latents]
    return np.stack(clips)


def _positions(reader: PoseReader, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    poses = reader.estimate(frames.reshape(-1, *frames.shape[2:]))
    return poses[:, :3].reshape(*frames.shape[:2], 3)


def _root_mean(squares: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.sqrt(_mean(squares.reshape(*known.shape, -1).mean(-1), known))


def _mean(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean over the frames that are known, float64 (N,); a window of which none is known counts as 0."""
    weighed = np.where(known, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.asarray(weighed / np.maximum(known.sum(axis=1), 1), np.float64)
