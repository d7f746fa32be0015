"""What a planner sees of a camera's picture: the middle square, resized without OpenCV and as OpenCV does it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hardware.client.views import SquareView


@pytest.mark.parametrize(
    ("size", "side", "most"),
    [((480, 640), 128, 0), ((720, 1280), 160, 0), ((480, 640), 240, 1), ((100, 131), 77, 1), ((64, 48), 96, 1)],
)
def test_a_view_is_the_middle_square_as_opencv_resizes_it(size: tuple[int, int], side: int, most: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    edge = min(size)
    top, left = (size[0] - edge) // 2, (size[1] - edge) // 2
    square = picture[top : top + edge, left : left + edge]
    method = cv2.INTER_AREA if side < edge else cv2.INTER_LINEAR
    seen, expected = SquareView(size, side).of(picture), cv2.resize(square, (side, side), interpolation=method)
    assert seen.shape == (side, side, 3) and seen.dtype == np.uint8
    # OpenCV rounds a half up where it halves a picture, and computes in fixed point where it enlarges one.
    assert np.abs(seen.astype(int) - expected).max() <= most


def test_a_square_of_the_size_asked_for_is_handed_on_as_it_is() -> None:
    picture = np.zeros((96, 96, 3), np.uint8)
    assert SquareView((96, 96), 96).of(picture) is picture
    cut = SquareView((96, 128), 96).of(np.arange(96 * 128 * 3).astype(np.uint8).reshape(96, 128, 3))
    np.testing.assert_array_equal(cut, np.arange(96 * 128 * 3).astype(np.uint8).reshape(96, 128, 3)[:, 16:112])


def test_what_is_one_colour_stays_it() -> None:
    picture = np.full((61, 87, 3), (13, 128, 255), np.uint8)
    for side in (7, 60, 150):
        assert (SquareView((61, 87), side).of(picture) == (13, 128, 255)).all()
