"""Who may command: one holder at a time, for as long as its heart beats."""

from __future__ import annotations

import secrets
import threading


class Lease:
    """Lend the arm to one client. A lease that has not been beaten for `lease_s` is over. Any thread may ask."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self._lock = threading.Lock()
        self._token = ""
        self._holder = ""
        self._beat_s = 0.0

    def holder(self, now_s: float) -> str:
        """Return who holds the lease, or an empty string; asking changes nothing."""
        with self._lock:
            return self._holder if self._is_held(now_s) else ""

    def acquire(self, client: str, now_s: float) -> tuple[str, str]:
        """Return a new token and an empty string, or an empty token and who holds the lease."""
        with self._lock:
            if self._is_held(now_s):
                return "", self._holder
            self._token, self._holder, self._beat_s = secrets.token_hex(16), client or "somebody", now_s
            return self._token, ""

    def beat(self, token: str, now_s: float) -> bool:
        """Prolong the lease; return whether the token holds it."""
        with self._lock:
            if not self._is_held_by(token, now_s):
                return False
            self._beat_s = max(self._beat_s, now_s)
            return True

    def held_by(self, token: str, now_s: float) -> bool:
        """Return whether a token holds the lease."""
        with self._lock:
            return self._is_held_by(token, now_s)

    def release(self) -> None:
        """Give the lease back."""
        with self._lock:
            self._token, self._holder = "", ""

    def _is_held(self, now_s: float) -> bool:
        return bool(self._token) and now_s - self._beat_s < self.lease_s

    def _is_held_by(self, token: str, now_s: float) -> bool:
        return self._is_held(now_s) and secrets.compare_digest(self._token.encode(), token.encode())
