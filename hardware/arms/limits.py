"""Write down an arm's limits in one place, and begin with a share of what its maker allows."""

from __future__ import annotations

import numpy as np

from robot.core.errors import SailError
from robot.core.joints import Joints

CAUTIOUS = 0.2
"""The share of the maker's velocity, acceleration and jerk that an arm begins with. Raise it when you know the arm."""

MOST_GRIP_A = 3.2
"""What the small servos of a gripper stand at the very most: Feetech's and Robotis's largest settings."""


def joints(*values: float) -> Joints:
    """Return one float64 value a joint, (J,)."""
    return np.array(values, dtype=np.float64)


def degrees(*values: float) -> Joints:
    """Return angles in degrees, as makers print them, in radians: float64 (J,)."""
    return np.deg2rad(np.array(values, dtype=np.float64))


def with_gripper(arm: Joints, gripper: float) -> Joints:
    """Return the values of an arm's joints, (J − 1,), with the gripper's behind them, (J,)."""
    return np.append(arm, gripper)


def slowed(limit: Joints, share: float, moving: int) -> Joints:
    """Return `share` of a limit, (J,), for the first `moving` joints; a gripper behind them keeps its own.

    Raises SailError for a share outside 0–1.
    """
    if not 0.0 < share <= 1.0:
        raise SailError(f"An arm may use a share of its maker's limits above 0 and at most 1, got share={share}.")
    scaled = limit.copy()
    scaled[:moving] *= share
    return scaled


def checked(position: Joints, size: int, arm: str) -> Joints:
    """Return a command, (J,); raise ValueError unless it has one finite value for each of the `size` joints.

    The governor never sends such a one. Here it would reach the maker's controller, so it is checked again.
    """
    if position.shape != (size,) or not np.all(np.isfinite(position)):
        raise ValueError(f"A command for {arm} must be {size} finite joint positions, got {position}.")
    return position


def check_grip(torque: float, current_a: float) -> None:
    """Raise SailError for limits of a gripper that make no sense."""
    if not 0.0 < torque <= 1.0:
        raise SailError(f"gripper_torque is a share above 0 and at most 1, got {torque:g}.")
    if not 0.0 < current_a <= MOST_GRIP_A:
        raise SailError(f"gripper_current_a lies above 0 and at most at {MOST_GRIP_A:g}, got {current_a:g}.")
