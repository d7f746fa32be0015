"""What a planner sees of a camera's picture: the middle square, made smaller."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Image


class SquareView:
    """Cut the largest square out of a picture's middle and bring it to `side` × `side` pixels.

    `size` is that of the pictures, (H, W) in pixels. Pictures that are such squares already are handed on as they are.
    """

    def __init__(self, size: tuple[int, int], side: int) -> None:
        if side < 1 or min(size) < 1:
            raise ValueError(f"A view needs sizes of at least one pixel, got {size} and {side}.")
        height, width = size
        self._edge = min(height, width)
        self._top, self._left = (height - self._edge) // 2, (width - self._edge) // 2
        self._is_whole = size == (side, side)
        self._side = side
        self._places, self._weights = taps(self._edge, side)

    @property
    def size(self) -> tuple[int, int]:
        """Return the size (H, W) of what is seen, in pixels."""
        return (self._side, self._side)

    def of(self, image: Image) -> Image:
        """Return the view, uint8 (side, side, 3), of a picture, uint8 (H, W, 3)."""
        if self._is_whole:
            return image
        square = image[self._top : self._top + self._edge, self._left : self._left + self._edge]
        if self._edge == self._side:
            return np.ascontiguousarray(square)
        rows = np.zeros((self._side, self._edge, 3), np.float32)
        seen = np.zeros((self._side, self._side, 3), np.float32)
        for places, weights in zip(self._places, self._weights, strict=True):
            rows += weights[:, None, None] * square[places]
        for places, weights in zip(self._places, self._weights, strict=True):
            seen += weights[:, None] * rows[:, places]
        return np.rint(seen).astype(np.uint8)

    def matrix(self, world_to_image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return world_to_image, float64 (3, 4), of the view, for that of the pictures; pixel centres are whole."""
        return square_matrix(world_to_image, (self._top, self._left), self._edge, self._side)


def taps(edge: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return which of `edge` pixels in a row make each of `side`, (K, side), and their weights, float32 (K, side).

    A smaller row is made of the averages over what each pixel covers, a larger one of straight lines between pixels,
    as OpenCV's INTER_AREA and INTER_LINEAR do it.
    """
    scale = edge / side
    if side < edge:
        low, high = np.arange(side) * scale, np.arange(1, side + 1) * scale
        places = np.floor(low).astype(np.intp) + np.arange(int(np.ceil(scale)) + 1)[:, None]
        weights = np.clip(np.minimum(high, places + 1) - np.maximum(low, places), 0.0, None) / scale
    else:
        centres = np.clip((np.arange(side) + 0.5) * scale - 0.5, 0.0, edge - 1.0)
        places = np.floor(centres).astype(np.intp) + np.arange(2)[:, None]
        weights = 1.0 - np.abs(centres - places)
    return np.minimum(places, edge - 1), weights.astype(np.float32)


def square_matrix(
    world_to_image: NDArray[np.float64], corner: tuple[int, int], edge: int, side: int
) -> NDArray[np.float64]:
    """Return world_to_image, float64 (3, 4), of a square of pictures that is brought to `side` pixels.

    `corner`: row and column of its upper left pixel; `edge`: its side in the pictures.
    """
    (top, left), scale = corner, side / edge
    change = np.array(
        [[scale, 0.0, (0.5 - left) * scale - 0.5], [0.0, scale, (0.5 - top) * scale - 0.5], [0.0, 0.0, 1.0]]
    )
    return np.asarray(change @ world_to_image, np.float64)
