"""A double of ur-rtde's module for states."""

from __future__ import annotations

from tests.doubles import ur as _ur


class RTDEReceiveInterface:
    def __init__(
        self, hostname, frequency=-1.0, variables=(), verbose=False, use_upper_range_registers=False, rt_priority=0
    ):
        self._host = hostname
        self._last = _ur.controller(hostname)

    def isConnected(self):
        return self._last.body.reachable

    def getTimestamp(self):
        return self._last.stamp

    def getActualQ(self):
        return self._last.body.position.tolist()

    def getActualQd(self):
        return [0.0] * 6

    def getRobotMode(self):
        return self._last.mode

    def getSafetyMode(self):
        return self._last.safety

    def getRuntimeState(self):
        return self._last.program

    def disconnect(self):
        return None
