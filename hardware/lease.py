"""Who may command: one holder at a time, for as long as its heart beats."""

from __future__ import annotations

import secrets


class Lease:
    """Lend the arm to one client. A lease that has not been beaten for `lease_s` is over."""

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self._token = ""
        self._holder = ""
        self._beat_s = 0.0

    def holder(self, now_s: float) -> str:
        """Return who holds the lease, or an empty string."""
        if self._token and now_s - self._beat_s >= self.lease_s:
            self._token, self._holder = "", ""
        return self._holder

    def acquire(self, client: str, now_s: float) -> tuple[str, str]:
        """Return a new token and an empty string, or an empty token and who holds the lease."""
        if holder := self.holder(now_s):
            return "", holder
        self._token, self._holder, self._beat_s = secrets.token_hex(16), client or "somebody", now_s
        return self._token, ""

    def beat(self, token: str, now_s: float) -> bool:
        """Prolong the lease; return whether the token holds it."""
        if not self.held_by(token, now_s):
            return False
        self._beat_s = max(self._beat_s, now_s)
        return True

    def held_by(self, token: str, now_s: float) -> bool:
        """Return whether a token holds the lease."""
        self.holder(now_s)
        return bool(self._token) and secrets.compare_digest(self._token.encode(), token.encode())

    def release(self) -> None:
        """Give the lease back."""
        self._token, self._holder = "", ""
