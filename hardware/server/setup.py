"""An arm as it stands on its bench: driver, cameras, and where its tool is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.arms.kinematic import KinematicArm, PaintedCamera, cartesian
from hardware.arms.tool import ToolKinematics
from hardware.cameras.capture import CapturedCamera
from hardware.server.validation import Forward
from robot.core.joints import ArmDescription, Joints
from robot.core.protocols import ArmDriver, Camera


@dataclass(frozen=True, slots=True)
class ArmSetup:
    """Hold what an arm's server serves.

    `forward` gives the tool's position, float64 (3,) in m, for joint positions (J,), where that is known.
    `camera_matrices`: camera → world_to_image, float64 (3, 4), where known.
    """

    driver: ArmDriver
    cameras: Sequence[Camera] = ()
    forward: Forward | None = None
    camera_matrices: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def arm_setup(
    driver: ArmDriver, cameras: Mapping[str, Camera] | None = None, kinematics: ToolKinematics | None = None
) -> ArmSetup:
    """Put together a driver, its cameras by name, and its kinematics where a workspace box is wanted.

    A driver that has cameras of its own and knows where its tool is, as a simulated one does, brings that along. The
    other cameras are watched for hanging, each from a thread of its own.
    """
    own: Sequence[Camera] = getattr(driver, "cameras", ())
    matrices: Mapping[str, Any] = getattr(driver, "camera_matrices", {})
    forward: Forward | None = getattr(driver, "tool_position", None)
    if kinematics is not None or forward is None:
        forward = forward_of(driver.description, kinematics)
    watched = [one if isinstance(one, CapturedCamera) else CapturedCamera(one) for one in (cameras or {}).values()]
    return ArmSetup(driver, [*own, *watched], forward, dict(matrices))


def forward_of(description: ArmDescription, kinematics: ToolKinematics | None) -> Forward | None:
    """Return where the tool is for joint positions: by kinematics, or the first three joints if they are x, y, z."""
    if kinematics is not None:
        known = kinematics
        return lambda joints: np.asarray(known.forward(joints[:-1]).position, np.float64)
    if description.joint_names[:3] == ("x", "y", "z"):
        return _first_three
    return None


def kinematic_setup(camera: str = "front", image_size: int = 128, camera_hz: float = 30.0) -> ArmSetup:
    """Return an arm without an arm, for trying out everything around it."""
    arm = KinematicArm()
    return ArmSetup(
        arm, [PaintedCamera(arm, camera, (image_size, image_size), camera_hz)], forward_of(cartesian(), None)
    )


def _first_three(joints: Joints) -> NDArray[np.float64]:
    return joints[:3]
