"""Where an arm's tool is, and how its joints move it."""

from __future__ import annotations

from typing import Any, Protocol

from robot.core.joints import Joints


class ToolKinematics(Protocol):
    """What is needed of an arm's kinematics, such as an `ArmKinematics`. Its joints have no gripper."""

    def forward(self, joints: Joints) -> Any:
        """Return the tool's pose, a dataclass with `position`, float64 (3,) in m, for joint positions (A,)."""
        ...

    def towards(self, joints: Joints, target: Any, period_s: float) -> Joints:
        """Return joint positions (A,) one period later on the way to a pose."""
        ...
