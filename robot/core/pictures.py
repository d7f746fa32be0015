"""Make pictures smaller the one way that training and use agree on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def shrink_frames(frames_NHWC: Tensor, size: int) -> Tensor:
    """Return uint8 (N, H, W, 3) pictures as uint8 (N, size, size, 3), averaging over the pixels that merge.

    Pictures of that size come back untouched; smaller ones are enlarged bilinearly.
    """
    if frames_NHWC.dtype != torch.uint8 or frames_NHWC.ndim != 4 or frames_NHWC.shape[-1] != 3:
        raise ValueError(f"Frames must be uint8 (N, H, W, 3), got {frames_NHWC.dtype} {tuple(frames_NHWC.shape)}.")
    height, width = frames_NHWC.shape[1:3]
    if (height, width) == (size, size):
        return frames_NHWC
    frames_NCHW = frames_NHWC.permute(0, 3, 1, 2).float()
    if height >= size and width >= size:
        small = functional.interpolate(frames_NCHW, size=(size, size), mode="area")
    else:
        small = functional.interpolate(frames_NCHW, size=(size, size), mode="bilinear", align_corners=False)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
