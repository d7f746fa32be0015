"""Write attempts down while they run, as episodes of a store that are sealed as they end."""

from __future__ import annotations

from collections.abc import Sequence

from robot.core.data import RobotSpec
from robot.core.protocols import Recording
from robot.episodes.description import Heading, Origin
from robot.episodes.store import EpisodeStore
from robot.rollouts.rollout import Attempt, Record


def recorder(
    store: EpisodeStore,
    ids: Sequence[str],
    spec: RobotSpec,
    config_hash: str = "",
    origin: Origin = Origin(),  # noqa: B008 (frozen)
) -> Record:
    """Return what `rollout` takes as `record`: attempt number i becomes episode `ids[i]` of the store."""

    def record(number: int, attempt: Attempt) -> Recording:
        heading = Heading(
            attempt.task,
            attempt.instruction,
            spec.name,
            attempt.seed,
            spoken=attempt.words,
            config_hash=config_hash,
            spec=spec,
            origin=origin,
            begins=attempt.begins,
        )
        return store.record(heading, ids[number])

    return record
