"""Say how far and how fast the joints of a Franka go.

Source: Franka Robotics, Franka Control Interface documentation, "Robot limits", for FR3 and for Panda, and "Franka
Hand" for the gripper. An FR3's velocity limit depends on its joint positions; taken here is the box that the maker
gives as a simpler, smaller choice, inside which the velocity limits are constant. The hand moves at a speed of its own,
whatever the governor's set-point does; the limits of that set-point are ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hardware.arms.limits import joints, slowed, with_gripper
from robot.core.joints import ArmDescription

ARM_JOINTS: Final = 7
MODELS: Final = {
    "fr3": {
        "low": joints(-2.3093, -1.5133, -2.4937, -2.7478, -2.4800, 0.8521, -2.6895),
        "high": joints(2.3093, 1.5133, 2.4937, -0.4461, 2.4800, 4.2094, 2.6895),
        "velocity": joints(2.0, 1.0, 1.5, 1.25, 3.0, 1.5, 3.0),
        "acceleration": joints(*[10.0] * 7),
        "jerk": joints(*[5000.0] * 7),
    },
    "panda": {
        "low": joints(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        "high": joints(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        "velocity": joints(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
        "acceleration": joints(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
        "jerk": joints(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
    },
}
HOME: Final = joints(0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4)
"""The maker's own ready position."""
OPENING_M: Final = 0.08


def franka_description(model: str, serial: str, share: float, gripper: bool) -> ArmDescription:
    """Return the joints of a model, slowed by `share`, with its hand where it has one."""
    limits = MODELS[model]
    names, units = tuple(f"joint{number}" for number in range(1, ARM_JOINTS + 1)), ("rad",) * ARM_JOINTS
    extra = {"low": 0.0, "high": OPENING_M, "velocity": 0.4, "acceleration": 4.0, "jerk": 80.0}
    values = {key: with_gripper(limit, extra[key]) if gripper else limit for key, limit in limits.items()}
    return ArmDescription(
        name=f"franka-{model}",
        joint_names=(*names, "gripper") if gripper else names,
        units=(*units, "m") if gripper else units,
        low=values["low"],
        high=values["high"],
        velocity=slowed(values["velocity"], share, ARM_JOINTS),
        acceleration=slowed(values["acceleration"], share, ARM_JOINTS),
        jerk=slowed(values["jerk"], share, ARM_JOINTS),
        home=with_gripper(HOME, OPENING_M) if gripper else HOME,
        serial=serial,
    )
