"""A double of franky: the names that the driver uses, over a body for each address.

What it takes from the packages' sources (franky 2.0.0, `Robot::moveInternal` and `joinMotionUnsafe`; libfranka,
`gripper.cpp`): what ended a control session is kept, and raised once, by whoever joins it or begins the next one. A
session that the arm refuses ends a moment after it was begun. A reference for a session that has ended does nothing. A
movement of the hand that is stopped, or fails, raises in the thread that waits for it.
"""

from __future__ import annotations

import enum
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from tests.doubles.body import Body as _Body

_arms: dict[str, _Arm] = {}


class _CommandException(Exception):
    pass


class _ControlException(Exception):
    pass


class RealtimeConfig(enum.Enum):
    Enforce = 0
    Ignore = 1


class RobotMode(enum.Enum):
    Idle = 1
    Move = 2
    Reflex = 4
    UserStopped = 5


@dataclass
class _Arm:
    """The arm and its hand. `why` is what ended the latest session and was not raised yet.

    `slow` lets a movement of the hand wait until the event is set, by a stop; `stop_s` is how long a stop takes to be
    answered; `hand_fails` makes every movement fail.
    """

    body: _Body = field(default_factory=lambda: _Body(7))
    width: float = 0.08
    torques: np.ndarray = field(default_factory=lambda: np.zeros(7))
    errors: bool = False
    mode: RobotMode = RobotMode.Idle
    session: JointImpedanceTracker | None = None
    sessions: int = 0
    why: str = ""
    blocked_at: float = 0.0
    slow: threading.Event | None = None
    stop_s: float = 0.0
    hand_fails: bool = False
    grasps: list[tuple[float, float, float]] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    homings: int = 0
    hand_lost: bool = False
    targets: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)

    def _end(self, why: str, mode: RobotMode) -> None:
        if self.session is not None:
            self.session, self.why = None, why
        self.mode = mode
        self.body.target = self.body.position.copy()

    def reflex(self) -> None:
        """Stop as after a collision."""
        self.errors = True
        self._end('libfranka: Move command aborted: ["cartesian_reflex"]\nmore', RobotMode.Reflex)

    def press(self) -> None:
        """Press the stop button."""
        self._end("libfranka: Move command aborted: User Stop pressed!", RobotMode.UserStopped)

    def clear(self) -> None:
        """Clear the reflex in Desk, or release the stop button."""
        self.errors, self.mode = False, RobotMode.Idle


def _arm(host: str) -> _Arm:
    if host not in _arms or not _arms[host].body.reachable:
        raise RuntimeError("libfranka: Connection timeout\nlibfranka: more")
    return _arms[host]


class RobotState:
    def __init__(self, q, dq, tau_J, robot_mode):
        self._values = (q, dq, tau_J, robot_mode)

    @property
    def q(self):
        return self._values[0]

    @property
    def dq(self):
        return self._values[1]

    @property
    def tau_J(self):
        return self._values[2]

    @property
    def robot_mode(self):
        return self._values[3]


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
        settings = _arm(fci_hostname).settings
        settings |= {"torque": default_torque_threshold, "force": default_force_threshold}

    @property
    def has_errors(self):
        return _arm(self._host).errors

    @property
    def state(self):
        arm = _arm(self._host)
        return RobotState(arm.body.position.copy(), np.zeros(7), arm.torques.copy(), arm.mode)

    def recover_from_errors(self):
        arm = _arm(self._host)
        if arm.mode is RobotMode.UserStopped:
            raise _CommandException("libfranka: Automatic error recovery command aborted: User Stop pressed!")
        arm.clear()
        return not arm.errors

    def join_motion(self, timeout=None):
        arm = _arms[self._host]
        if arm.session is not None:
            return False
        why, arm.why = arm.why, ""
        if why:
            raise _ControlException(why)
        return True

    def set_load(self, load_mass, F_x_Cload, load_inertia):
        arm = _arm(self._host)
        assert len(F_x_Cload) == 3 and len(load_inertia) == 9
        if arm.session is not None:
            raise _CommandException("libfranka: Set Load command rejected: command not possible in the current mode!")
        arm.settings["load"] = (load_mass, list(F_x_Cload), list(load_inertia))


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
        gains = np.asarray(stiffness, dtype=float)
        if gains.shape != (7,) or not np.all(np.isfinite(gains)) or np.any(gains < 0.0):
            raise ValueError("stiffness must contain only non-negative values")
        self._host = robot._host
        robot.join_motion()
        arm = _arm(self._host)
        arm.settings["stiffness"] = gains
        arm.sessions += 1
        arm.session, arm.mode, before = self, RobotMode.Move, arm.mode
        arm.body.target = arm.body.position.copy()
        if before is not RobotMode.Idle:
            arm._end("libfranka: Move command rejected: command not possible in the current mode!", before)

    @property
    def is_running(self):
        arm = _arms[self._host]
        if not arm.body.reachable:
            arm._end("libfranka: UDP receive: Timeout", arm.mode)
        return arm.session is not None

    def set_target(self, q, dq=None, tau_ff=None):
        assert np.shape(q) == (7,)
        arm = _arm(self._host)
        if arm.session is self:
            arm.targets.append((np.array(q), np.zeros(7) if dq is None else np.array(dq)))
            arm.body.aim(q)

    def stop(self, stop_motion=None):
        arm = _arm(self._host)
        if arm.session is not None:
            arm.session, arm.mode = None, RobotMode.Idle
        elif arm.why:
            why, arm.why = arm.why, ""
            raise _ControlException(why)


class Gripper:
    def __init__(self, fci_hostname):
        self._host = fci_hostname
        if _arm(fci_hostname).hand_lost:
            raise RuntimeError("libfranka: Connection to FCI refused")

    @property
    def width(self):
        arm = _arm(self._host)
        if arm.hand_lost:
            raise RuntimeError("libfranka: UDP receive: Timeout")
        return arm.width

    def _carry_out(self):
        arm = _arm(self._host)
        if arm.hand_fails:
            raise _CommandException("libfranka gripper: Command failed!")
        if arm.slow is not None and arm.slow.wait(10):
            raise _CommandException("libfranka gripper: Command aborted!")
        return arm

    def move(self, width, speed):
        _arm(self._host).moves.append(width)
        arm = self._carry_out()
        arm.width = width
        return True

    def grasp(self, width, speed, force, epsilon_inner=0.005, epsilon_outer=0.005):
        _arm(self._host).grasps.append((width, speed, force))
        arm = self._carry_out()
        arm.width = max(width, arm.blocked_at)
        return -epsilon_inner < arm.width - width < epsilon_outer

    def homing(self):
        _arm(self._host).homings += 1
        arm = self._carry_out()
        arm.width = 0.08
        return True

    def stop(self):
        arm = _arm(self._host)
        time.sleep(arm.stop_s)
        if arm.slow is not None:
            arm.slow.set()
        return True
