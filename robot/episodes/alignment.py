"""Say which imagined frame belongs to which instant of an episode."""

from __future__ import annotations

from robot.core.data import Episode


def imagined_at(episode: Episode, step: int) -> tuple[int, int]:
    """Return the number of the plan that led to observation `step`, and the frame it imagined for that instant.

    The frame nearest in time is taken: frame i of a plan is imagined for (i + 1) · `stride_s` seconds after the
    observation it was planned from, and that observation itself stands for 0 s, as frame −1. The plan is the latest
    one that began before `step` (at `step` 0, the first). An episode without plans gives plan −1.
    """
    if not episode.plans:
        return -1, -1
    number = max((n for n, placed in enumerate(episode.plans) if placed.step < step), default=0)
    placed = episode.plans[number]
    elapsed_s = float(episode.times_s[step] - episode.times_s[placed.step])
    return number, min(round(elapsed_s / placed.plan.stride_s), len(placed.plan)) - 1
