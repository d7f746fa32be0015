"""The newest picture of each camera, between the threads that read cameras and the one that publishes."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class Pictures:
    """Hand on messages, each under a name; one that was not taken yet gives way to a newer one. Nobody ever waits long.

    So a camera never waits for whoever publishes, and one that hangs keeps no socket.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._newest: dict[str, Sequence[bytes]] = {}

    def put(self, name: str, parts: Sequence[bytes]) -> None:
        """Leave the parts of a message."""
        with self._news:
            self._newest[name] = parts
            self._news.notify()

    def take(self, timeout_s: float) -> dict[str, Sequence[bytes]]:
        """Return what was left since the last time, after waiting for some for at most so long."""
        with self._news:
            if not self._newest and timeout_s > 0:
                self._news.wait(timeout_s)
            newest, self._newest = self._newest, {}
        return newest
