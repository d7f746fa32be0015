"""The plainest driver there is: a body that follows, with no package behind it."""

from __future__ import annotations

import time

import numpy as np

from robot.core.errors import SailError
from robot.core.joints import ArmDescription, Joints, JointState
from tests.doubles.body import Body

SIZE = 7


class KinematicArm:
    """Drive a body of six joints and a gripper."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._open = False
        self._moving = False
        self._stopped = ""
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
        self._stopped = ""

    def read(self) -> JointState:
        self._ready()
        if self._moving and self.body.halted and not self._stopped:
            raise self._give_up()
        return JointState(self.body.position.copy(), time.monotonic())

    def write(self, position: Joints) -> None:
        self._ready()
        if position.shape != (SIZE,) or not np.all(np.isfinite(position)):
            raise ValueError(f"A command must be {SIZE} finite joint positions, got {position}.")
        if self._stopped or self.body.halted:
            raise self._give_up()
        self.body.aim(position)
        self._moving = True

    def stop(self) -> None:
        if self._open and self._moving and not self._stopped:
            self._moving = False
            self.body.target = self.body.position.copy()

    def recover(self) -> None:
        self._ready()
        if self._stopped and self.body.halted:
            self.body.halted = False
        self._stopped = ""

    def close(self) -> None:
        self.stop()
        self._open = False

    def _give_up(self) -> SailError:
        self._stopped = self._stopped or "The arm was stopped elsewhere: look at it, then clear the fault."
        return SailError(self._stopped)

    def _ready(self) -> None:
        if not self._open:
            raise SailError("The arm is not connected.")
        self._see()

    def _see(self) -> None:
        if not self.body.reachable:
            raise SailError("The arm does not answer.")
