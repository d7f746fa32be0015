"""Record what is missing of a set of episodes, and find what was recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sim.collect
from robot.cli.screen import Meter
from robot.core.data import Episode
from robot.episodes.store import EpisodeStore
from sim.collect import DataKind, Request, digest


def episode_name(request: Request) -> str:
    """Return the id under which the episode asked for is stored: the same request, options included, the same id."""
    asked = dataclasses.asdict(request)
    options = {name: asked[name] for name in asked if name not in ("task", "kind", "seed")}
    return f"{request.task}-{request.kind}-{request.seed:06d}-{digest(options)}"


def requests_for(
    tasks: Sequence[str], kind: DataKind, count: int, seed: int, options: Mapping[str, object]
) -> list[Request]:
    """Return the requests for `count` episodes a task, from starts 10000 · seed and up."""
    return [
        Request(task, kind, 10_000 * seed + number, **options)  # type: ignore[arg-type]
        for task in tasks
        for number in range(count)
    ]


def record_missing(
    store: EpisodeStore,
    requests: Sequence[Request],
    meter: Meter,
    what: str,
    workers: int = 0,
    waiting: Callable[[str], object] | None = None,
) -> int:
    """Record the episodes that the store does not hold yet, under a bar, and return how many those were.

    `waiting`: see `sim.collect.record_missing`.
    """

    def recorded(request: Request, episode: Episode) -> None:
        meter.advance(f"{request.task}, {len(episode)} steps")

    wanted = {episode_name(request): request for request in requests}
    new = sim.collect.record_missing(
        store, wanted, workers or None, lambda missing: meter.begin(what, missing), recorded, waiting=waiting
    )
    if new:
        meter.end()
    return new


def store_of(data: str, kind: str) -> EpisodeStore:
    """Return the store of episodes of one kind in the data folder."""
    return EpisodeStore(Path(data) / kind)
