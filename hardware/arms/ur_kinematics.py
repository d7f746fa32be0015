"""The kinematics of Universal Robots' e-Series as a model in MuJoCo's format, written from the maker's own table.

Source: Universal Robots, support article "DH Parameters for calculations of kinematics and dynamics" (e-Series).
Standard Denavit–Hartenberg parameters: joint i turns about the z axis of frame i − 1; frame i follows by d along that
axis, then a along the new x axis and a turn by α about it. Each arm's own calibration differs from the table by some
tenths of a millimetre to some millimetres, which does not matter to displacements.

The base frame is the maker's: z up, and at all joints zero the arm lies stretched out along −x.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hardware.arms.kinematics import ArmKinematics, mujoco
from hardware.arms.ur import ARM_JOINTS, NAMES, SPEEDS
from robot.core.errors import UnknownNameError

ALPHAS: Final = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)
LENGTHS_M: Final = {
    "ur3e": {"a": (0.0, -0.24355, -0.2132, 0.0, 0.0, 0.0), "d": (0.15185, 0.0, 0.0, 0.13105, 0.08535, 0.0921)},
    "ur5e": {"a": (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0), "d": (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)},
    "ur10e": {"a": (0.0, -0.6127, -0.57155, 0.0, 0.0, 0.0), "d": (0.1807, 0.0, 0.0, 0.17415, 0.11985, 0.11655)},
}


def ur_kinematics(model: str = "ur5e", tool_m: float = 0.0) -> ArmKinematics:
    """Return the kinematics of an e-Series arm; its tool lies `tool_m` before the flange, along the flange's axis.

    Raises UnknownNameError for another model.
    """
    if model not in LENGTHS_M:
        raise UnknownNameError("UR model", model, tuple(LENGTHS_M))
    return ArmKinematics(mujoco.MjModel.from_xml_string(chain_of(model, tool_m)), NAMES, "tool", SPEEDS[model])


def chain_of(model: str, tool_m: float) -> str:
    """Return the arm as MJCF: one body a joint, which stands where the frame before it ends."""
    lengths = LENGTHS_M[model]
    text, place = "", 'pos="0 0 0"'
    for number in range(ARM_JOINTS):
        reach = np.pi if number == 2 else 2 * np.pi
        text += f'<body name="link{number + 1}" {place}><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
        text += f'<joint name="{NAMES[number]}" axis="0 0 1" range="{-reach} {reach}"/>'
        half = ALPHAS[number] / 2
        place = f'pos="{lengths["a"][number]} 0 {lengths["d"][number]}" quat="{np.cos(half)} {np.sin(half)} 0 0"'
    text += f'<body name="flange" {place}><site name="tool" pos="0 0 {tool_m}"/></body>'
    ends = "</body>" * ARM_JOINTS
    return f'<mujoco><compiler angle="radian" autolimits="true"/><worldbody>{text}{ends}</worldbody></mujoco>'
