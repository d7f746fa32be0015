"""Say what all episodes of a LeRobot data set have in common, and which do not belong into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot.data import Episode
from robot.episodes.description import measured_rate_hz
from robot.episodes.soundness import weakness
from robot.errors import SailError

FARTHEST = 0.05
"""By how much the rate of an episode's rows may differ from the one asked for, as a share of it."""


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

        Raises SailError where its own rate is not known, or where its rows came at another than was asked for.
        """
        spec = episode.spec
        state, action = episode.proprio.shape[1], episode.sent.shape[1]
        return cls(
            _rate(fps or _own_rate_hz(episode)),
            {name: _size(name, frames) for name, frames in sorted(episode.frames.items())},
            _named(spec.proprio_names if spec else (), "state", state),
            tuple(spec.proprio_units) if spec and len(spec.proprio_units) == state else (),
            _named(spec.action.names if spec else (), "action", action),
            tuple(spec.action.units) if spec and len(spec.action.units) == action else (),
        )

    def difference(self, other: Layout) -> str:
        """Return in words how another layout differs, nothing where it does not."""
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                what = "rate" if name == "fps" else name.replace("_", " ")
                return f"its {what} is {_said(theirs)}, not {_said(mine)}"
        return ""


def _said(value: Any) -> str:
    """Return a part of a layout in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {width}×{height}" for name, (height, width) in value.items()) or "no camera"
    return f"{value:g} Hz" if isinstance(value, float) else ", ".join(value) or "unknown"


def _rate(fps: float) -> float:
    """Return a rate as a video's clock can count it, so that rows and pictures do not drift apart."""
    return float(Fraction(fps).limit_denominator(1000))


def _own_rate_hz(episode: Episode) -> float:
    asked = episode.spec.action.rate_hz if episode.spec else 0.0
    measured = measured_rate_hz(episode.times_s)
    if not asked:
        if measured is None:
            raise SailError("its rate is not known: say how many rows a second it has with fps=…")
        return round(measured) if abs(measured - round(measured)) < 0.01 * measured else measured
    if measured is not None and abs(measured - asked) > FARTHEST * asked:
        raise SailError(
            f"its rows came at {measured:.4g} Hz and were to come at {asked:g} Hz: say with fps=… which one counts"
        )
    return round(asked) if abs(asked - round(asked)) < 0.01 * asked else asked


def _size(camera: str, frames: NDArray[Any]) -> tuple[int, int]:
    """Return the size of a camera's pictures; raise SailError for what is no RGB picture of 8 bits."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise SailError(
            f"the pictures of its camera {camera!r} are {frames.dtype} {frames.shape[1:]}, not RGB of 8 bits: leave it "
            "out by naming the others with camera=…"
        )
    if any(character in camera for character in "/\\") or not camera.isprintable():
        raise SailError(f"its camera {camera!r} cannot name a folder of the data set: record with letters and digits")
    return int(frames.shape[1]), int(frames.shape[2])


def _named(known: Sequence[str], what: str, count: int) -> tuple[str, ...]:
    return tuple(known) if len(known) == count else tuple(f"{what}_{number}" for number in range(count))


def check_fit(episode: Episode) -> None:
    """Raise SailError for an episode that holds no action, or numbers that no data set should."""
    if not len(episode):
        raise SailError("it holds no action")
    if found := weakness(episode):
        raise SailError(f"{found.wrong}: `sail episodes doctor` says more")
