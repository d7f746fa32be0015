"""A double of ur-rtde's module for commands."""

from __future__ import annotations

from tests.doubles import ur as _ur


class RTDEControlInterface:
    def __init__(self, hostname, frequency=-1.0, flags=1, ur_cap_port=50002, rt_priority=0):
        controller = _ur.controller(hostname)
        if not controller.remote:
            raise RuntimeError("Failed to start control script, before timeout of 5 seconds")
        controller.scripts += 1
        self._host = hostname

    def servoJ(self, arg0, arg1, arg2, arg3, arg4, arg5):
        assert isinstance(arg0, list) and len(arg0) == 6
        assert 0.03 <= arg4 <= 0.2 and 100 <= arg5 <= 2000
        controller = _ur.controller(self._host)
        if controller.safety not in (1, 2):
            return False
        controller.body.aim(arg0)
        return True

    def servoStop(self, a=10.0):
        body = _ur.controller(self._host).body
        body.target = body.position.copy()
        return True

    def stopScript(self):
        _ur.controller(self._host).scripts -= 1

    def disconnect(self):
        return None
