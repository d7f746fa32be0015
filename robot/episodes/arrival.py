"""An episode on its way into a store: its numbers at hand, its pictures still where they came from.

A source yields arrivals and refusals one at a time, so that one bad part costs nothing but itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from robot.core.data import Episode, Image, RobotSpec
from robot.core.errors import SailError
from robot.core.text import visible
from robot.episodes.description import Heading, to_bytes
from robot.episodes.labels import Label
from robot.episodes.repair.soundness import weakness
from robot.episodes.video import VideoFacts

LONGEST_REASON = 500
"""Characters, at most."""


class UnfitError(SailError):
    """Say why one part of a source cannot be taken in; its other parts can. Words of the source are made visible."""

    def __init__(self, why: str) -> None:
        super().__init__(visible(why, LONGEST_REASON))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say what of a source is left out, by its name there, and why."""

    what: str
    why: str


class Pictures(Protocol):
    """Lend the pictures of one camera of an episode, from where they lie. Its methods raise UnfitError."""

    @property
    def size(self) -> tuple[int, int]:
        """Return their rows and columns."""
        ...

    def digest(self) -> bytes:
        """Return what is the same for the same pictures, wherever they lie."""
        ...

    def frames(self) -> Iterator[Image]:
        """Yield them, uint8 (H, W, 3), one at a time."""
        ...

    @property
    def lossy(self) -> bool:
        """Return whether they have lost something already, as most video has."""
        ...

    def copy(self, path: Path) -> VideoFacts | None:
        """Write them to a video as they are encoded already, or return None where that cannot be done.

        Raises OSError where the file cannot be written.
        """
        ...


def check(episode: Episode) -> None:
    """Raise UnfitError where a store, or what reads one, could not do with an episode that somebody else wrote down."""
    vectors = (episode.proprio, episode.requested, episode.sent)
    singles = (episode.times_s, episode.success, episode.reward, episode.intervention)
    if any(values.ndim != 2 or values.dtype != np.float32 for values in vectors):
        raise UnfitError("its states and actions are not rows of numbers")
    if any(values is not None and values.ndim != 1 for values in singles):
        raise UnfitError("its times, flags and rewards are not single numbers")
    if episode.requested.shape != episode.sent.shape or not _describes(episode.spec, episode):
        raise UnfitError("its robot, its states and its actions are of different sizes")
    try:
        to_bytes(Heading.of(episode).as_json())
    except ValueError:  # half a character, which JSON can spell
        raise UnfitError("its words are no text") from None
    if odd := weakness(episode):
        raise UnfitError(f"it {odd.wrong}")


def _describes(spec: RobotSpec | None, episode: Episode) -> bool:
    """Return whether a robot's description, where there is one, is of numbers as many as an episode has."""
    if spec is None:
        return True
    sizes = {len(spec.proprio_names), len(spec.proprio_units)} == {episode.proprio.shape[1]}
    words = (*spec.action.names, *spec.action.units, *spec.proprio_names, *spec.proprio_units, spec.name)
    return sizes and spec.action.size == episode.sent.shape[1] and all(isinstance(word, str) for word in words)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Hold an episode that can be taken in.

    `number`: its index in the source. `bare`: all of it but the pictures; its id is the one it asks for, or empty.
    `labels`: what is said about it; those that have an id were said somewhere else before. `left_out`: parts of it that
    stay behind. `notes`: what was mended or assumed.
    """

    number: int
    bare: Episode
    pictures: Mapping[str, Pictures] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    left_out: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()

    def whole(self) -> Episode:
        """Return the episode with all its pictures in memory; raise UnfitError where one cannot be read."""
        frames = {camera: np.stack(list(pictures.frames())) for camera, pictures in self.pictures.items()}
        return dataclasses.replace(self.bare, frames=frames)

    def digest(self) -> str:
        """Return 32 hexadecimal digits of what was recorded: the same wherever the source lies and whoever takes it in.

        What was said of it later, how it ended among that, and its number in the source do not enter.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps(self._words(), sort_keys=True).encode())
        for name in ("proprio", "requested", "sent", "times_s", "success", "reward", "intervention"):
            values = getattr(self.bare, name)
            digest.update(f"{name} {None if values is None else values.shape}".encode())
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        for camera, pictures in sorted(self.pictures.items()):
            digest.update(f"{camera!a} {pictures.size}".encode())
            digest.update(pictures.digest())
        return digest.hexdigest()

    def _words(self) -> dict[str, object]:
        spec = self.bare.spec
        return {
            "instruction": self.bare.instruction,
            "robot": self.bare.robot,
            "names": None if spec is None else [spec.action.names, spec.proprio_names, spec.action.rate_hz],
            "labels": [[one.field.value, one.value, one.span] for one in self.labels if not one.label_id],
        }
