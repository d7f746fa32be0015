"""An arm without an arm: joints that are where they were sent, and cameras that draw them. For tests and trials."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from hardware.wire.clocks import now
from robot.core.data import Image
from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints, JointState


def cartesian(
    low_m: Sequence[float] = (-0.4, 0.3, 0.0),
    high_m: Sequence[float] = (0.4, 0.9, 0.4),
    home_m: Sequence[float] = (0.0, 0.6, 0.2),
    opening_m: float = 0.08,
) -> ArmDescription:
    """Return an arm whose joints are its tool's x, y, z (m) and a gripper."""
    return ArmDescription(
        name="kinematic",
        joint_names=("x", "y", "z", "gripper"),
        units=("m",) * 4,
        low=np.array([*low_m, 0.0]),
        high=np.array([*high_m, opening_m]),
        velocity=np.array([1.5, 1.5, 1.5, 0.3]),
        acceleration=np.array([15.0, 15.0, 15.0, 6.0]),
        jerk=np.array([600.0, 600.0, 600.0, 300.0]),
        home=np.array([*home_m, opening_m / 2]),
        serial="test",
    )


class KinematicArm:
    """Be exactly where it was sent. It has a scene of sorts: a shade that `reset` draws from a seed."""

    def __init__(self, description: ArmDescription | None = None) -> None:
        self.description = description or cartesian()
        self.position: Joints = self.description.home.copy()
        self.shade = 0
        self.connected = False
        self.stops = 0
        self.written = 0

    def connect(self) -> None:
        """Connect to nothing."""
        self.connected = True

    def read(self) -> JointState:
        """Return where the joints were sent."""
        if not self.connected:
            raise SailError("The kinematic arm is not connected.")
        return JointState(self.position.copy(), now())

    def write(self, position: Joints) -> None:
        """Be there."""
        self.position = np.array(position, np.float64)
        self.written += 1

    def stop(self) -> None:
        """Count how often it was stopped."""
        self.stops += 1

    def reset(self, seed: int) -> None:
        """Be at home, with another shade in the picture."""
        self.position = self.description.home.copy()
        self.shade = int(np.random.default_rng(abs(seed)).integers(0, 256))

    def close(self) -> None:
        """Disconnect."""
        self.connected = False


class PaintedCamera:
    """Draw where a kinematic arm is: its first two joints as a square, its scene's shade as the ground."""

    def __init__(
        self, arm: KinematicArm, name: str = "front", size: tuple[int, int] = (48, 64), rate_hz: float = 30.0
    ) -> None:
        self.name, self.size = name, (int(size[0]), int(size[1]))
        self._arm, self._period_s = arm, 1.0 / rate_hz
        self.rate_hz = rate_hz
        self.intrinsics: tuple[float, float, float, float] | None = None
        self._next_s = 0.0
        self.frozen = False

    def open(self) -> None:
        """Begin now."""
        self._next_s = now()

    def read(self) -> tuple[Image, float]:
        """Return the next picture when it is due."""
        while self.frozen:
            time.sleep(0.01)
        self._next_s = max(self._next_s + self._period_s, now() - self._period_s)
        time.sleep(max(self._next_s - now(), 0.0))
        captured_s = now()
        arm = self._arm
        height, width = self.size
        image = np.full((height, width, 3), arm.shade, np.uint8)
        low, high = arm.description.low, arm.description.high
        share = np.clip((arm.position - low) / (high - low), 0.0, 1.0)
        side = max(min(height, width) // 8, 1)
        row, column = int(share[-1] * (height - side)), int(share[0] * (width - side))
        image[row : row + side, column : column + side] = (255 - arm.shade, 128, arm.shade)
        return image, captured_s

    def close(self) -> None:
        """Do nothing."""
