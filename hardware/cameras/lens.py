"""What a camera's lens does: focal lengths and principal point."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robot.errors import SailError
from robot.protocols import Camera

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels of a picture of the camera's size, the centres of pixels being whole."""


def checked_intrinsics(camera: str, values: Sequence[float] | None) -> Intrinsics | None:
    """Return intrinsics as they were written in a camera's settings; raise SailError for what cannot be."""
    if values is None:
        return None
    numbers = [float(value) for value in values]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[:2]) <= 0:
        raise SailError(
            f"intrinsics of camera {camera!r} must be fx, fy, cx, cy in pixels, such as [615.2, 614.9, 319.5, 239.5], "
            f"got {list(values)}."
        )
    fx, fy, cx, cy = numbers
    return fx, fy, cx, cy


def intrinsics_of(camera: Camera) -> Intrinsics | None:
    """Return what a camera says of its lens, None where it does not."""
    known: Intrinsics | None = getattr(camera, "intrinsics", None)
    return known


def rate_of(camera: Camera) -> float:
    """Return how many pictures a second a camera is meant to give, 0 where it does not say."""
    return float(getattr(camera, "rate_hz", 0.0))
