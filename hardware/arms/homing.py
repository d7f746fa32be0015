"""How fast an arm goes home."""

from __future__ import annotations

import numpy as np

from robot.core.joints import ArmDescription, Joints

SHARE, HOME_SHARE = 0.9, 0.3
"""Shares of an arm's limits by default: of its velocity limit that is used, and of that on the way home."""
LEAST_HOME_SPEED = {"rad": 0.2, "m": 0.05}
"""Home is no slower than that, per unit and second, where an arm's limits allow it."""


def home_speeds(description: ArmDescription, share: float = SHARE, home_share: float = HOME_SHARE) -> Joints:
    """Return how fast each joint goes home, float64 (J,), in its unit a second.

    An arm whose driver slows it down already need not be slowed down again and again.
    """
    velocity = share * description.velocity
    least = np.array([LEAST_HOME_SPEED[unit] for unit in description.units])
    return np.asarray(np.minimum(velocity, np.maximum(home_share * velocity, least)), np.float64)
