"""A plain 2-D U-Net that sees the frames of a clip stacked over channels.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns, L tokens, D token-state channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn


class StackedUNet(nn.Module):
    """Denoise a clip as one picture of F·C channels, with the first frame's latent as C channels more.

    `widths`: channels at each resolution, each half as fine as the one before. `attention`: at which of them the
    U-Net attends to itself and to the text; it always does so at its bottom. The cheap kind: one 2-D pass whatever F.
    """

    kind: ClassVar[str] = "stacked_unet"

    def __init__(
        self,
        widths: Sequence[int] = (64, 192, 256),
        attention: Sequence[bool] = (False, True, False),
        frames: int = 8,
        latent_channels: int = 4,
        text_dim: int = 384,
        heads: int = 4,
        blocks: int = 1,
        groups: int = 16,
    ) -> None:
        super().__init__()
        if len(widths) != len(attention):
            raise ValueError(f"{len(widths)} widths need as many attention flags, got {len(attention)}.")
        self.config: dict[str, Any] = {
            "kind": self.kind,
            "widths": list(widths),
            "attention": list(attention),
            "frames": frames,
            "latent_channels": latent_channels,
            "text_dim": text_dim,
            "heads": heads,
            "blocks": blocks,
            "groups": groups,
        }
        self.frames = frames
        self.latent_channels = latent_channels
        token_width = max(widths)
        self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, token_width))
        self.unet = UNet2DConditionModel(
            in_channels=(frames + 1) * latent_channels,
            out_channels=frames * latent_channels,
            block_out_channels=tuple(widths),
            layers_per_block=blocks,
            down_block_types=tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attention),
            up_block_types=tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(attention)),
            cross_attention_dim=token_width,
            attention_head_dim=heads,  # diffusers means the number of heads
            norm_num_groups=groups,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)
        self.unet.to(memory_format=torch.channels_last)

    def forward(
        self, latents_BFCHW: Tensor, timesteps_B: Tensor, first_BCHW: Tensor, tokens_BLD: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """Return the prediction (B, F, C, H, W) for noisy latents of that shape.

        `timesteps_B`: int64, 0 … training timesteps − 1. `first_BCHW`: the latent of the frame planned from.
        `tokens_BLD`: token states, float. `mask_BL`: bool, true where there is a token.
        """
        stacked = torch.cat([first_BCHW.to(latents_BFCHW.dtype), latents_BFCHW.flatten(1, 2)], dim=1)
        prediction = self.unet(
            stacked.contiguous(memory_format=torch.channels_last),
            timesteps_B,
            encoder_hidden_states=self.text(tokens_BLD.to(latents_BFCHW.dtype)),
            encoder_attention_mask=mask_BL,
            return_dict=False,
        )[0]
        return prediction.unflatten(1, (self.frames, self.latent_channels))
