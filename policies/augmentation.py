"""Make pictures look as if they came from other scenes, without touching the gripper.

Axes of tensors: N samples, F frames of one sample (treated alike), H rows, W columns, 2 = (column, row).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Reconstruct = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Pass pictures through an autoencoder and back: uint8 (N, H, W, 3) to the same shape."""


@dataclass(frozen=True, slots=True)
class AugmentationSettings:
    """Hold the strength of every change; zero shares and strengths leave pictures as they are.

    `rectangles`: pasted into a sample, each with probability `rectangle_share`, of sides up to `rectangle_side` of the
    picture; `plain_share` of them is one colour instead of another scene. `protected`: half side of the square around
    the gripper that is never pasted over, as a share of the picture's side; up to `protected_margin` more is left at
    random on every side, so that the edges of what was pasted do not give the gripper away. `brightness`, `contrast`
    and `colour` are largest relative changes; `noise` is the largest standard deviation, 0–1; `blur_share` of the
    samples is blurred. `changed_share` of the samples is changed at all.
    """

    changed_share: float = 0.85
    rectangles: int = 6
    rectangle_share: float = 0.75
    rectangle_side: float = 0.8
    plain_share: float = 0.15
    protected: float = 0.11
    protected_margin: float = 0.12
    brightness: float = 0.2
    contrast: float = 0.25
    colour: float = 0.15
    noise: float = 0.04
    blur_share: float = 0.3


def augment(
    frames_NFHWC: Tensor, pixels_NF2: Tensor, generator: torch.Generator, settings: AugmentationSettings
) -> Tensor:
    """Return changed copies of uint8 (N, F, H, W, 3) pictures, same shape and type.

    `pixels_NF2`: the gripper's (column, row) in 0–1 of the picture's width and height, NaN where unknown; a sample with
    an unknown pixel gets no rectangles. The frames of a sample get the same rectangles and colours, so that what
    moves between them stays the only difference. Raises ValueError for other shapes.
    """
    if frames_NFHWC.dtype != torch.uint8 or frames_NFHWC.ndim != 5:
        raise ValueError(f"Frames must be uint8 (N, F, H, W, 3), got {frames_NFHWC.dtype} {tuple(frames_NFHWC.shape)}.")
    if pixels_NF2.shape != (*frames_NFHWC.shape[:2], 2):
        raise ValueError(f"Gripper pixels must be shaped (N, F, 2) as the frames, got {tuple(pixels_NF2.shape)}.")
    pasted = paste_rectangles(frames_NFHWC, pixels_NF2, generator, settings)
    changed = change_light(pasted, generator, settings)
    chosen = torch.rand(len(frames_NFHWC), generator=generator) < settings.changed_share
    return torch.where(chosen[:, None, None, None, None], changed, frames_NFHWC)


def paste_rectangles(
    frames_NFHWC: Tensor, pixels_NF2: Tensor, generator: torch.Generator, settings: AugmentationSettings
) -> Tensor:
    """Paste rectangles of other samples, or of one colour, beside the gripper; see `augment` for the arguments.

    Every rectangle lies wholly left of, right of, above or below a box around the grippers of its sample, and leaves
    out the gripper of the sample it is taken from: there is one gripper in the result, where the label says.
    """
    count, _, height, width, _ = frames_NFHWC.shape
    known = ~pixels_NF2.isnan().flatten(1).any(dim=1)
    low, high = _protected_box(pixels_NF2, generator, settings)
    mirrored = torch.rand(count, generator=generator) < 0.5
    result = frames_NFHWC
    for _ in range(settings.rectangles):
        donor = (torch.arange(count) + torch.randint(1, max(count, 2), (count,), generator=generator)) % count
        first, last = _rectangle_beside(low, high, generator, settings)
        used = (torch.rand(count, generator=generator) < settings.rectangle_share) & known & known[donor]
        mask_NHW = _box_mask(first, last, height, width) & used[:, None, None]
        pictures, pixels = frames_NFHWC[donor], pixels_NF2[donor]
        flip = mirrored[donor]
        pictures = torch.where(flip[:, None, None, None, None], pictures.flip(3), pictures)
        pixels = torch.where(flip[:, None, None], pixels * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]), pixels)
        plain = torch.rand(count, generator=generator) < settings.plain_share
        colour = torch.randint(0, 256, (count, 1, 1, 1, 3), generator=generator, dtype=torch.uint8)
        other = _box_mask(pixels.amin(1) - settings.protected, pixels.amax(1) + settings.protected, height, width)
        mask_NHW = mask_NHW & (~other | plain[:, None, None])
        paint = torch.where(plain[:, None, None, None, None], colour, pictures)
        result = torch.where(mask_NHW[:, None, :, :, None], paint, result)
    return result


def change_light(frames_NFHWC: Tensor, generator: torch.Generator, settings: AugmentationSettings) -> Tensor:
    """Change brightness, contrast and colour, blur and add noise, alike for the frames of a sample (noise apart)."""
    count = len(frames_NFHWC)

    def around_zero(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * 2.0 - 1.0

    values = frames_NFHWC.float() / 255.0
    blurred = _blur(values)
    amount = torch.rand(count, 1, 1, 1, 1, generator=generator)
    amount = amount * (torch.rand(count, 1, 1, 1, 1, generator=generator) < settings.blur_share)
    values = torch.lerp(values, blurred, amount)
    values = values * (1.0 + settings.colour * around_zero(1, 1, 1, 3))
    grey = values.mean(dim=-1, keepdim=True)
    values = torch.lerp(grey, values, 1.0 + settings.colour * around_zero(1, 1, 1, 1))
    middle = values.mean(dim=(1, 2, 3, 4), keepdim=True)
    values = torch.lerp(middle, values, 1.0 + settings.contrast * around_zero(1, 1, 1, 1))
    values = values * (1.0 + settings.brightness * around_zero(1, 1, 1, 1))
    deviation = settings.noise * torch.rand(count, 1, 1, 1, 1, generator=generator)
    values = values + deviation * torch.randn(values.shape, generator=generator)
    return (values * 255.0).round().clamp(0, 255).to(torch.uint8)


def replace_by_reconstructions(
    frames: NDArray[np.uint8], reconstruct: Reconstruct, share: float, rng: np.random.Generator, batch_size: int = 32
) -> NDArray[np.uint8]:
    """Return `frames`, uint8 (N, H, W, 3), with a `share` of them, chosen at random, passed through `reconstruct`.

    A pose network reads what an autoencoder decoded, so it should have seen its blur. Raises ValueError when
    `reconstruct` gives another shape or type back.
    """
    chosen = np.flatnonzero(rng.random(len(frames)) < share)
    result = frames.copy()
    for begin in range(0, len(chosen), batch_size):
        places = chosen[begin : begin + batch_size]
        decoded = reconstruct(frames[places])
        if decoded.shape != frames[places].shape or decoded.dtype != np.uint8:
            raise ValueError(
                f"Reconstructions must be uint8 {frames[places].shape}, got {decoded.dtype} {decoded.shape}."
            )
        result[places] = decoded
    return result


def _protected_box(
    pixels_NF2: Tensor, generator: torch.Generator, settings: AugmentationSettings
) -> tuple[Tensor, Tensor]:
    """Return the low and high corners, (N, 2), of a box around each sample's grippers, margins drawn at random."""
    count = len(pixels_NF2)
    low_margin = settings.protected + settings.protected_margin * torch.rand(count, 2, generator=generator)
    high_margin = settings.protected + settings.protected_margin * torch.rand(count, 2, generator=generator)
    return pixels_NF2.amin(dim=1) - low_margin, pixels_NF2.amax(dim=1) + high_margin


def _rectangle_beside(
    low: Tensor, high: Tensor, generator: torch.Generator, settings: AugmentationSettings
) -> tuple[Tensor, Tensor]:
    """Return corners, (N, 2), of one rectangle a sample that does not reach into the box from `low` to `high`."""
    count = len(low)
    side = settings.rectangle_side * (0.15 + 0.85 * torch.rand(count, 2, generator=generator))
    first = torch.rand(count, 2, generator=generator) * (1.0 + side) - side
    room = torch.cat([low, 1.0 - high], dim=1).clamp_min(0.0)  # left, above, right, below
    where = torch.multinomial(room.nan_to_num(1.0) + 1e-6, 1, generator=generator)
    on_axis, before = torch.arange(2)[None, :] == where % 2, where < 2
    length = torch.minimum(side, torch.where(before, low, 1.0 - high).clamp_min(0.0))
    slack = torch.where(before, low, 1.0 - high) - length
    beside = torch.where(before, 0.0, high) + slack * torch.rand(count, 2, generator=generator)
    first = torch.where(on_axis, beside, first)
    return first, torch.where(on_axis, beside + length, first + side)


def _box_mask(first: Tensor, last: Tensor, height: int, width: int) -> Tensor:
    """Return bool (N, H, W): pixels whose centres lie in the boxes with corners (column, row) in 0–1."""
    columns = (torch.arange(width) + 0.5) / width
    rows = (torch.arange(height) + 0.5) / height
    across = (columns >= first[:, :1]) & (columns < last[:, :1])
    down = (rows >= first[:, 1:]) & (rows < last[:, 1:])
    return down[:, :, None] & across[:, None, :]


def _blur(values: Tensor) -> Tensor:
    """Return (N, F, H, W, 3) smoothed by two 3×3 boxes."""
    count, frames, height, width, _ = values.shape
    pictures = values.reshape(-1, height, width, 3).permute(0, 3, 1, 2)
    for _ in range(2):
        pictures = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return pictures.permute(0, 2, 3, 1).reshape(count, frames, height, width, 3)
