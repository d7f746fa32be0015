"""A double of ur-rtde's module for what the pendant's buttons do."""

from __future__ import annotations

import time

from tests.doubles import ur as _ur


class DashboardClient:
    def __init__(self, hostname, port=29999, verbose=False):
        self._host = hostname
        self._open = False

    def connect(self, timeout_ms=2000):
        if not _ur.controller(self._host).dashboard:
            raise RuntimeError("Timeout connecting to UR dashboard server.")
        self._open = True

    def _heard(self, words):
        if not self._open:
            raise RuntimeError("DashboardClient: Socket has not been instantiated, before calling send function.")
        controller = _ur.controller(self._host)
        if not controller.dashboard:
            raise RuntimeError("write: Broken pipe")
        controller.heard.append(words)
        return controller

    def isConnected(self):
        return self._open

    def stop(self):
        controller = self._heard("stop")
        if controller.program == _ur.STOPPED:
            raise RuntimeError("Failed to execute: stop")
        controller.end()

    def closeSafetyPopup(self):
        self._heard("close safety popup")

    def unlockProtectiveStop(self):
        controller = self._heard("unlock protective stop")
        if time.monotonic() - controller.stopped_s < 5.0:
            raise RuntimeError(
                "Unlock protective stop failure: Cannot unlock protective stop until 5s after occurrence. "
                "Always inspect cause of protective stop before unlocking"
            )
        controller.safety = _ur.NORMAL

    def disconnect(self):
        self._open = False
