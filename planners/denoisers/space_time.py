"""A factorised space-time U-Net: every block looks within a frame, then along time.

Axes: B clips, F frames, C latent channels, H and W latent rows and columns, L tokens, D token-state channels.
Inside, N = B·F pictures of K channels.
Source: Ko et al. (2024), "Learning to act from actionless videos through dense correspondences" (AVDC), section 3.2,
for the first frame beside every noisy frame and the factorised convolutions; here over latents, with cross-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, TemporalConvLayer, Upsample2D
from torch import Tensor, nn


class _TemporalAttention(nn.Module):
    """Let every place attend to itself at the other frames, with a learned embedding of time."""

    def __init__(self, width: int, heads: int, groups: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.norm = nn.GroupNorm(groups, width)
        self.position = nn.Parameter(torch.zeros(frames, width))
        self.block = BasicTransformerBlock(width, heads, width // heads)

    def forward(self, x_NKHW: Tensor) -> Tensor:
        height, columns = x_NKHW.shape[-2:]
        rows = self.norm(x_NKHW).unflatten(0, (-1, self.frames)).permute(0, 3, 4, 1, 2)
        rows = rows.flatten(0, 2) + self.position
        out = self.block(rows) - rows
        out = out.unflatten(0, (-1, height, columns)).permute(0, 3, 4, 1, 2).flatten(0, 1)
        return x_NKHW + cast(Tensor, out)


class _TextAttention(nn.Module):
    """Let every place attend to its own frame's other places, then to the text."""

    def __init__(self, width: int, heads: int, groups: int, token_width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.block = BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=token_width)

    def forward(self, x_NKHW: Tensor, tokens_NLD: Tensor, bias_N1L: Tensor) -> Tensor:
        rows = self.norm(x_NKHW).flatten(2).transpose(1, 2)
        out = self.block(rows, encoder_hidden_states=tokens_NLD, encoder_attention_mask=bias_N1L) - rows
        return x_NKHW + cast(Tensor, out.transpose(1, 2).unflatten(2, x_NKHW.shape[-2:]))


class _Block(nn.Module):
    """Convolve in space and along time, then, where asked, attend in space, to the text and along time."""

    def __init__(
        self, inputs: int, width: int, time_width: int, token_width: int, heads: int, groups: int, frames: int,
        attention: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.frames = frames
        self.space = ResnetBlock2D(
            in_channels=inputs,
            out_channels=width,
            temb_channels=time_width,
            groups=groups,
            groups_out=groups,
        )
        self.time = TemporalConvLayer(width, width, norm_num_groups=groups)
        self.text = _TextAttention(width, heads, groups, token_width) if attention else None
        self.along = _TemporalAttention(width, heads, groups, frames) if attention else None

    def forward(self, x_NKHW: Tensor, time_NK: Tensor, tokens_NLD: Tensor, bias_N1L: Tensor) -> Tensor:
        x_NKHW = self.time(self.space(x_NKHW, time_NK), num_frames=self.frames)
        if self.text is not None and self.along is not None:
            x_NKHW = self.along(self.text(x_NKHW, tokens_NLD, bias_N1L))
        return x_NKHW


class SpaceTimeUNet(nn.Module):
    """Denoise a clip frame by frame in space and place by place along time, the first latent beside every frame.

    `widths`: channels at each resolution, each half as fine as the one before; `attention`: at which of them there is
    attention; the bottom always has it. Costs about F times what a `StackedUNet` of the same widths costs.
    """

    kind: ClassVar[str] = "space_time_unet"

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 192),
        attention: Sequence[bool] = (False, True, True),
        frames: int = 8,
        latent_channels: int = 4,
        text_dim: int = 384,
        heads: int = 4,
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
            "groups": groups,
        }
        self.frames = frames
        self.latent_channels = latent_channels
        time_width, token_width = 4 * widths[0], max(widths)
        self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, token_width))
        self.clock = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.clock_embedding = TimestepEmbedding(widths[0], time_width)
        self.enter = nn.Conv2d(2 * latent_channels, widths[0], 3, padding=1)

        def block(inputs: int, width: int, attends: bool) -> _Block:
            return _Block(inputs, width, time_width, token_width, heads, groups, frames, attends)

        before = [widths[0], *widths[:-1]]
        levels = range(len(widths))
        self.down = nn.ModuleList(block(before[i], widths[i], attention[i]) for i in levels)
        self.coarser = nn.ModuleList(Downsample2D(width, use_conv=True) for width in widths[:-1])
        self.bottom = block(widths[-1], widths[-1], True)
        self.up = nn.ModuleList(block(2 * widths[i], widths[i], attention[i]) for i in levels)
        self.finer = nn.ModuleList(
            Upsample2D(widths[i], use_conv=True, out_channels=widths[i - 1]) for i in range(1, len(widths))
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(groups, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], latent_channels, 3, padding=1)
        )
        nn.init.zeros_(cast(nn.Conv2d, self.leave[-1]).weight)
        nn.init.zeros_(cast(Tensor, cast(nn.Conv2d, self.leave[-1]).bias))

    def forward(
        self, latents_BFCHW: Tensor, timesteps_B: Tensor, first_BCHW: Tensor, tokens_BLD: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """Return the prediction (B, F, C, H, W) for noisy latents of that shape.

        `timesteps_B`: int64, 0 … training timesteps − 1. `first_BCHW`: the latent of the frame planned from.
        `tokens_BLD`: token states, float. `mask_BL`: bool, true where there is a token.
        """
        dtype = latents_BFCHW.dtype
        first = first_BCHW[:, None].to(dtype).expand_as(latents_BFCHW)
        x = self.enter(torch.cat([latents_BFCHW, first], dim=2).flatten(0, 1))
        clock = self.clock_embedding(self.clock(timesteps_B).to(dtype)).repeat_interleave(self.frames, 0)
        tokens = self.text(tokens_BLD.to(dtype)).repeat_interleave(self.frames, 0)
        bias = torch.zeros(mask_BL.shape, dtype=dtype, device=x.device).masked_fill(~mask_BL, -1e4)
        bias = bias[:, None].repeat_interleave(self.frames, 0)
        kept = []
        for level, down in enumerate(self.down):
            x = down(x, clock, tokens, bias)
            kept.append(x)
            if level < len(self.coarser):
                x = self.coarser[level](x)
        x = self.bottom(x, clock, tokens, bias)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([x, kept[level]], dim=1), clock, tokens, bias)
            if level > 0:
                x = self.finer[level - 1](x)
        return cast(Tensor, self.leave(x)).unflatten(0, (-1, self.frames))
