"""Watch how much memory a process and everything it has started hold together.

A page that several processes share counts once: the proportional set size divides it among them. Where the system does
not tell that, resident sizes are added up, which counts it in each.
"""

from __future__ import annotations

import resource
import sys
import threading

import psutil


class MemoryWatch:
    """Take a sample every `interval_s` seconds in a thread of its own, from `with` to its end, and keep the highest."""

    def __init__(self, interval_s: float = 2.0) -> None:
        if not interval_s > 0:
            raise ValueError(f"The interval between two samples of memory must be above 0 s, got {interval_s}.")
        self._interval_s = interval_s
        self._peak = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemoryWatch:
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def peak_bytes(self) -> int:
        """Return the most that a sample has found since the watch, or the last `forget`, began; 0 before the first."""
        return self._peak

    def sample(self) -> int:
        """Take a sample now, too, and return the peak."""
        self._peak = max(self._peak, held_bytes())
        return self._peak

    def forget(self) -> None:
        """Begin anew."""
        self._peak = 0

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            self.sample()


def held_bytes(process: int | None = None) -> int:
    """Return what a process (this one by default) and all its descendants hold now; what ends meanwhile counts 0."""
    return sum(map(_held_by, family(process))) or own_peak_bytes()


def own_peak_bytes() -> int:
    """Return the peak resident size of this process alone, so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def family(process: int | None = None) -> list[psutil.Process]:
    """Return a process (this one by default) and all its descendants; nothing where it has ended."""
    try:
        eldest = psutil.Process(process)
        return [eldest, *eldest.children(recursive=True)]
    except psutil.Error:
        return []


def _held_by(process: psutil.Process) -> int:
    for ask, name in ((process.memory_full_info, "pss"), (process.memory_info, "rss")):
        try:
            if held := int(getattr(ask(), name, 0)):
                return held
        except psutil.Error:  # it has ended, or another user's process tells only the latter
            continue
    return 0
