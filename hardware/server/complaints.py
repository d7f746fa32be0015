"""Log what goes wrong again and again without filling the disk, and without waiting for whoever reads the log."""

from __future__ import annotations

import logging
import queue
import threading
import time

from hardware.wire.clocks import now

logger = logging.getLogger("sail.arm")
MOST_WAITING = 256


class Complaints:
    """Log each kind of complaint at most once in `every_s` seconds, with how many were left out since.

    A log may be a pipe that nobody reads or a terminal that somebody has stopped, and then takes for ever. So lines are
    written by a thread of its own, and of those that wait, no more than `MOST_WAITING` are kept. `note` never waits,
    never raises, and may be called by any thread.
    """

    def __init__(self, every_s: float = 5.0, most_kinds: int = 64) -> None:
        self._every_s, self._most_kinds = every_s, most_kinds
        self._last: dict[str, tuple[float, int]] = {}
        self._lines: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self._writer: threading.Thread | None = None
        self.count = 0
        self.lost = 0

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
        try:
            self._lines.put_nowait(f"{kind}{f': {detail[:200]!r}' if detail else ''}{more}")
        except queue.Full:
            self.lost += 1
        self._see_to_a_writer()

    def flush(self, timeout_s: float = 1.0) -> bool:
        """Wait until all is written, or so long; return whether it is."""
        until_s = now() + timeout_s
        while self._lines.unfinished_tasks and now() < until_s:
            time.sleep(0.002)
        return not self._lines.unfinished_tasks

    def _see_to_a_writer(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="complaints", daemon=True)
            self._writer.start()

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            logger.warning("%s", line)
            self._lines.task_done()
