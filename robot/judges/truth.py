"""The simulator's own answer, as a judge."""

from __future__ import annotations

from collections.abc import Sequence

from robot.core.data import Episode, Verdict
from robot.core.errors import SailError


def succeeded(episode: Episode) -> bool:
    """Return whether the simulator called any step of the episode a success.

    Raises SailError where the robot that recorded it knows no ground truth (a physical arm).
    """
    if episode.success is None:
        name = episode.episode_id or f"of {episode.task!r} with seed {episode.seed}"
        raise SailError(
            f"Episode {name} was recorded on {episode.robot!r}, which knows no ground truth: "
            "choose another judge than judge=truth."
        )
    return bool(episode.success.any())


class GroundTruth:
    """Call an episode a success when the simulator did, at any of its steps. The probability is 0 or 1."""

    source = "truth"
    model = ""
    identity = source
    reads_truth = True

    def judge(self, episodes: Sequence[Episode]) -> list[Verdict]:
        """Return one verdict an episode; raise SailError for an episode without ground truth."""
        return [Verdict(float(succeeded(episode)), self.source) for episode in episodes]
