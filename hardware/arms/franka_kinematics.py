"""The kinematics of Franka's Panda and FR3, as MuJoCo computes them from the Panda's model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hardware.arms.kinematics import ArmKinematics

MODEL = Path(__file__).parents[1] / "models" / "panda" / "scene.xml"


def panda_kinematics() -> ArmKinematics:
    """Return the kinematics of Franka's Panda and FR3, which are the same but for limits: tool between the fingers."""
    joints = [f"joint{number}" for number in range(1, 8)]
    return ArmKinematics(MODEL, joints, "tool", np.array([2.175] * 4 + [2.61] * 3))
