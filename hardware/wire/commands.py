"""What an arm is asked to do, and what its server says to that: pass, clamp or reject, with reasons."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.wire.reasons import Reason
from robot.core.joints import ArmDescription

GRIPPER = "gripper"
"""What the joint of a gripper is called."""


@dataclass(frozen=True, slots=True)
class Command:
    """Ask an arm to pass through waypoints.

    `times_s`: float64 (N,), strictly increasing, on the server's monotonic clock. `positions`: float64 (N, J).
    `sequence` grows with every command of one lease. `seen_s`: when the observation it was planned from was made, on
    the same clock; None where it was planned from none.
    """

    sequence: int
    times_s: NDArray[np.float64]
    positions: NDArray[np.float64]
    seen_s: float | None = None


class Decision(enum.StrEnum):
    """Say what became of a command."""

    PASS = "pass"
    CLAMP = "clamp"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Hold what became of a command and why: `reasons` is empty where it passed.

    `positions`: float64 (M, J), the waypoints in force, changed where they were clamped; `dropped` waypoints before
    them were past already. Nothing is in force after a rejection.
    """

    sequence: int
    decision: Decision
    reasons: tuple[Reason, ...]
    positions: NDArray[np.float64]
    dropped: int = 0


def follows(description: ArmDescription) -> NDArray[np.bool_]:
    """Return which joints must be where they were sent, bool (J,): all but a gripper, which an object may keep open."""
    return np.array([name != GRIPPER for name in description.joint_names])
