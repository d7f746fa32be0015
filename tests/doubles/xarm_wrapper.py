"""A double of xarm.wrapper."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests.doubles.body import Body as _Body

_boxes: dict[str, _Box] = {}


@dataclass
class _Box:
    joints: int = 7
    body: _Body = field(default_factory=lambda: _Body(7))
    pulses: float = 850.0
    error: int = 0
    enabled: bool = False
    mode: int = 0
    state: int = 4


class XArmAPI:
    def __init__(self, port=None, is_radian=False, do_not_open=False, **kwargs):
        self._port = port
        if not self._reachable:
            raise Exception("connect socket failed")

    @property
    def _box(self):
        return _boxes[self._port]

    @property
    def _reachable(self):
        return self._port in _boxes and self._box.body.reachable

    @property
    def connected(self):
        return self._reachable

    @property
    def error_code(self):
        return self._box.error

    @property
    def axis(self):
        return self._box.joints

    def get_joint_states(self, is_radian=None, num=3):
        if not self._reachable:
            return -1, [[0.0] * 7] * 3
        row = np.zeros(7)
        row[: self._box.joints] = self._box.body.position
        return 0, [(row if is_radian else np.rad2deg(row)).tolist(), [0.0] * 7, [0.0] * 7]

    def set_servo_angle_j(self, angles, speed=None, mvacc=None, mvtime=None, is_radian=None, **kwargs):
        box = self._box
        if not self._reachable:
            return -1
        if box.error:
            return 1
        if not (box.enabled and box.mode == 1 and box.state == 0):
            return 9
        assert len(angles) == box.joints
        box.body.aim(angles if is_radian else np.deg2rad(angles))
        return 0

    def motion_enable(self, enable=True, servo_id=None):
        self._box.enabled = enable
        return 0 if self._reachable else -1

    def set_mode(self, mode=0, detection_param=0):
        self._box.mode = mode
        return 0 if self._reachable else -1

    def set_state(self, state=0):
        self._box.state = state
        return 0 if self._reachable else -1

    def set_gripper_enable(self, enable, **kwargs):
        return 0 if self._reachable else -1

    def set_gripper_position(self, pos, wait=False, speed=None, auto_enable=False, timeout=None, **kwargs):
        self._box.pulses = pos
        return 0 if self._reachable else -1

    def get_gripper_position(self, **kwargs):
        return (0, self._box.pulses) if self._reachable else (-1, None)

    def disconnect(self):
        return None
