"""The arms that the fault-injection suite runs on: to add one, add a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hardware.kinematic_arm import KinematicArm, PaintedCamera
from robot.protocols import ArmDriver, Camera

Made = tuple[ArmDriver, Sequence[Camera]]


def kinematic() -> Made:
    arm = KinematicArm()
    return arm, [PaintedCamera(arm)]


ARMS: dict[str, Callable[[], Made]] = {
    "kinematic": kinematic,
}
