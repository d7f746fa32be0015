"""What a planner sees of a camera's picture: the middle square, made smaller."""

from __future__ import annotations

from typing import Any

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
        self._cv2: Any = None
        if self._edge != side:
            import cv2

            self._cv2 = cv2

    @property
    def size(self) -> tuple[int, int]:
        """Return the size (H, W) of what is seen, in pixels."""
        return (self._side, self._side)

    def of(self, image: Image) -> Image:
        """Return the view, uint8 (side, side, 3), of a picture, uint8 (H, W, 3)."""
        if self._is_whole:
            return image
        square = image[self._top : self._top + self._edge, self._left : self._left + self._edge]
        if self._cv2 is None:
            return np.ascontiguousarray(square)
        smaller = self._edge > self._side
        method = self._cv2.INTER_AREA if smaller else self._cv2.INTER_LINEAR
        return np.asarray(self._cv2.resize(square, (self._side, self._side), interpolation=method), np.uint8)

    def matrix(self, world_to_image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return world_to_image, float64 (3, 4), of the view, for that of the pictures; pixel centres are whole."""
        return square_matrix(world_to_image, (self._top, self._left), self._edge, self._side)


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
