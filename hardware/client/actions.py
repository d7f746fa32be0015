"""What an action means on an arm: which joint positions it asks for, and what the robot senses to go with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardware.arms.tool import ToolKinematics
from hardware.wire.commands import GRIPPER
from hardware.wire.reports import Welcome
from robot.core.data import ActionSpec, FloatArray
from robot.core.joints import Joints

NEWTON_STEPS = 12


class ActionKind(Protocol):
    """Turn actions into joint positions; it remembers where it has sent the arm."""

    @property
    def spec(self) -> ActionSpec:
        """Return names, units, limits and rate of an action."""
        ...

    @property
    def is_relative(self) -> bool:
        """Return whether what an arm cannot do in its time is not done at all, for want of a goal that stays."""
        ...

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """Return what is sensed beside pictures."""
        ...

    @property
    def proprio_units(self) -> tuple[str, ...]:
        """Return the units of that."""
        ...

    def begin(self, joints: Joints) -> None:
        """Go on from joint positions, float64 (J,), that the arm was sent to."""
        ...

    def target(self, values: FloatArray, joints: Joints) -> Joints:
        """Return where an action, float32 (Da,) within its limits, sends an arm that is now at `joints`, (J,)."""
        ...

    def sent(self, values: FloatArray, asked: Joints, sent: Joints) -> FloatArray:
        """Return the action, float32 (Da,), that stands for `sent` where `values` had `asked`; go on from `sent`."""
        ...

    def proprio(self, joints: Joints) -> FloatArray:
        """Return what is sensed at joint positions, float32 (Dq,)."""
        ...


ActionFactory = Callable[[Welcome, float], ActionKind]
"""Makes an action kind for the arm that a server describes, at a rate in Hz."""


class JointPositions:
    """Send joints to absolute positions, in their units; proprioception is where they are."""

    def __init__(self, welcome: Welcome, rate_hz: float) -> None:
        description = welcome.description
        # Rounded to 32 bits, a limit must still lie within itself.
        low, high = welcome.low.astype(np.float32), welcome.high.astype(np.float32)
        low = np.where(low < welcome.low, np.nextafter(low, np.float32(np.inf)), low)
        high = np.where(high > welcome.high, np.nextafter(high, np.float32(-np.inf)), high)
        self._spec = ActionSpec(description.joint_names, description.units, low, high, rate_hz)

    @property
    def spec(self) -> ActionSpec:
        """Return one entry a joint."""
        return self._spec

    @property
    def is_relative(self) -> bool:
        """Return that it is not: a position too far to be reached in time stays the goal, and is reached later."""
        return False

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """Return the joints' names."""
        return self._spec.names

    @property
    def proprio_units(self) -> tuple[str, ...]:
        """Return the joints' units."""
        return self._spec.units

    def begin(self, joints: Joints) -> None:
        """Remember nothing: positions are absolute."""

    def target(self, values: FloatArray, joints: Joints) -> Joints:
        """Return the positions asked for."""
        return values.astype(np.float64)

    def sent(self, values: FloatArray, asked: Joints, sent: Joints) -> FloatArray:
        """Return the positions in force."""
        return values if np.array_equal(asked, sent) else sent.astype(np.float32)

    def proprio(self, joints: Joints) -> FloatArray:
        """Return where the joints are."""
        return joints.astype(np.float32)


class Displacement:
    """Move the tool by x, y, z in −1 … 1 of `metres_per_unit` an action, and shut (1) or open (−1) the gripper.

    This is the convention of `policies.pose_tracking`: proprioception begins with the tool's x, y, z (m) and its
    opening (0 shut … 1 open). The arm's joints are x, y, z and gripper, in m; or they are others and `kinematics` says
    where the tool is and how to move it, and then the tool keeps the rotation it had at the beginning.

    Displacements add up from where the tool was last sent, so that an arm that trails does not lose any; but the tool
    is never sent farther than `lead_m` from where it is, so that one that is held back does not store them up.
    """

    def __init__(
        self,
        welcome: Welcome,
        rate_hz: float,
        *,
        metres_per_unit: float = 0.01,
        lead_m: float = 0.15,
        kinematics: ToolKinematics | None = None,
    ) -> None:
        """Raise ValueError for an arm without a gripper, or one whose joints are not x, y, z without kinematics."""
        description = welcome.description
        names = description.joint_names
        if names[-1] != GRIPPER:
            raise ValueError(f"Displacements need a gripper as the last joint; this arm has {', '.join(names)}.")
        if kinematics is None and names != ("x", "y", "z", GRIPPER):
            raise ValueError(f"Displacements of an arm with the joints {', '.join(names)} need its kinematics.")
        if not (metres_per_unit > 0 and lead_m > metres_per_unit):
            raise ValueError("metres_per_unit must be positive and below lead_m.")
        self._low, self._high = welcome.low, welcome.high
        self._shut, self._open = description.low[-1], description.high[-1]
        self._metres, self._lead_m, self._kinematics = metres_per_unit, lead_m, kinematics
        unit = "cm" if metres_per_unit == 0.01 else f"{100 * metres_per_unit:g} cm"
        self._spec = ActionSpec(
            ("dx", "dy", "dz", "grip"),
            (unit, unit, unit, "1"),
            np.full(4, -1, np.float32),
            np.full(4, 1, np.float32),
            rate_hz,
            is_relative=True,
        )
        self._from = description.home.copy()
        self._pose: Any = None

    @property
    def spec(self) -> ActionSpec:
        """Return three displacements and the gripper."""
        return self._spec

    @property
    def is_relative(self) -> bool:
        """Return that it is: a displacement is how far the tool moves by the time the next is due, and no more."""
        return True

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """Return the tool's place and its opening."""
        return ("gripper_x", "gripper_y", "gripper_z", "gripper_opening")

    @property
    def proprio_units(self) -> tuple[str, ...]:
        """Return metres and a share."""
        return ("m", "m", "m", "1")

    def begin(self, joints: Joints) -> None:
        """Go on from joint positions, and keep the tool's rotation there."""
        self._from = joints.copy()
        self._pose = None if self._kinematics is None else self._kinematics.forward(joints[:-1])

    def target(self, values: FloatArray, joints: Joints) -> Joints:
        """Return the joint positions that move the tool as asked."""
        here, before = self.tool(joints), self.tool(self._from)
        wanted = before + self._metres * values[:3].astype(np.float64)
        ahead = wanted - here
        distance = float(np.linalg.norm(ahead))
        if distance > self._lead_m:
            wanted = here + ahead * (self._lead_m / distance)
        opening = self._shut + (1.0 - float(values[3])) / 2 * (self._open - self._shut)
        return np.array([*self._joints_at(wanted), np.clip(opening, self._low[-1], self._high[-1])])

    def sent(self, values: FloatArray, asked: Joints, sent: Joints) -> FloatArray:
        """Return the displacement in force: each axis as it was asked for where that is so, and the gripper's part."""
        before = self.tool(self._from)
        whole = before + self._metres * values[:3].astype(np.float64)
        there = self.tool(sent)
        self._from = sent.copy()
        moved = np.clip((there - before) / self._metres, -1.0, 1.0)
        # An axis that went where it was sent is not to differ by rounding because another one did not.
        kept = np.abs(there - whole) <= 1e-3 * self._metres
        return np.array([*np.where(kept, values[:3], moved), values[3]], np.float32)

    def proprio(self, joints: Joints) -> FloatArray:
        """Return the tool's x, y, z (m) and its opening (0 shut … 1 open)."""
        opening = np.clip((joints[-1] - self._shut) / (self._open - self._shut), 0.0, 1.0)
        return np.array([*self.tool(joints), opening], np.float32)

    def tool(self, joints: Joints) -> NDArray[np.float64]:
        """Return where the tool is, float64 (3,) in m."""
        if self._kinematics is None:
            return joints[:3]
        return np.asarray(self._kinematics.forward(joints[:-1]).position, np.float64)

    def _joints_at(self, wanted_m: NDArray[np.float64]) -> Joints:
        """Return joint positions without the gripper's, (A,), that have the tool at a place, or near it."""
        if self._kinematics is None:
            return np.clip(wanted_m, self._low[:3], self._high[:3])
        if self._pose is None:
            self._pose = self._kinematics.forward(self._from[:-1])
        goal = dataclasses.replace(self._pose, position=wanted_m)
        joints = self._from[:-1]
        period_s = 1.0 / self._spec.rate_hz
        for _ in range(NEWTON_STEPS):
            joints = self._kinematics.towards(joints, goal, period_s)
        return np.clip(joints, self._low[:-1], self._high[:-1])
