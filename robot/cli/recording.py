"""Record what is missing of a set of episodes, and find what was recorded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from robot.cli.screen import Meter
from robot.core.files import FolderLock
from robot.episodes.store import EpisodeStore
from sim.collect import DataKind, Request, collect


def episode_name(request: Request) -> str:
    """Return the id under which the episode asked for is stored: the same request, options included, the same id."""
    asked = dataclasses.asdict(request)
    options = {name: asked[name] for name in asked if name not in ("task", "kind", "seed")}
    return f"{request.task}-{request.kind}-{request.seed:06d}-{_digest(options)}"


def form_of(request: Request) -> str:
    """Return a name for what episodes must share to be learnt from together: cameras, picture size and rate."""
    return _digest({name: getattr(request, name) for name in ("cameras", "image_size", "action_repeat")})


def _digest(options: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:8]


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
    """Record the episodes that the store does not hold yet and return how many those were.

    Where another process records into the store, HeldError is raised; or `waiting` is called with a sentence about it,
    and what it left undone is recorded when it has ended.
    """
    if not _missing(store, requests):
        return 0
    with FolderLock(store.folder, "record into another folder with data=…", waiting):
        missing = _missing(store, requests)
        if missing:
            meter.begin(what, len(missing))
            for request, episode in zip(missing, collect(missing, workers or None), strict=True):
                store.add(dataclasses.replace(episode, config_hash=form_of(request)), episode_id=episode_name(request))
                meter.advance(f"{request.task}, {len(episode)} steps")
            meter.end()
    return len(missing)


def _missing(store: EpisodeStore, requests: Sequence[Request]) -> list[Request]:
    known = set(store.ids())
    return [request for request in requests if episode_name(request) not in known]


def store_of(data: str, kind: str) -> EpisodeStore:
    """Return the store of episodes of one kind in the data folder."""
    return EpisodeStore(Path(data) / kind)
