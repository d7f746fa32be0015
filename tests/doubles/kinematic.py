"""The plainest driver there is: a body that follows, with no package behind it."""

from __future__ import annotations

import time

import numpy as np

from robot.arm import ArmDescription, Joints, JointState
from robot.errors import SailError
from tests.doubles.body import Body

SIZE = 7


class KinematicArm:
    """Drive a body of six joints and a gripper."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._open = False
        self._moving = False
        self.description = ArmDescription(
            name="kinematic",
            joint_names=(*(f"joint{number}" for number in range(1, SIZE)), "gripper"),
            units=("rad",) * (SIZE - 1) + ("m",),
            low=np.array([-2.0] * (SIZE - 1) + [0.0]),
            high=np.array([2.0] * (SIZE - 1) + [0.08]),
            velocity=np.full(SIZE, 2.0),
            acceleration=np.full(SIZE, 10.0),
            jerk=np.full(SIZE, 100.0),
            home=np.array([0.0] * (SIZE - 1) + [0.08]),
        )

    def connect(self) -> None:
        self._see()
        self._open = True

    def read(self) -> JointState:
        self._ready()
        return JointState(self.body.position.copy(), time.monotonic())

    def write(self, position: Joints) -> None:
        self._ready()
        if position.shape != (SIZE,) or not np.all(np.isfinite(position)):
            raise ValueError(f"A command must be {SIZE} finite joint positions, got {position}.")
        self.body.aim(position)
        self._moving = True

    def stop(self) -> None:
        if self._open and self._moving:
            self._moving = False
            self.body.target = self.body.position.copy()

    def close(self) -> None:
        self.stop()
        self._open = False

    def _ready(self) -> None:
        if not self._open:
            raise SailError("The arm is not connected.")
        self._see()

    def _see(self) -> None:
        if not self.body.reachable:
            raise SailError("The arm does not answer.")
