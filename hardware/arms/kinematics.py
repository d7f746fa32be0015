"""Move a tool along straight ways with an arm's joints, by a model of the arm in MuJoCo's format.

Differential inverse kinematics by damped least squares: the joint velocity that moves the tool as asked, as far as it
can be had without large joint velocities. Near a singularity, where ever faster joints move the tool ever less, the
damping grows and the tool slows down instead. Joints beyond those the tool needs keep away from their limits.

Source: Nakamura and Hanafusa (1986), "Inverse kinematic solutions with singularity robustness for robot manipulator
control", equations 18–24. Deviation: the damping grows with the smallest singular value falling under a bound, and not
with the manipulability, which is a product of all of them and mixes their units.

Frames: positions and rotations are those of the tool in the model's world, the base of the arm where the model stands
at its origin. Rotations are matrices, float64 (3, 3), tool to world. A twist is (vx, vy, vz, ωx, ωy, ωz) in m/s and
rad/s along the world's axes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.extras import maker_package
from robot.core.errors import SailError
from robot.core.joints import Joints

mujoco = maker_package("mujoco", "kinematics", "An arm that is moved by displacements of its tool")

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pose:
    """Hold where the tool is: `position` in m, float64 (3,), and `rotation`, tool to world, float64 (3, 3)."""

    position: NDArray[np.float64]
    rotation: Matrix

    def twist_to(self, other: Pose) -> NDArray[np.float64]:
        """Return the twist, float64 (6,), that leads to the other pose in one second, on the shorter way round."""
        quaternion, turn = np.zeros(4), np.zeros(3)
        mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(other.rotation @ self.rotation.T).reshape(9))
        mujoco.mju_quat2Vel(turn, quaternion, 1.0)
        return np.concatenate([other.position - self.position, turn])


@dataclass(frozen=True, slots=True)
class Tuning:
    """Hold what decides how the arm trades exactness for calm.

    `length_m` makes turns comparable with ways: one radian counts as much. Below the smallest singular value `bound_m`
    the damping grows, up to `damping_m` at a singularity. Within `margin_rad` of a limit a spare joint is pushed away
    with up to `push_rad_s`, all of it once the tool moves at `full_push_m_s`. `gain_s` is how soon the tool closes in
    on a target: e-fold in that many seconds. `step_m` is the longest way in one period: one that is long beside the
    square of the damping would throw an arm that is nearly straight past its straightness and back.
    """

    length_m: float = 0.3
    bound_m: float = 0.08
    damping_m: float = 0.06
    margin_rad: float = 0.3
    push_rad_s: float = 0.5
    full_push_m_s: float = 0.1
    gain_s: float = 0.1
    step_m: float = 0.01


class ArmKinematics:
    """Know where a tool is for joint positions, and which joint positions move it as asked.

    `model` is a file or a loaded model, `joint_names` the arm's joints without its gripper, in the driver's order, and
    `tool` a site or body. `velocity`: the largest joint speeds, float64 (A,), in rad/s. Any thread may ask. Raises
    SailError for a name that the model lacks.
    """

    def __init__(
        self,
        model: str | Path | Any,
        joint_names: Sequence[str],
        tool: str,
        velocity: Joints,
        tuning: Tuning = Tuning(),
    ) -> None:
        self._model = mujoco.MjModel.from_xml_path(str(model)) if isinstance(model, str | Path) else model
        self._scratch = threading.local()
        numbers = [self._number(mujoco.mjtObj.mjOBJ_JOINT, name) for name in joint_names]
        self._places = self._model.jnt_qposadr[numbers]
        self._columns = self._model.jnt_dofadr[numbers]
        kind = mujoco.mjtObj.mjOBJ_SITE
        self._is_site = mujoco.mj_name2id(self._model, kind, tool) >= 0
        self._tool = self._number(kind if self._is_site else mujoco.mjtObj.mjOBJ_BODY, tool)
        ranges = self._model.jnt_range[numbers]
        free = self._model.jnt_limited[numbers] == 0
        self.low = np.where(free, -np.inf, ranges[:, 0])
        self.high = np.where(free, np.inf, ranges[:, 1])
        if velocity.shape != (len(numbers),) or not np.all(velocity > 0):
            raise ValueError(f"{len(numbers)} joints need as many speeds above 0, got {velocity}.")
        self._velocity = velocity
        self._tuning = tuning

    def forward(self, joints: Joints) -> Pose:
        """Return where the tool is for joint positions, float64 (A,)."""
        data = self._placed(joints)
        tool = data.site(self._tool) if self._is_site else data.body(self._tool)
        return Pose(np.array(tool.xpos), np.array(tool.xmat).reshape(3, 3))

    def jacobian(self, joints: Joints) -> Matrix:
        """Return what joint velocities do to the tool: float64 (6, A), twist = jacobian · velocities."""
        data = self._placed(joints)
        mujoco.mj_comPos(self._model, data)
        rows = np.zeros((6, self._model.nv))
        jacobian = mujoco.mj_jacSite if self._is_site else mujoco.mj_jacBody
        jacobian(self._model, data, rows[:3], rows[3:], self._tool)
        return np.asarray(rows[:, self._columns], np.float64)

    def velocities(self, joints: Joints, twist: NDArray[np.float64]) -> Joints:
        """Return joint velocities, float64 (A,), that move the tool as near to `twist`, (6,), as is calm.

        No joint is faster than its limit: where one would be, all slow down together, so that the tool keeps its way.
        """
        tuning = self._tuning
        scale = np.array([1.0] * 3 + [tuning.length_m] * 3)
        left, values, right = np.linalg.svd(scale[:, None] * self.jacobian(joints), full_matrices=True)
        nearness = 1.0 - min(values[-1] / tuning.bound_m, 1.0)
        damped = values / (values**2 + (tuning.damping_m * nearness) ** 2 + 1e-12)
        wanted = right[: len(values)].T @ (damped * (left.T @ (scale * twist))[: len(values)])
        spare = right[len(values) :]  # joint motions that leave the tool where it is
        # A tool that stands still keeps its arm still, whatever the limits would like better.
        asked = min(1.0, float(np.linalg.norm(scale * twist)) / tuning.full_push_m_s)
        wanted = wanted + asked * (spare.T @ (spare @ self._away_from_limits(joints)))
        slowed = wanted / max(1.0, float(np.max(np.abs(wanted) / self._velocity)))
        return np.asarray(slowed, np.float64)

    def towards(self, joints: Joints, target: Pose, period_s: float) -> Joints:
        """Return joint positions, float64 (A,), one period later on the straight way to a target.

        They lie within the model's limits. Called again and again, it comes to rest at the target, or, where that is
        out of reach, near it.
        """
        tuning = self._tuning
        twist = self.forward(joints).twist_to(target) / max(tuning.gain_s, period_s)
        way_m = period_s * float(np.hypot(np.linalg.norm(twist[:3]), tuning.length_m * np.linalg.norm(twist[3:])))
        return self.moved(joints, twist * min(1.0, tuning.step_m / max(way_m, 1e-12)), period_s)

    def moved(self, joints: Joints, twist: NDArray[np.float64], period_s: float) -> Joints:
        """Return joint positions, float64 (A,), one period later with the tool moving as asked, within the limits."""
        return np.clip(joints + period_s * self.velocities(joints, twist), self.low, self.high)

    def _away_from_limits(self, joints: Joints) -> Joints:
        """Return velocities, float64 (A,), that grow from 0 at the margin to the whole push at a limit."""
        margin = self._tuning.margin_rad
        below = np.clip((self.low + margin - joints) / margin, 0.0, 1.0)
        above = np.clip((joints - self.high + margin) / margin, 0.0, 1.0)
        return self._tuning.push_rad_s * (below - above)

    def _placed(self, joints: Joints) -> Any:
        """Return the calling thread's own mujoco.MjData, with the arm at joint positions, (A,)."""
        if joints.shape != self._columns.shape:
            raise ValueError(f"An arm of {len(self._columns)} joints got joint positions {joints.shape}.")
        data = getattr(self._scratch, "data", None)
        if data is None:
            data = self._scratch.data = mujoco.MjData(self._model)
        data.qpos[self._places] = joints
        mujoco.mj_kinematics(self._model, data)
        return data

    def _number(self, kind: Any, name: str) -> int:
        number = int(mujoco.mj_name2id(self._model, kind, name))
        if number < 0:
            what = {mujoco.mjtObj.mjOBJ_JOINT: "joint"}.get(kind, "site or body")
            raise SailError(f"The model of the arm has no {what} {name!r}.")
        return number
