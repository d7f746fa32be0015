"""Take an episode of somebody else's into a store, picture by picture, under a name that its content gives.

The same content has the same name, so that nothing is taken in twice, and two imports at once do not meet.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.core.data import Action, Image, Observation
from robot.core.errors import NameTakenError, SailError
from robot.episodes.arrival import Arrival, Pictures, UnfitError
from robot.episodes.description import Heading
from robot.episodes.steps import DONE, read_steps, table_in
from robot.episodes.store import EpisodeStore
from robot.episodes.video import CAMERA, LOSSLESS, Quality
from robot.episodes.writer import LARGE, EpisodeWriter

CONTENT, NOTES = "content", "notes"
"""Keys of a description: what an episode was made of, and what was mended on the way."""
LONGEST_STEM = 60


@dataclass(frozen=True, slots=True)
class Stored:
    """Say under which id an episode is in the store, and whether it is new there.

    `labels`: how many were added to one that was there.
    """

    name: str
    is_new: bool
    labels: int = 0


def take_in(
    store: EpisodeStore, arrival: Arrival, quality: Quality | None = None, more: Mapping[str, Any] | None = None
) -> Stored:
    """Store an episode, unless it is there, and return its id; what is newly said of one that is there is added to it.

    Video that can be copied is; what cannot is encoded anew, with `quality`, or where that is None: bit for bit where
    the source has every bit and the pictures are small, else as pictures of large cameras are. `more` is added to its
    description. Raises UnfitError where the episode cannot be taken in, and SailError where nothing can: the disk is
    full. Neither leaves anything behind.
    """
    content = arrival.digest()
    for name in _names(arrival, content):
        if store.path(name).exists():
            if _is_same(store, name, arrival, content):
                return Stored(name, False, _add_labels(store, name, arrival))
            continue
        try:
            _write(store, name, arrival, quality, {CONTENT: content, NOTES: list(arrival.notes), **(more or {})})
            return Stored(name, True)
        except NameTakenError:  # another import was faster: what it stored is looked at like any other
            if _is_same(store, name, arrival, content):
                return Stored(name, False, _add_labels(store, name, arrival))
    raise UnfitError(f"another episode is called {_names(arrival, content)[-1]} in {store.folder}")


def _names(arrival: Arrival, content: str) -> tuple[str, ...]:
    """Return the ids that an episode may have, the likeliest first: its own, and ones made from its content."""
    own = arrival.bare.episode_id
    stem = own or re.sub(r"[^A-Za-z0-9_-]+", "_", arrival.bare.task).strip("_-")[:LONGEST_STEM] or "episode"
    return (*((own,) if own else ()), f"{stem}-{content[:12]}", f"{stem}-{content}")


def _is_same(store: EpisodeStore, name: str, arrival: Arrival, content: str) -> bool:
    """Return whether an episode of the store is the one that arrives.

    Raises UnfitError where it is, but said to have ended otherwise, and where it cannot be read.
    """
    try:
        about = store.about(name)
        if CONTENT in about:
            same = bool(about[CONTENT] == content)
        else:  # recorded here, and come back: a set of theirs has no place for its last step
            rows = read_steps(table_in(store.path(name)))
            same = all(_begins(rows[key], getattr(arrival.bare, key)) for key in ("proprio", "sent"))
    except (SailError, KeyError) as problem:
        raise UnfitError(f"{name} is in the store, damaged: `sail episodes doctor` says more") from problem
    if same and about["outcome"] != arrival.bare.outcome.value:
        raise UnfitError(f"it is in the store as {name}, with the outcome {about['outcome']}")
    return same


def _add_labels(store: EpisodeStore, name: str, arrival: Arrival) -> int:
    """Append what was said of an episode elsewhere and is not known here; return how many labels that are."""
    try:
        known = {label.label_id for label in store.labels(name)}
        new = [label for label in arrival.labels if label.label_id and label.label_id not in known]
        return len(store.append_labels(name, new)) if new else 0
    except SailError as problem:
        raise UnfitError(f"{name} is in the store, and what is said of it there damaged: {problem}") from problem


def _begins(stored: np.ndarray[Any, Any], arriving: np.ndarray[Any, Any]) -> bool:
    return 0 <= len(stored) - len(arriving) <= 1 and bool(np.array_equal(stored[: len(arriving)], arriving))


def _write(store: EpisodeStore, name: str, arrival: Arrival, quality: Quality | None, more: Mapping[str, Any]) -> None:
    bare = arrival.bare
    writer = EpisodeWriter(store.folder, Heading.of(bare), name, _quality(arrival, quality), 0)
    try:
        streamed = {
            camera: pictures
            for camera, pictures in arrival.pictures.items()
            if not writer.attach(camera, pictures.copy)
        }
        _record(arrival, streamed, writer)
        writer.seal(bare.outcome, more=more, labels=arrival.labels)
    except BaseException:
        writer.leave()
        with contextlib.suppress(OSError):
            shutil.rmtree(writer.folder)
        raise


def _quality(arrival: Arrival, quality: Quality | None) -> Quality:
    if quality is not None:
        return quality
    rows, columns = LARGE
    small = all(one.size[0] < rows or one.size[1] < columns for one in arrival.pictures.values())
    return LOSSLESS if small and not any(one.lossy for one in arrival.pictures.values()) else CAMERA


def _record(arrival: Arrival, pictures: Mapping[str, Pictures], writer: EpisodeWriter) -> None:
    """Write the steps of an episode, and those pictures that were not copied, as they are decoded."""
    bare = arrival.bare
    done = {key: getattr(bare, key) for key in DONE}
    writer.no_actions = {key: values[:0] for key, values in done.items() if values is not None}
    for step, images in enumerate(_together(pictures, len(bare) + 1)):
        seen = Observation(images, bare.proprio[step], float(bare.times_s[step]))
        if not step:
            writer.observe(seen)
            continue
        known = [values[step - 1].item() if values is not None else None for values in list(done.values())[2:]]
        writer.step(Action(bare.requested[step - 1]), Action(bare.sent[step - 1]), seen, *known)


def _together(pictures: Mapping[str, Pictures], count: int) -> Iterator[dict[str, Image]]:
    """Yield what all cameras saw at each instant; raise UnfitError where one of them has too few pictures."""
    rolls = {camera: one.frames() for camera, one in pictures.items()}
    for step in range(count):
        images = {camera: next(roll, None) for camera, roll in rolls.items()}
        short = [camera for camera, image in images.items() if image is None]
        if short:
            raise UnfitError(f"camera {short[0]}: it has {step} pictures for {count} rows")
        yield {camera: image for camera, image in images.items() if image is not None}
