"""A double of ur-rtde's module for commands."""

from __future__ import annotations

from tests.doubles import ur as _ur


class RTDEControlInterface:
    def __init__(self, hostname, frequency=-1.0, flags=1, ur_cap_port=50002, rt_priority=0):
        self._host = hostname
        controller = _ur.controller(hostname)
        if not controller.remote:
            raise RuntimeError("ur_rtde: Please enable remote control on the robot!")
        self._load(controller)
        if controller.program != _ur.PLAYING:
            raise RuntimeError("ur_rtde: Failed to start control script, before timeout of 5 seconds")

    def _load(self, controller):
        self._connection = controller.connection
        controller.load()

    def _controller(self):
        """Return the controller, connected anew and with a new script where the connection was lost."""
        controller = _ur.controller(self._host)
        if self._connection != controller.connection:
            self._load(controller)
        return controller

    def isConnected(self):
        controller = _ur.controllers.get(self._host)
        return controller is not None and controller.body.reachable and self._connection == controller.connection

    def isProgramRunning(self):
        return _ur.controllers[self._host].program == _ur.PLAYING

    def servoJ(self, arg0, arg1, arg2, arg3, arg4, arg5):
        assert isinstance(arg0, list) and len(arg0) == 6
        assert 0.03 <= arg4 <= 0.2 and 100 <= arg5 <= 2000
        controller = self._controller()
        if controller.program != _ur.PLAYING:
            return False
        controller.follow(arg0)
        return True

    def servoStop(self, a=10.0):
        controller = self._controller()
        if controller.program != _ur.PLAYING:
            return False
        controller.target = None
        controller.body.target = controller.body.position.copy()
        return True

    def stopScript(self):
        controller = self._controller()
        if controller.program == _ur.PLAYING:  # a paused script does not hear it
            controller.end()

    def reuploadScript(self):
        self._load(self._controller())
        return True

    def disconnect(self):
        return None
