"""A double of xarm.wrapper, written after the package's own source (xarm-python-sdk 1.18.4, folders x3 and core).

What it takes from there: only commands of motion answer with a code of the box; all others answer 0 whether or not the
box is in error (`Base._check_code`). `state`, `mode` and `error_code` are those of the latest report, some five a
second, or of the latest question. A gripper in error answers to a question with a bare number and not with a pair
(`Gripper._get_modbus_gripper_position`). One call at a time goes out over a connection (`lock_require`).
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from tests.doubles.body import Body as _Body

_boxes: dict[str, _Box] = {}
_NOT_CONNECTED, _OUT_OF_RANGE, _ERROR, _NOT_READY, _WRONG_BAUD, _GRIPPER_FAULT = -1, -8, 1, 9, 22, 102
_GRIPPER_BAUD = 2_000_000
_SLACK = math.radians(0.1)
_TURN = (-2 * math.pi, 2 * math.pi)
_LIMITS = {
    6: [_TURN, (-2.059488, 2.094395), (-3.92699, 0.191986), _TURN, (-1.692969, math.pi), _TURN],
    7: [_TURN, (-2.059488, 2.094395), _TURN, (-0.191986, 3.92699), _TURN, (-1.692969, math.pi), _TURN],
    9: [_TURN, (-2.617994, 2.617994), (-0.061087, 5.235988), _TURN, (-2.164208, 2.164208), _TURN],
    12: [_TURN, (-2.303835, 2.303835), (-4.223697, 0.061087), _TURN, (-2.164208, 2.164208), _TURN],
    61305: [_TURN, (-2.042035, 2.024581), (-3.822271, 0.174532), _TURN, (-1.692969, math.pi), _TURN],
    71305: [_TURN, (-2.042035, 2.024581), _TURN, (-0.10472, 3.92699), _TURN, (-1.692969, math.pi), _TURN],
}


@dataclass
class _Box:
    """The control box. `told` is what the latest report said; with `reporting` off it goes stale.

    `baud` is the gripper's; `slow_s` is how long one exchange with it takes.
    """

    joints: int = 7
    device_type: int = 7
    serial: str = "XI130406B01L01"
    body: _Body = field(default_factory=lambda: _Body(7))
    pulses: float = 850.0
    error: int = 0
    warning: int = 0
    pressed: bool = False
    enabled: bool = False
    mode: int = 0
    state: int = 4
    gripper_error: int = 0
    baud: int = _GRIPPER_BAUD
    slow_s: float = 0.0
    reporting: bool = True
    connections: int = 0
    entries: int = 0
    moves: list[float] = field(default_factory=list)

    def halt(self, state: int = 4) -> None:
        """Stop or pause, as another program's set_state does."""
        self.state = state
        self.body.target = self.body.position.copy()

    def fail(self, error: int) -> None:
        """Stop with an error of its own."""
        self.error, self.enabled, self.mode = error, False, 0
        self.halt()

    def press(self) -> None:
        """Press the stop button: the arm and what hangs on its flange lose power."""
        self.pressed = True
        self.fail(1)

    def release(self) -> None:
        """Turn the stop button loose; the error stays until somebody clears it."""
        self.pressed = False


class XArmAPI:
    def __init__(self, port=None, is_radian=False, do_not_open=False, **kwargs):
        self._port = port
        self._checks_limits = kwargs.get("check_joint_limit", True)
        self._reports = kwargs.get("enable_report", True)
        self._told = (4, 0, 0)
        self._lock = threading.Lock()
        if not self._reachable:
            raise Exception("connect socket failed")
        self._box.connections += 1

    @property
    def _box(self):
        return _boxes[self._port]

    @property
    def _reachable(self):
        return self._port in _boxes and self._box.body.reachable

    def _latest(self):
        if self._reports and self._reachable and self._box.reporting:
            self._told = (self._box.state, self._box.mode, self._box.error)
        return self._told

    def _ask_state(self):
        self._told = (self._box.state, *self._told[1:])

    @property
    def connected(self):
        return self._reachable

    @property
    def state(self):
        return self._latest()[0]

    @property
    def mode(self):
        return self._latest()[1]

    @property
    def error_code(self):
        return self._latest()[2]

    @property
    def axis(self):
        return self._box.joints

    @property
    def device_type(self):
        return self._box.device_type

    @property
    def sn(self):
        return self._box.serial

    def get_joint_states(self, is_radian=None, num=3):
        if not self._reachable:
            return _NOT_CONNECTED, "xArm is not connect"
        with self._lock:
            row = np.zeros(7)
            row[: self._box.joints] = self._box.body.position
            return 0, [(row if is_radian else np.rad2deg(row)).tolist(), [0.0] * 7, [0.0] * 7]

    def _out_of_range(self, angles):
        box = self._box
        newer = 1305 <= int(box.serial[2:6]) < 8500
        limits = _LIMITS.get(int(f"{box.joints}1305") if newer else box.device_type, [])
        return any(
            not low - _SLACK <= angle <= high + _SLACK for angle, (low, high) in zip(angles, limits, strict=False)
        )

    def set_servo_angle_j(self, angles, speed=None, mvacc=None, mvtime=None, is_radian=None, **kwargs):
        box = self._box
        if not self._reachable:
            return _NOT_CONNECTED
        assert len(angles) == box.joints
        angles = np.array(angles if is_radian else np.deg2rad(angles))
        if self._checks_limits and self._reports and self._out_of_range(angles):
            return _OUT_OF_RANGE
        with self._lock:
            if box.error:
                return _ERROR
            if box.state > 3 or not box.enabled or box.mode != 1:
                return _NOT_READY
            if box.state == 3:  # what a paused box answers is not documented; at worst it goes there once it is resumed
                box.body.commands += 1
                box.body.target = angles
            else:
                box.body.aim(angles)
            return 0

    def motion_enable(self, enable=True, servo_id=None):
        if not self._reachable:
            return _NOT_CONNECTED
        if not self._box.error:
            self._box.enabled = enable
        self._ask_state()
        return 0

    def set_mode(self, mode=0, detection_param=0):
        if not self._reachable:
            return _NOT_CONNECTED
        box = self._box
        if not box.error and mode != box.mode:
            box.mode = mode
            box.state = max(box.state, 4)
        return 0

    def set_state(self, state=0):
        if not self._reachable:
            return _NOT_CONNECTED
        box = self._box
        if state in (3, 4):
            box.halt(state)
        elif not box.error and box.enabled:
            box.state = 2
            box.entries += 1
            box.body.settle()
        self._ask_state()
        return 0

    def get_state(self):
        if not self._reachable:
            return _NOT_CONNECTED, "xArm is not connect"
        self._ask_state()
        return 0, self._box.state

    def get_err_warn_code(self, show=False, lang="en"):
        if not self._reachable:
            return _NOT_CONNECTED, "xArm is not connect"
        self._told = (*self._told[:2], self._box.error)
        return 0, [self._box.error, self._box.warning]

    def clean_error(self):
        if not self._reachable:
            return _NOT_CONNECTED
        if not self._box.pressed:
            self._box.error = 0
        self._ask_state()
        return 0

    def clean_warn(self):
        self._box.warning = 0
        return 0 if self._reachable else _NOT_CONNECTED

    def _reach_gripper(self, check_baud):
        """Return a code; the package mends a wrong rate by itself, and clears an error and a stop with it."""
        if not self._reachable:
            return _NOT_CONNECTED
        box = self._box
        with self._lock:
            time.sleep(box.slow_s)
        if box.pressed:
            return _WRONG_BAUD
        if check_baud and box.baud != _GRIPPER_BAUD:
            box.baud = _GRIPPER_BAUD
            if box.error in (19, 28):
                running = self.state not in (4, 5)
                self.clean_error()
                if running:
                    self.set_state(0)
        return 19 if box.error in (19, 28) else 0

    def set_gripper_enable(self, enable, **kwargs):
        if code := self._reach_gripper(kwargs.get("check_baud", True)):
            return code
        return _GRIPPER_FAULT if self._box.gripper_error else 0

    def set_gripper_position(self, pos, wait=False, speed=None, auto_enable=False, timeout=None, **kwargs):
        while kwargs.get("wait_motion", True) and self.mode == 0 and self._reachable and self._box.state < 2:
            time.sleep(0.05)
        if code := self._reach_gripper(kwargs.get("check_baud", True)):
            return code
        if self._box.gripper_error:
            return _GRIPPER_FAULT
        self._box.pulses = pos
        self._box.moves.append(pos)
        return 0

    def get_gripper_position(self, **kwargs):
        if code := self._reach_gripper(kwargs.get("check_baud", True)):
            return code, None
        return _GRIPPER_FAULT if self._box.gripper_error else (0, self._box.pulses)

    def get_gripper_err_code(self, **kwargs):
        if code := self._reach_gripper(kwargs.get("check_baud", True)):
            return code, 0
        return 0, self._box.gripper_error

    def clean_gripper_error(self, **kwargs):
        if code := self._reach_gripper(kwargs.get("check_baud", True)):
            return code
        self._box.gripper_error = 0
        return 0

    def disconnect(self):
        if self._port in _boxes:
            self._box.connections -= 1
