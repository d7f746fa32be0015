"""Ask a judge, and let none but the simulator's own word see the simulator's word."""

from __future__ import annotations

from collections.abc import Sequence

from robot.core.data import Episode, Verdict
from robot.core.protocols import ReadsTruth, RewardModel


def reads_truth(judge: RewardModel) -> bool:
    """Return whether a judge says that it reads the simulator's own word."""
    return isinstance(judge, ReadsTruth) and judge.reads_truth is True


def judged(judge: RewardModel, episodes: Sequence[Episode]) -> list[Verdict]:
    """Return one verdict an episode; a judge that does not read the truth is shown episodes without it."""
    return judge.judge(episodes if reads_truth(judge) else [episode.without_truth() for episode in episodes])
