"""Press what is on a Universal Robots pendant from here: end the program, unlock a protective stop.

Source: Universal Robots, "Dashboard Server e-Series, port 29999": `stop`, `close safety popup` and `unlock protective
stop`, which is refused for the first 5 s after the stop. The arm must be in remote control.
"""

from __future__ import annotations

import contextlib
from typing import Any

from hardware.extras import maker_package


class Pendant:
    """Hold a connection to the controller's dashboard at `host`. What the maker's package raises, it raises too."""

    def __init__(self, host: str) -> None:
        package = maker_package("dashboard_client", "ur", "A UR arm")
        self._client: Any = package.DashboardClient(host)
        self._client.connect()

    def end_program(self) -> None:
        """End the program, also a paused one, so that nobody can let it go on to where it was sent last."""
        self._client.stop()

    def unlock(self) -> None:
        """Unlock a protective stop, as a person at the arm asked for."""
        self._client.closeSafetyPopup()
        self._client.unlockProtectiveStop()

    def reconnect(self) -> None:
        """Connect anew, in case the connection was lost unnoticed."""
        self._client.disconnect()
        self._client.connect()

    def close(self) -> None:
        """Disconnect; closing twice is allowed."""
        with contextlib.suppress(Exception):
            self._client.disconnect()
