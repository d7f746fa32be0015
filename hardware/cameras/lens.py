"""What a camera's settings say of it, checked, and what a camera says of itself, where what cannot be is not known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

from hardware.wire.reports import Intrinsics
from robot.core.errors import SailError
from robot.core.protocols import Camera


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


def checked_rate_hz(camera: str, rate_hz: float) -> float:
    """Return a rate as it was written in a camera's settings; raise SailError for what cannot be."""
    if not 0.0 < rate_hz < math.inf:
        raise SailError(f"rate_hz of camera {camera!r} must be a positive number of pictures a second, got {rate_hz}.")
    return float(rate_hz)


def checked_latency_s(camera: str, latency_s: float) -> float:
    """Return a latency as it was written in a camera's settings; raise SailError for what cannot be."""
    if not 0.0 <= latency_s < math.inf:
        raise SailError(
            f"latency_s of camera {camera!r} must be how many seconds before it came a picture was taken, 0 or more, "
            f"got {latency_s}."
        )
    return float(latency_s)


def intrinsics_of(camera: Camera) -> Intrinsics | None:
    """Return what a camera says of its lens, None where it does not, or says what cannot be."""
    with contextlib.suppress(Exception):  # a camera of the user's own may say anything
        return checked_intrinsics(camera.name, getattr(camera, "intrinsics", None))
    return None


def rate_of(camera: Camera) -> float:
    """Return how many pictures a second a camera is meant to give, 0 where it does not say, or says what cannot be."""
    with contextlib.suppress(Exception):
        rate_hz = float(getattr(camera, "rate_hz", 0.0))
        return rate_hz if 0.0 < rate_hz < math.inf else 0.0
    return 0.0
