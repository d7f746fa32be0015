"""The space plans are imagined in: an autoencoder between pictures and small latent grids.

Ours is `diffusers`' AutoencoderKL over 2×2 pixel blocks folded into channels, which skips the costliest level: 128 px
becomes 16×16×4 at about two GFLOP a decoded frame. Stable Diffusion's loads through the same class.

Axes: B batch or number of frames, C channels, H W pixels or latent cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from robot.core.checkpoints import ABOUT, identity_of, load_into, load_model, save_model
from robot.core.errors import CheckpointError
from robot.core.training import resolve_precision

KIND = "frame-autoencoder"


class Autoencoder(Protocol):
    """What planners need of an autoencoder; `FrameAutoencoder` is one."""

    @property
    def identity(self) -> str:
        """Return a short hash of the weights."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """Return latents, float (N, C, h, w), of frames, uint8 (N, H, W, 3)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return frames, uint8 (N, H, W, 3), of latents, float (N, C, h, w)."""
        ...


class FrameAutoencoder(nn.Module):
    """Encode uint8 pictures to latents normalised per channel, and back."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128),
        layers_per_block: int = 1,
        latent_channels: int = 4,
        fold: int = 2,
        norm_groups: int = 16,
        image_size: int = 128,
    ) -> None:
        """Build untrained weights; `fold` is the side of the pixel blocks folded into channels."""
        super().__init__()
        self.config: dict[str, Any] = {
            "widths": list(widths),
            "layers_per_block": layers_per_block,
            "latent_channels": latent_channels,
            "fold": fold,
            "norm_groups": norm_groups,
            "image_size": image_size,
        }
        channels = 3 * fold * fold
        network = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=tuple(widths),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_groups,
            sample_size=image_size // fold,
            mid_block_add_attention=False,
        )
        self._adopt(network, fold, image_size)

    def _adopt(self, network: AutoencoderKL, fold: int, image_size: int) -> None:
        self.network = network.to(memory_format=torch.channels_last)
        self.fold = fold
        self.image_size = image_size
        self.latent_channels = int(network.config.latent_channels)
        self.reduction = fold * 2 ** (len(network.config.block_out_channels) - 1)
        if image_size < 1 or image_size % self.reduction:
            raise ValueError(
                f"This autoencoder's image_size must be a multiple of {self.reduction} px, got {image_size}."
            )
        self.register_buffer("latent_mean", torch.zeros(1, self.latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(1, self.latent_channels, 1, 1))
        self._identity = ""

    @classmethod
    def from_diffusers(cls, folder: str | Path, image_size: int = 512) -> FrameAutoencoder:
        """Wrap a pretrained AutoencoderKL (such as Stable Diffusion's `vae` folder); reads safetensors only.

        Raises CheckpointError where the folder holds none; nothing is downloaded.
        """
        if not (Path(folder) / "config.json").is_file():
            raise CheckpointError(
                f"There is no autoencoder of the diffusers library at {folder}: copy Stable Diffusion's `vae` folder "
                "(config.json and safetensors weights) there, or name where it is; docs/adaptation.md has the commands."
            )
        try:
            network = AutoencoderKL.from_pretrained(str(folder), use_safetensors=True, local_files_only=True)
        except (OSError, ValueError) as problem:
            raise CheckpointError(f"{folder} holds no AutoencoderKL in safetensors: {problem}.") from None
        return cls.around(network, image_size, str(folder))

    @classmethod
    def around(cls, network: AutoencoderKL, image_size: int = 512, name: str = "") -> FrameAutoencoder:
        """Wrap an AutoencoderKL, its latents scaled as its configuration says; `name` is where it came from."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = {"diffusers": name, "image_size": image_size}
        model._adopt(network, 1, image_size)
        model.latent_std.fill_(1.0 / float(network.config.scaling_factor))
        return model.eval()

    @classmethod
    def load(cls, folder: str | Path, image_size: int = 512) -> FrameAutoencoder:
        """Read weights written by `save`, or those of another AutoencoderKL for frames of `image_size` pixels.

        Raises CheckpointError where the folder holds neither.
        """
        # A folder called `vae` is one of diffusers': what is said where it is missing should be about that.
        if not (Path(folder) / ABOUT).exists() and (
            (Path(folder) / "config.json").exists() or Path(folder).name == "vae"
        ):
            return cls.from_diffusers(folder, image_size)
        stored = load_model(folder, KIND)
        try:
            model = cls(**stored.config)
        except (TypeError, ValueError) as problem:
            raise CheckpointError(
                f"The autoencoder in {folder} is described in a way this version does not read ({problem})."
            ) from None
        load_into(model, stored.tensors, folder)
        model._identity = stored.identity
        return model.eval()

    def save(self, folder: str | Path, card: Mapping[str, Any] | None = None, half: bool = False) -> str:
        """Write the weights (float16 when `half`) and return their identity."""
        return save_model(folder, KIND, self.config, self.state_dict(), card, torch.float16 if half else None)

    @property
    def identity(self) -> str:
        """Return a short hash of the weights."""
        if not self._identity:
            self._identity = identity_of(self.state_dict())
        return self._identity

    @property
    def latent_size(self) -> int:
        """Return the side of the latent grid of a square picture of `image_size`."""
        return self.image_size // self.reduction

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError unless this autoencoder can take pictures of that size."""
        if height % self.reduction or width % self.reduction:
            raise ValueError(
                f"The autoencoder takes sides that are multiples of {self.reduction} px, got {height}×{width}; "
                f"set image_size to {self.image_size}, the size it was trained at."
            )

    def encode_mean(self, frames_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, raw (B, 4, h, w), of uint8 pictures (B, H, W, 3)."""
        self.check_size(frames_BHWC.shape[1], frames_BHWC.shape[2])
        posterior = self.network.encode(self._fold(frames_BHWC)).latent_dist
        return posterior.mean, posterior.logvar

    @torch.no_grad()
    def encode(self, frames_BHWC: Tensor, chunk: int = 32) -> Tensor:
        """Return latents float32 (B, C, H/r, W/r), about zero mean and unit variance, of uint8 (B, H, W, 3)."""
        parts = [self.encode_mean(part.to(self.latent_mean.device))[0].float() for part in frames_BHWC.split(chunk)]
        return (torch.cat(parts) - self.latent_mean) / self.latent_std

    @torch.no_grad()
    def decode(self, latents_BCHW: Tensor, chunk: int = 32) -> Tensor:
        """Return uint8 pictures (B, H, W, 3) of normalised latents (B, C, h, w)."""
        raw = latents_BCHW * self.latent_std + self.latent_mean
        return torch.cat([_to_uint8(self.decode_raw(part)) for part in raw.split(chunk)])

    def decode_raw(self, raw_BCHW: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) in −1 … 1 of raw latents."""
        decoded: Tensor = self.network.decode(raw_BCHW.contiguous(memory_format=torch.channels_last)).sample
        return functional.pixel_shuffle(decoded, self.fold) if self.fold > 1 else decoded

    @torch.no_grad()
    def reconstruct(self, frames_BHWC: Tensor) -> Tensor:
        """Return what encoding and decoding leaves of uint8 pictures (B, H, W, 3)."""
        return self.decode(self.encode(frames_BHWC))

    def _fold(self, frames_BHWC: Tensor) -> Tensor:
        pictures = to_pictures(frames_BHWC)
        folded = functional.pixel_unshuffle(pictures, self.fold) if self.fold > 1 else pictures
        return folded.contiguous(memory_format=torch.channels_last)


def to_pictures(frames_BHWC: Tensor) -> Tensor:
    """Return pictures (B, 3, H, W) in −1 … 1 of uint8 ones (B, H, W, 3)."""
    return frames_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _to_uint8(pictures_BCHW: Tensor) -> Tensor:
    scaled = (pictures_BCHW.float() + 1.0) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def precision_context(model: nn.Module, precision: str) -> torch.autocast:
    """Return the autocast context inference runs under on the model's device."""
    device = next(model.parameters()).device
    bf16 = resolve_precision(precision, device)  # type: ignore[arg-type]
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
