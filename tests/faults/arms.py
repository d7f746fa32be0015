"""The arms that the fault-injection suite runs on: to add one, add a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from hardware.arms.kinematic import KinematicArm, PaintedCamera
from robot.core.protocols import ArmDriver, Camera
from sim.arms.metaworld import MetaWorldArm
from sim.arms.panda import SimulatedPanda

Made = tuple[ArmDriver, Sequence[Camera]]


def kinematic() -> Made:
    arm = KinematicArm()
    return arm, [PaintedCamera(arm)]


def panda() -> Made:
    arm = SimulatedPanda()
    return arm, arm.cameras


def metaworld() -> Made:
    arm = MetaWorldArm("drawer-close")
    return arm, arm.cameras


ARMS: dict[str, Callable[[], Made]] = {
    "kinematic": kinematic,
    "sim": panda,
    "metaworld": metaworld,
}

on_every_arm = pytest.mark.parametrize(
    "arm", [name if name == "kinematic" else pytest.param(name, marks=pytest.mark.slow) for name in ARMS]
)
