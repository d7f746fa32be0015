"""Train inverse dynamics from recorded episodes: what a batch and a loss are; the loop itself is `robot.core.training`.

Axes of tensors: B samples, F frames of a sample, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.augmentation import AugmentationSettings, augment
from policies.frame_pair_network import FramePairNetwork, FramePairShape, load_frame_pair, save_frame_pair
from policies.frame_set import FrameSource, draw_indices
from policies.pose_network import PoseNetwork, PoseNetworkShape, load_pose_network, save_pose_network
from robot.core.training import TrainingSettings, train

Batch = dict[str, Tensor]
MakeBatch = Callable[[np.random.Generator], Batch]
Card = Mapping[str, object]


def train_pose_network(
    sources: Sequence[FrameSource],
    folder: str | Path,
    settings: TrainingSettings,
    *,
    shape: PoseNetworkShape | None = None,
    augmentation: AugmentationSettings | None = None,
    card: Card | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """Train a pose network from nothing, write it to `folder` and return the last metrics.

    Each batch mixes the sources by their shares. The training state, for exact resume, lives in `folder`/training.
    `dtype` stores the weights in that type. Raises ValueError when a source is empty.
    """
    torch.manual_seed(settings.seed)
    network = PoseNetwork(shape)
    network.set_normalisation(np.concatenate([source.frames.poses for source in sources if source.share > 0]))
    return _fit_pose_network(network, sources, folder, settings, augmentation, card, dtype)


def finetune_pose_network(
    base: str | Path,
    sources: Sequence[FrameSource],
    folder: str | Path,
    settings: TrainingSettings,
    *,
    augmentation: AugmentationSettings | None = None,
    card: Card | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """Go on training the pose network stored in `base` and write it to `folder`; normalisation stays as it was.

    See `train_pose_network` for the other arguments.
    """
    network, _ = load_pose_network(base)
    return _fit_pose_network(network, sources, folder, settings, augmentation, card, dtype)


def _fit_pose_network(
    network: PoseNetwork,
    sources: Sequence[FrameSource],
    folder: str | Path,
    settings: TrainingSettings,
    augmentation: AugmentationSettings | None,
    card: Card | None,
    dtype: torch.dtype | None,
) -> dict[str, float]:
    network.train()
    batch = pose_batches(network, sources, settings.batch_size, augmentation or AugmentationSettings())
    scale_cm = network.pose_scale[:3].clone() * 100.0
    result = train(network, batch, pose_loss(scale_cm), Path(folder) / "training", settings, "pose network")
    network.load_state_dict(result.tensors)
    save_pose_network(folder, network, card, dtype)
    return {**result.metrics, "training_s": result.wall_s}


def pose_batches(
    network: PoseNetwork, sources: Sequence[FrameSource], batch_size: int, augmentation: AugmentationSettings
) -> MakeBatch:
    """Return a function that draws one augmented batch.

    Its entries: `frames` uint8 (B, H, W, 3); `targets` float (B, 4), normalised poses; `pixels` float (B, 2), the
    gripper's (column, row) in −1…1; `seen` float (B,), 1 where that is known.
    """
    candidates = [np.arange(len(source.frames)) for source in sources]
    shares = [source.share for source in sources]
    mean, scale = network.pose_mean.detach().cpu().clone(), network.pose_scale.detach().cpu().clone()

    def batch(rng: np.random.Generator) -> Batch:
        frames, poses, pixels = [], [], []
        for number, places in draw_indices(candidates, shares, batch_size, rng):
            chosen = sources[number].frames
            frames.append(chosen.frames[places])
            poses.append(chosen.poses[places])
            pixels.append(chosen.pixels[places])
        order = torch.from_numpy(rng.permutation(batch_size))
        frames_BHW3 = torch.from_numpy(np.concatenate(frames))[order]
        pixels_B2 = torch.from_numpy(np.concatenate(pixels))[order]
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return {
            "frames": augment(frames_BHW3[:, None], pixels_B2[:, None], generator, augmentation)[:, 0],
            "targets": (torch.from_numpy(np.concatenate(poses))[order] - mean) / scale,
            "pixels": pixels_B2.nan_to_num(0.5) * 2.0 - 1.0,
            "seen": (~pixels_B2.isnan().any(dim=1)).float(),
        }

    return batch


def pose_loss(
    scale_cm: Tensor, pixel_weight: float = 0.5
) -> Callable[[nn.Module, Mapping[str, Tensor], torch.Generator], tuple[Tensor, dict[str, float]]]:
    """Return the loss of a pose network: Huber on normalised poses, and the first keypoint on the gripper's pixel.

    `scale_cm`: float (3,), the spread of x, y, z that normalisation divided by, in cm, to report errors in cm.
    """

    def loss(
        module: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        values, keypoints = module(batch["frames"])
        error = (values - batch["targets"]).float()
        pose = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1)
        distance = (keypoints[:, 0].float() - batch["pixels"]).abs().sum(dim=1)
        pixel = (distance * batch["seen"]).sum() / batch["seen"].sum().clamp_min(1.0)
        with torch.no_grad():
            position_cm = (error[:, :3] * scale_cm.to(error.device)).norm(dim=1).mean()
        metrics = {
            "pose": float(pose.detach()),
            "pixel": float(pixel.detach()),
            "position_error_cm": float(position_cm),
        }
        return pose + pixel_weight * pixel, metrics

    return loss


def train_frame_pair(
    sources: Sequence[FrameSource],
    folder: str | Path,
    settings: TrainingSettings,
    *,
    shape: FramePairShape | None = None,
    augmentation: AugmentationSettings | None = None,
    card: Card | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """Train a frame-pair network from nothing, write it to `folder` and return the last metrics.

    Pairs lie `shape.chunk` steps apart within an episode. See `train_pose_network` for the other arguments.
    """
    torch.manual_seed(settings.seed)
    return _fit_frame_pair(FramePairNetwork(shape), sources, folder, settings, augmentation, card, dtype)


def finetune_frame_pair(
    base: str | Path,
    sources: Sequence[FrameSource],
    folder: str | Path,
    settings: TrainingSettings,
    *,
    augmentation: AugmentationSettings | None = None,
    card: Card | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, float]:
    """Go on training the frame-pair network stored in `base` and write it to `folder`; see `train_frame_pair`."""
    network, _ = load_frame_pair(base)
    return _fit_frame_pair(network, sources, folder, settings, augmentation, card, dtype)


def _fit_frame_pair(
    network: FramePairNetwork,
    sources: Sequence[FrameSource],
    folder: str | Path,
    settings: TrainingSettings,
    augmentation: AugmentationSettings | None,
    card: Card | None,
    dtype: torch.dtype | None,
) -> dict[str, float]:
    network.train()
    batch = frame_pair_batches(
        sources, network.shape.chunk, settings.batch_size, augmentation or AugmentationSettings()
    )
    result = train(network, batch, frame_pair_loss, Path(folder) / "training", settings, "frame pair")
    network.load_state_dict(result.tensors)
    save_frame_pair(folder, network, card, dtype)
    return {**result.metrics, "training_s": result.wall_s}


def frame_pair_batches(
    sources: Sequence[FrameSource], chunk: int, batch_size: int, augmentation: AugmentationSettings
) -> MakeBatch:
    """Return a function that draws one augmented batch of frame pairs `chunk` steps apart.

    Its entries: `now` and `goal` uint8 (B, H, W, 3); `actions` float (B, chunk, Da), those sent in between.
    """
    candidates = [source.frames.starts(chunk) for source in sources]
    shares = [source.share for source in sources]
    ahead = np.arange(chunk)

    def batch(rng: np.random.Generator) -> Batch:
        pairs, actions, pixels = [], [], []
        for number, places in draw_indices(candidates, shares, batch_size, rng):
            chosen = sources[number].frames
            ends = np.stack([places, places + chunk], axis=1)
            pairs.append(chosen.frames[ends])
            pixels.append(chosen.pixels[ends])
            actions.append(chosen.actions[places[:, None] + ahead])
        order = torch.from_numpy(rng.permutation(batch_size))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pairs_BF = torch.from_numpy(np.concatenate(pairs))[order]
        pixels_BF2 = torch.from_numpy(np.concatenate(pixels))[order]
        changed = augment(pairs_BF, pixels_BF2, generator, augmentation)
        return {
            "now": changed[:, 0].contiguous(),
            "goal": changed[:, 1].contiguous(),
            "actions": torch.from_numpy(np.concatenate(actions))[order],
        }

    return batch


def frame_pair_loss(
    module: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean squared error of a frame-pair network's actions, of which −1…1 are the limits."""
    network: FramePairNetwork = module.module if hasattr(module, "module") else module  # type: ignore[assignment]
    error = module(batch["now"], batch["goal"]) - network.normalise(batch["actions"]).clamp(-1.0, 1.0)
    loss = error.square().mean()
    return loss, {"action_error": float(error.detach().abs().mean())}
