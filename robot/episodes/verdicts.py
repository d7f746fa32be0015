"""Which verdict on an episode counts, and what tells that something new was said about it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from robot.core.data import Verdict
from robot.episodes.labels import FILE, OLD_FILE, source_rank


def settled(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict that counts: a person's over the simulator's over a model's, and of one rank the last.

    A judge without an opinion, which keeps everything, does not count.
    """
    said = [verdict for verdict in reversed(verdicts) if source_rank(verdict.source) > 0]
    return max(said, key=lambda verdict: source_rank(verdict.source), default=None)


def signature(folder: str) -> str:
    """Return what changes when something is said about the episode in `folder`; empty where nothing was."""
    found = []
    for name in (OLD_FILE, FILE):
        try:
            facts = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        found.append(f"{facts.st_mtime_ns}:{facts.st_size}")
    return " ".join(found)
