"""A double of franky: the names that the driver uses, over a body for each address."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass, field

import numpy as np

from tests.doubles.body import Body as _Body

_arms: dict[str, _Arm] = {}


@dataclass
class _Arm:
    body: _Body = field(default_factory=lambda: _Body(7))
    width: float = 0.08
    torques: np.ndarray = field(default_factory=lambda: np.zeros(7))
    errors: bool = False
    in_control: bool = False
    why: str = ""
    grasps: list[tuple[float, float, float]] = field(default_factory=list)
    blocked_at: float = 0.0
    slow: threading.Event | None = None
    targets: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


def _arm(host: str) -> _Arm:
    if host not in _arms or not _arms[host].body.reachable:
        raise RuntimeError("libfranka: Connection timeout\nlibfranka: more")
    return _arms[host]


class RealtimeConfig(enum.Enum):
    Enforce = 0
    Ignore = 1


class RobotState:
    def __init__(self, q, dq, tau_J):
        self._values = (q, dq, tau_J)

    @property
    def q(self):
        return self._values[0]

    @property
    def dq(self):
        return self._values[1]

    @property
    def tau_J(self):
        return self._values[2]


class Robot:
    def __init__(
        self,
        fci_hostname,
        relative_dynamics_factor=1.0,
        default_torque_threshold=20.0,
        default_force_threshold=30.0,
        controller_mode=None,
        realtime_config=RealtimeConfig.Enforce,
        kalman_q_process_var=0.0001,
        kalman_dq_process_var=0.001,
        kalman_ddq_process_var=0.1,
        kalman_control_process_var=1.0,
        kalman_q_obs_var=0.01,
        kalman_dq_obs_var=0.1,
        kalman_q_d_obs_var=0.0001,
        kalman_dq_d_obs_var=0.0001,
        kalman_ddq_d_obs_var=0.0001,
        kalman_control_adaptation_rate=0.1,
    ):
        self._host = fci_hostname
        _arm(fci_hostname)

    @property
    def has_errors(self):
        return _arm(self._host).errors

    @property
    def state(self):
        arm = _arm(self._host)
        return RobotState(arm.body.position.copy(), np.zeros(7), arm.torques.copy())

    def recover_from_errors(self):
        _arm(self._host).errors = False
        return True

    def join_motion(self, timeout=None):
        if why := _arm(self._host).why:
            raise RuntimeError(why)
        return True


class JointImpedanceTracker:
    def __init__(
        self,
        robot,
        *,
        stiffness=None,
        damping=None,
        cartesian_stiffness=None,
        cartesian_damping=None,
        constant_torque_offset=None,
        compensate_coriolis=True,
        friction=None,
        max_delta_tau=1.0,
        lower_joint_limits=None,
        upper_joint_limits=None,
        joint_limit_activation_distance=0.1,
        joint_limit_stiffness=4.0,
        joint_limit_damping=1.0,
        joint_limit_max_torque=5.0,
        gains_time_constant=0.1,
        period=None,
    ):
        assert np.shape(stiffness) in ((), (7,))
        self._host = robot._host
        arm = _arm(self._host)
        arm.in_control = True
        arm.body.target = arm.body.position.copy()

    @property
    def is_running(self):
        return _arm(self._host).in_control

    def set_target(self, q, dq=None, tau_ff=None):
        assert np.shape(q) == (7,)
        arm = _arm(self._host)
        arm.targets.append((np.array(q), np.zeros(7) if dq is None else np.array(dq)))
        arm.body.aim(q)

    def stop(self, stop_motion=None):
        _arm(self._host).in_control = False


class Gripper:
    def __init__(self, fci_hostname):
        self._host = fci_hostname
        _arm(fci_hostname)

    @property
    def width(self):
        return _arm(self._host).width

    def move(self, width, speed):
        arm = _arm(self._host)
        if arm.slow is not None and arm.slow.wait(10):
            return False
        arm.width = width
        return True

    def grasp(self, width, speed, force, epsilon_inner=0.005, epsilon_outer=0.005):
        arm = _arm(self._host)
        if arm.slow is not None and arm.slow.wait(10):
            return False
        arm.grasps.append((width, speed, force))
        arm.width = max(width, arm.blocked_at)
        return -epsilon_inner < arm.width - width < epsilon_outer

    def stop(self):
        arm = _arm(self._host)
        if arm.slow is not None:
            arm.slow.set()
        return True
