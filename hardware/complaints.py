"""Log what goes wrong again and again without filling the disk."""

from __future__ import annotations

import logging

from hardware.clocks import now

logger = logging.getLogger("sail.arm")


class Complaints:
    """Log each kind of complaint at most once in `every_s` seconds, with how many were left out since."""

    def __init__(self, every_s: float = 5.0, most_kinds: int = 64) -> None:
        self._every_s, self._most_kinds = every_s, most_kinds
        self._last: dict[str, tuple[float, int]] = {}
        self.count = 0

    def note(self, kind: str, detail: str = "") -> None:
        """Complain; `kind` is one of a few words of our own, never text from the wire."""
        self.count += 1
        if kind not in self._last and len(self._last) >= self._most_kinds:
            kind = "other"
        last_s, left_out = self._last.get(kind, (-1e9, 0))
        if now() - last_s < self._every_s:
            self._last[kind] = last_s, left_out + 1
            return
        self._last[kind] = now(), 0
        more = f" ({left_out} more since the last line)" if left_out else ""
        logger.warning("%s%s%s", kind, f": {detail[:200]!r}" if detail else "", more)
