"""Read the gripper's pose from one picture.

Axes of tensors: B pictures, C channels, H rows, W columns, K keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from robot.core.checkpoints import load_into, load_model, save_model
from robot.core.errors import CheckpointError
from robot.core.pictures import shrink_frames

KIND = "pose-network"
POSE_NAMES = ("gripper_x", "gripper_y", "gripper_z", "gripper_opening")
POSE_SIZE = len(POSE_NAMES)


@dataclass(frozen=True, slots=True)
class PoseNetworkShape:
    """Hold what fixes the architecture of a `PoseNetwork`.

    `size`: side of the picture read, pixels, a multiple of 16. `widths`: channels at 1/2, 1/4, 1/8 and 1/16 of it, each
    a multiple of 8. `keypoints`: heat maps at 1/4. `attended`: how many of them also pick features. `hidden`: width of
    the last layers.
    """

    size: int = 64
    widths: tuple[int, int, int, int] = (32, 64, 128, 224)
    keypoints: int = 32
    attended: int = 6
    hidden: int = 256

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 16:
            raise ValueError(f"A pose network reads pictures whose side is a multiple of 16, got {self.size}.")
        if len(self.widths) != 4 or any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(f"A pose network needs four widths, each a multiple of 8, got {list(self.widths)}.")
        if not 1 <= self.attended <= self.keypoints or self.hidden < 1:
            raise ValueError("A pose network needs 1 ≤ attended ≤ keypoints and hidden ≥ 1.")

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> PoseNetworkShape:
        """Return the shape stored in a checkpoint; raise CheckpointError in one sentence where it is not one."""
        try:
            values = dict(config)
            widths = values.pop("widths")
            return cls(widths=tuple(int(width) for width in widths), **values)  # type: ignore[attr-defined, arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint does not describe a pose network of this version: {error}."
            ) from error


class ConvBlock(nn.Sequential):
    """Convolve, normalise in groups and rectify; group statistics keep a batch's scenes from mixing."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> None:
        """Build the block."""
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            nn.GroupNorm(8, channels_out),
            nn.SiLU(),
        )


class PoseNetwork(nn.Module):
    """Estimate gripper position and opening from a single RGB picture of a fixed camera.

    A small U-shaped convolutional network draws K heat maps; their expected coordinates (spatial soft-argmax), and the
    features under a few of them, are all that the last layers see. Nothing is flattened over the picture, so there is
    little room for remembering scenes. The first heat map is taught to lie on the gripper where its pixel is known.
    Source: Levine, Finn, Darrell, Abbeel (2016), "End-to-End Training of Deep Visuomotor Policies" (soft-
    argmax); Liu et al. (2018), "CoordConv" (coordinate channels).
    """

    pose_mean: Tensor
    pose_scale: Tensor
    coarse_grid: Tensor  # (H/4, W/4, 2)
    fine_grid: Tensor  # (H, W, 2)

    def __init__(self, shape: PoseNetworkShape | None = None) -> None:
        """Build an untrained network."""
        super().__init__()
        self.shape = shape or PoseNetworkShape()
        half, quarter, eighth, sixteenth = self.shape.widths
        self.stem = ConvBlock(5, half, kernel=5, stride=2)
        self.to_quarter = nn.Sequential(ConvBlock(half, quarter, stride=2), ConvBlock(quarter, quarter))
        self.to_eighth = nn.Sequential(ConvBlock(quarter, eighth, stride=2), ConvBlock(eighth, eighth))
        self.to_sixteenth = nn.Sequential(ConvBlock(eighth, sixteenth, stride=2), ConvBlock(sixteenth, sixteenth))
        self.up_eighth = nn.Conv2d(sixteenth, eighth, 1)
        self.mix_eighth = ConvBlock(eighth, eighth)
        self.up_quarter = nn.Conv2d(eighth, quarter, 1)
        self.mix_quarter = ConvBlock(quarter, quarter)
        self.heat = nn.Conv2d(quarter, self.shape.keypoints, 1)
        self.local = nn.Conv2d(eighth, eighth, 1)
        attended = self.shape.attended * (quarter + eighth)
        hidden = self.shape.hidden
        self.head = nn.Sequential(
            nn.Linear(3 * self.shape.keypoints + attended, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, POSE_SIZE),
        )
        with torch.no_grad():
            self.heat.weight *= 5.0  # flat heat maps pass hardly any gradient to where they look
        self.register_buffer("pose_mean", torch.tensor([0.0, 0.6, 0.2, 0.7]))
        self.register_buffer("pose_scale", torch.tensor([0.1, 0.1, 0.1, 0.3]))
        self.register_buffer("coarse_grid", _grid(self.shape.size // 4), persistent=False)
        self.register_buffer("fine_grid", _grid(self.shape.size), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised poses, float (N, 4), and keypoints, float (N, K, 2) as (column, row) in −1…1.

        `frames_NHWC`: uint8 (N, H, W, 3) RGB of any size. Raises ValueError for anything else.
        """
        small = shrink_frames(frames_NHWC, self.shape.size)
        pictures = small.permute(0, 3, 1, 2).to(self.pose_mean.dtype) * (2.0 / 255.0) - 1.0
        place = self.fine_grid.permute(2, 0, 1).expand(len(pictures), -1, -1, -1)
        features = torch.cat([pictures, place], dim=1).contiguous(memory_format=torch.channels_last)
        quarter = self.to_quarter(self.stem(features))
        eighth = self.to_eighth(quarter)
        sixteenth = self.to_sixteenth(eighth)
        eighth = self.mix_eighth(eighth + functional.interpolate(self.up_eighth(sixteenth), scale_factor=2.0))
        quarter = self.mix_quarter(quarter + functional.interpolate(self.up_quarter(eighth), scale_factor=2.0))
        coarse = functional.interpolate(self.local(eighth), scale_factor=2.0)
        return self._read(self.heat(quarter), torch.cat([quarter, coarse], dim=1))

    def _read(self, heat_BKHW: Tensor, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` returns; in single precision, since half a bfloat16 step is a tenth of a pixel."""
        with torch.autocast(heat_BKHW.device.type, enabled=False):
            weights = heat_BKHW.flatten(2).float().softmax(dim=-1)
            grid = self.coarse_grid.reshape(-1, 2).float()
            keypoints = weights @ grid
            variance = (weights @ grid.square().sum(-1, keepdim=True)).squeeze(-1) - keypoints.square().sum(-1)
            picked = weights[:, : self.shape.attended] @ features_BCHW.float().flatten(2).transpose(1, 2)
            spread = variance.clamp_min(1e-8).sqrt()
            values = self.head(torch.cat([keypoints.flatten(1), spread, picked.flatten(1)], dim=1))
        return values, keypoints

    def set_normalisation(self, poses: NDArray[np.float32]) -> None:
        """Take mean and spread from `poses`, float32 (N, 4), m and 0–1; raise ValueError when they are not finite."""
        if poses.ndim != 2 or poses.shape[1] != POSE_SIZE or not len(poses) or not np.all(np.isfinite(poses)):
            raise ValueError(f"Pose labels must be finite and shaped (N, {POSE_SIZE}), got {poses.shape}.")
        scale = np.maximum(poses.std(axis=0), 1e-2)
        self.pose_mean.copy_(torch.from_numpy(poses.mean(axis=0).astype(np.float32)))
        self.pose_scale.copy_(torch.from_numpy(scale.astype(np.float32)))

    def normalise(self, poses: Tensor) -> Tensor:
        """Return poses (…, 4) in metres and opening as unit-free numbers of mean 0 and spread 1."""
        return (poses - self.pose_mean.float()) / self.pose_scale.float()

    def unnormalise(self, values: Tensor) -> Tensor:
        """Undo `normalise`."""
        return values * self.pose_scale.float() + self.pose_mean.float()

    @torch.inference_mode()
    def estimate(
        self, frames: NDArray[np.uint8], batch_size: int = 256, precision: torch.dtype | None = None
    ) -> NDArray[np.float32]:
        """Return the poses in `frames`, uint8 (N, H, W, 3), as float32 (N, 4): x, y, z in m (world), opening in 0–1.

        `precision`: autocast type such as torch.bfloat16; None computes as the weights are stored.
        """
        device = self.pose_mean.device
        poses = []
        for begin in range(0, len(frames), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(frames[begin : begin + batch_size])).to(device)
            with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                values, _ = self(batch)
            poses.append(self.unnormalise(values).cpu().numpy())
        if not poses:
            return np.zeros((0, POSE_SIZE), np.float32)
        result: NDArray[np.float32] = np.concatenate(poses).astype(np.float32)
        result[:, 3] = np.clip(result[:, 3], 0.0, 1.0)
        return result


def _grid(size: int) -> Tensor:
    """Return (column, row) of each cell's centre, float (size, size, 2), in −1…1 from edge to edge."""
    centres = (torch.arange(size) + 0.5) / size * 2.0 - 1.0
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([columns, rows], dim=-1)


def save_pose_network(
    folder: str | Path, network: PoseNetwork, card: Mapping[str, object] | None = None, dtype: torch.dtype | None = None
) -> None:
    """Write the network to `folder` as safetensors and JSON; `dtype` stores the weights in that type."""
    save_model(folder, KIND, asdict(network.shape), network.state_dict(), card, dtype)


def load_pose_network(folder: str | Path) -> tuple[PoseNetwork, str]:
    """Return the network stored in `folder`, in evaluation mode, and the identity of its weights.

    Raises CheckpointError when the folder holds something else or tensors that do not fit the architecture it names.
    """
    stored = load_model(folder, KIND)
    network = PoseNetwork(PoseNetworkShape.from_config(stored.config))
    load_into(network, stored.tensors, folder)
    return network.eval(), stored.identity
