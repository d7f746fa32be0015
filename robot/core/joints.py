"""The nouns of a physical arm: what its joints can do, and where they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Joints = NDArray[np.float64]
"""One value a joint: float64 (J,), in the order of `ArmDescription.joint_names`."""


@dataclass(frozen=True, slots=True)
class ArmDescription:
    """Describe an arm: its joints, and limits that its governor must never let it exceed.

    A gripper is a joint as well, the last one, named `gripper`: its position is its opening. `units` holds `rad` or
    `m` for each joint. `low` and `high` are the hard position limits, float64 (J,), in those units; `velocity`,
    `acceleration` and `jerk` the largest magnitudes, in units a second, a second squared and a second cubed. `home`
    is where the arm rests. `serial` tells one arm from another of its kind, and `calibration` is a hash of what turns
    motor readings into joint positions (empty where the maker keeps that in the arm).
    """

    name: str
    joint_names: tuple[str, ...]
    units: tuple[str, ...]
    low: Joints
    high: Joints
    velocity: Joints
    acceleration: Joints
    jerk: Joints
    home: Joints
    serial: str = ""
    calibration: str = ""

    def __post_init__(self) -> None:
        size = len(self.joint_names)
        if size == 0 or len(set(self.joint_names)) != size:
            raise ValueError(f"An arm needs joints with names that differ, got {self.joint_names}.")
        if len(self.units) != size or any(unit not in ("rad", "m") for unit in self.units):
            raise ValueError(f"An arm of {size} joints needs {size} units, each rad or m, got {self.units}.")
        for name in ("low", "high", "velocity", "acceleration", "jerk", "home"):
            values = getattr(self, name)
            if values.dtype != np.float64 or values.shape != (size,) or not np.all(np.isfinite(values)):
                raise ValueError(f"{name} of arm {self.name!r} must be {size} finite float64 values, got {values}.")
        if not np.all(self.low < self.high):
            raise ValueError(f"Every lower limit of arm {self.name!r} must lie below its upper limit.")
        if any(np.any(getattr(self, name) <= 0) for name in ("velocity", "acceleration", "jerk")):
            raise ValueError(f"Velocity, acceleration and jerk limits of arm {self.name!r} must be positive.")
        if np.any(self.home < self.low) or np.any(self.home > self.high):
            raise ValueError(f"The home position of arm {self.name!r} lies outside its limits.")

    @property
    def identity(self) -> str:
        """Return what tells one arm from all others."""
        return f"{self.name}#{self.serial}" if self.serial else self.name

    @property
    def size(self) -> int:
        """Return J, the number of joints, the gripper included."""
        return len(self.joint_names)


@dataclass(frozen=True, slots=True)
class JointState:
    """Hold where an arm is: float64 (J,) each, in the units of its description, read at `time_s`.

    `time_s`: seconds on this machine's monotonic clock. `velocity` and `effort` (N·m or N) are empty, shape (0,),
    where the arm does not measure them.
    """

    position: Joints
    time_s: float
    velocity: Joints = field(default_factory=lambda: np.empty(0))
    effort: Joints = field(default_factory=lambda: np.empty(0))
