"""Say what all episodes of a LeRobot data set have in common, and which do not belong into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode
from robot.core.errors import SailError
from robot.episodes.description import measured_rate_hz, spec_from_json
from robot.episodes.repair.soundness import weakness

FARTHEST = 0.05
"""By how much the rate of an episode's rows may differ from the one asked for, as a share of it."""
MOST_KINDS = 4
"""Kinds that a sentence names, at most."""


class MisfitError(SailError):
    """Say why an episode does not belong into a data set into which others do.

    `damaged`: something is wrong with the episode itself, of which the doctor says more.
    """

    def __init__(self, why: str, damaged: bool = False) -> None:
        super().__init__(why)
        self.damaged = damaged


@dataclass(frozen=True, slots=True)
class Layout:
    """Hold what all episodes of a data set have in common. `cameras`: name → rows and columns of its pictures."""

    fps: float
    cameras: dict[str, tuple[int, int]]
    state: tuple[str, ...]
    state_units: tuple[str, ...]
    action: tuple[str, ...]
    action_units: tuple[str, ...]

    @classmethod
    def of(cls, episode: Episode, fps: float | None = None) -> Layout:
        """Return an episode's layout, at `fps` rows a second or else at its own rate.

        Raises MisfitError where its own rate is not known, or where its rows came at another than was asked for.
        """
        spec = episode.spec
        state, action = episode.proprio.shape[1], episode.sent.shape[1]
        asked, measured = spec.action.rate_hz if spec else 0.0, measured_rate_hz(episode.times_s)
        return cls(
            _rate(fps or _own_rate_hz(asked, measured)),
            {name: _size(name, frames) for name, frames in sorted(episode.frames.items())},
            _named(spec.proprio_names if spec else (), "state", state),
            tuple(spec.proprio_units) if spec and len(spec.proprio_units) == state else (),
            _named(spec.action.names if spec else (), "action", action),
            tuple(spec.action.units) if spec and len(spec.action.units) == action else (),
        )

    @classmethod
    def described(cls, about: Mapping[str, Any], cameras: Sequence[str], fps: float | None) -> Layout | None:
        """Return the layout that an episode's description promises, of these cameras or else of all.

        None where it does not say.
        """
        try:
            spec = spec_from_json(about["spec"])
            asked = spec.action.rate_hz if spec else 0.0
            sizes = {name: (facts["height"], facts["width"]) for name, facts in sorted(about["cameras"].items())}
            return cls(
                _rate(fps or _own_rate_hz(asked, None if asked else about["rate_measured_hz"])),
                {name: size for name, size in sizes.items() if not cameras or name in cameras},
                tuple(spec.proprio_names) if spec else (),
                tuple(spec.proprio_units) if spec else (),
                tuple(spec.action.names) if spec else (),
                tuple(spec.action.units) if spec else (),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MisfitError):
            return None

    def difference(self, other: Layout) -> str:
        """Return in words how another layout differs, nothing where it does not."""
        for name in self.__slots__:
            if getattr(self, name) != getattr(other, name):
                return f"its {_called(name)} is {other.said(name)}, not {self.said(name)}"
        return ""

    def said(self, name: str) -> str:
        """Return a part of the layout in words."""
        value = getattr(self, name)
        if isinstance(value, dict):
            return ", ".join(f"{camera} {width}×{height}" for camera, (height, width) in value.items()) or "no camera"
        return f"{value:g} Hz" if isinstance(value, float) else ", ".join(value) or "unknown"


ADVICE = {"fps": "fps=…", "cameras": "size=… or camera=…"}
"""The keys of an export that choose among layouts which differ in a part; of the others, those that name episodes."""


def check_one_kind(layouts: Sequence[Layout]) -> None:
    """Raise MisfitError, with how many there are of each kind, where episodes do not fit into one data set."""
    for name in Layout.__slots__:
        kinds = Counter(layout.said(name) for layout in layouts)
        if len(kinds) > 1:
            shown = [f"{kind}: {count}" for kind, count in kinds.most_common(MOST_KINDS)]
            shown += [f"{len(kinds) - MOST_KINDS} kinds more"] * (len(kinds) > MOST_KINDS)
            raise MisfitError(
                f"These {len(layouts)} episodes do not fit into one data set: not all have the same {_called(name)} "
                f"({'; '.join(shown)}). Choose with {ADVICE.get(name, 'task=…, run=… or id=…')}."
            )


def _called(name: str) -> str:
    return "rate" if name == "fps" else name.replace("_", " ")


def _rate(fps: float) -> float:
    """Return a rate as a video's clock can count it, so that rows and pictures do not drift apart."""
    return float(Fraction(fps).limit_denominator(1000))


def _own_rate_hz(asked: float, measured: float | None) -> float:
    if not asked:
        if measured is None:
            raise MisfitError("its rate is not known: say how many rows a second it has with fps=…")
        return round(measured) if abs(measured - round(measured)) < 0.01 * measured else measured
    if measured is not None and is_other_rate(measured, asked):
        raise MisfitError(
            f"its rows came at {measured:.4g} Hz and were to come at {asked:g} Hz: say with fps=… which one counts"
        )
    return round(asked) if abs(asked - round(asked)) < 0.01 * asked else asked


def is_other_rate(measured: float, asked: float) -> bool:
    """Return whether rows came at a rate that is not the one asked for."""
    return abs(measured - asked) > FARTHEST * asked


def _size(camera: str, frames: NDArray[Any]) -> tuple[int, int]:
    """Return the size of a camera's pictures; raise MisfitError for what is no RGB picture of 8 bits."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise MisfitError(
            f"the pictures of its camera {camera!r} are {frames.dtype} {frames.shape[1:]}, not RGB of 8 bits: leave it "
            "out by naming the others with camera=…"
        )
    if any(character in camera for character in "/\\") or not camera.isprintable():
        raise MisfitError(f"its camera {camera!r} cannot name a folder of the data set: record with letters and digits")
    return int(frames.shape[1]), int(frames.shape[2])


def _named(known: Sequence[str], what: str, count: int) -> tuple[str, ...]:
    return tuple(known) if len(known) == count else tuple(f"{what}_{number}" for number in range(count))


def check_fit(episode: Episode) -> None:
    """Raise MisfitError for an episode that holds no action, or numbers that no data set should."""
    if not len(episode):
        raise MisfitError("it holds no action")
    if found := weakness(episode):
        raise MisfitError(f"it {found.wrong}", damaged=True)
