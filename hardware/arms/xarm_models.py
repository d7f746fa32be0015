"""Tell UFACTORY's arms apart, and say how far the joints of each go.

Source: xarm-python-sdk 1.18.4, `core/config/x_config.py`, `XCONF.Robot.JOINT_LIMITS`, by what the box calls the arm
(`device_type`). For an xArm 6 or 7 whose serial number has 1305 or more in its third to sixth place, the package takes
another row, which is narrower in some joints and wider in none (`x3/xarm.py`, `_is_out_of_joint_range`). A description
must not change with a connection, so taken here is what holds for every serial number.
Homes are ours: the tool in front of the base, pointing down. Speeds and accelerations are the same for all: what the
package holds a joint's motion to, 180°/s and 20 rad/s², as in UFACTORY's manuals, which give 1145°/s² and 28647°/s³.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hardware.arms.limits import degrees, joints
from robot.core.joints import Joints

TURN: Final = 2 * np.pi
SPEED: Final = np.deg2rad(180.0)
ACCELERATION: Final = np.deg2rad(1145.0)
JERK: Final = np.deg2rad(28647.0)


@dataclass(frozen=True, slots=True)
class XArmModel:
    """Hold what a model is called by its box, its joints' limits and its home, float64 (J,) each, in rad.

    `takes_gripper`: whether the xArm Gripper can hang on it.
    """

    device_type: int
    low: Joints
    high: Joints
    home: Joints
    takes_gripper: bool = True

    @property
    def size(self) -> int:
        """Return how many joints it has, without a gripper."""
        return len(self.low)


MODELS: Final = {
    "xarm6": XArmModel(
        6,
        joints(-TURN, -2.042035, -3.822271, -TURN, -1.692969, -TURN),
        joints(TURN, 2.024581, 0.174532, TURN, np.pi, TURN),
        degrees(0, -60, -30, 0, 90, 0),
    ),
    "xarm7": XArmModel(
        7,
        joints(-TURN, -2.042035, -TURN, -0.10472, -TURN, -1.692969, -TURN),
        joints(TURN, 2.024581, TURN, 3.92699, TURN, np.pi, TURN),
        degrees(0, -45, 0, 45, 0, 90, 0),
    ),
    "lite6": XArmModel(
        9,
        joints(-TURN, -2.617993, -0.061086, -TURN, -2.164208, -TURN),
        joints(TURN, 2.617993, 5.235987, TURN, 2.164208, TURN),
        degrees(0, 0, 60, 0, 60, 0),
        takes_gripper=False,
    ),
    "uf850": XArmModel(
        12,
        joints(-TURN, -2.303834, -4.223696, -TURN, -2.164208, -TURN),
        joints(TURN, 2.303834, 0.061086, TURN, 2.164208, TURN),
        degrees(0, 0, -60, 0, -60, 0),
    ),
}
NAMES: Final = {
    3: "an xArm 7 of the first kind, whose fourth joint turns the other way",
    5: "an xArm 5",
    6: "an xArm 6 (xarm6)",
    7: "an xArm 7 (xarm7)",
    9: "a Lite 6 (lite6)",
    12: "a UFACTORY 850 (uf850)",
    13: "a mirrored xArm 7",
}


def found(device_type: int, size: int) -> str:
    """Return in words what a box calls its arm of `size` joints."""
    return NAMES.get(device_type, f"of a type that is not known here ({device_type}, with {size} joints)")
