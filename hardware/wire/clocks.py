"""How far apart the monotonic clocks of two machines are."""

from __future__ import annotations

import time
from collections import deque

now = time.monotonic
"""The clock of every time in this package: seconds, monotonic, with an origin of its own on each machine."""


class ClockOffset:
    """Estimate what to add to this machine's clock to get the other's.

    Of the latest exchanges, the one with the shortest round trip says it best: its error is at most half of that trip.
    Source: Mills (1991), the clock filter of NTP.
    """

    def __init__(self, kept: int = 64) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=kept)

    def add(self, sent_s: float, received_there_s: float, sent_there_s: float, received_s: float) -> None:
        """Take one exchange: sent here, received there, answered there, received here."""
        trip_s = (received_s - sent_s) - (sent_there_s - received_there_s)
        if trip_s < 0 or sent_there_s < received_there_s:
            return
        self._samples.append((trip_s, ((received_there_s - sent_s) + (sent_there_s - received_s)) / 2))

    def forget(self) -> None:
        """Know nothing of the other clock any more, as when the other machine was started again."""
        self._samples.clear()

    @property
    def known(self) -> bool:
        """Return whether there has been an exchange."""
        return bool(self._samples)

    @property
    def offset_s(self) -> float:
        """Return what to add to this machine's time to get the other's, 0 before the first exchange."""
        return min(self._samples)[1] if self._samples else 0.0

    @property
    def error_s(self) -> float:
        """Return how far off that may be at most."""
        return min(self._samples)[0] / 2 if self._samples else float("inf")
