"""Say whether an episode can be replayed on a robot, before anything moves.

What the two must share: how many entries an action and proprioception have, what those are called, their units, the
rate, and limits. What an episode does not say, as most imported ones do not say their units, is not guessed: a person
may say it (`Told`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot.core.data import Episode, RobotSpec
from robot.core.errors import SailError
from robot.episodes.description import usual_rate_hz
from robot.episodes.easing import check_poses
from robot.episodes.resampling import resampled

UNKNOWN = ("", "unknown")
"""Units that say nothing."""
RATES_DIFFER = 0.01
"""Share by which two rates may differ and still be one."""
LATE = 0.1
"""Share by which an episode may have been recorded slower, or faster, than it says."""
MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Told:
    """Hold what a person says of an episode that it does not say itself, or not rightly.

    `names`: its entries are the robot's, in the robot's order, whatever they are called. `units`: units it does not
    know are the robot's. `rate_hz`: how many steps a second it was recorded at. `resample`: at a robot of another rate
    its poses and targets are taken at the robot's own times.
    """

    names: bool = False
    units: bool = False
    rate_hz: float | None = None
    resample: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """Hold an entry of an action or of proprioception, as the episode has it and as the robot does."""

    what: str
    name: str
    unit: str
    robots_name: str
    robots_unit: str


def fitted(episode: Episode, spec: RobotSpec, tolerance: float, told: Told = Told()) -> Episode:
    """Return the episode as it is to be replayed on a robot: with that one's spec and at its rate.

    `tolerance`: how far beyond the robot's limits a pose may lie, in its own unit. Raises SailError where entries,
    names, units or rate do not fit, a number is not finite, or a pose lies outside the limits.
    """
    check_sizes(episode, spec)
    entries = list(_entries(episode, spec))
    if not told.names:
        _check_names(episode, spec, entries)
    _check_units(episode, spec, entries, told.units)
    check_finite(episode)
    rate_hz, robots_hz = _rate_hz(episode, told), spec.action.rate_hz
    if _differ(rate_hz, robots_hz) and not told.resample:
        raise SailError(
            f"Episode {episode.episode_id!r} was recorded at {rate_hz:.4g} steps a second and {spec.name} runs at "
            f"{robots_hz:.4g}: let it run at the same rate (robot.rate_hz={rate_hz:.4g} where it is an arm), or "
            "take the episode's targets at the robot's times with resample=true."
        )
    same = dataclasses.replace(episode, spec=spec)
    fitting = resampled(same, rate_hz, robots_hz) if _differ(rate_hz, robots_hz) else same
    check_poses(spec, fitting.proprio[0], fitting.sent, tolerance)
    return fitting


def check_scene(episode: Episode, spec: RobotSpec) -> None:
    """Raise SailError unless a simulator is like the one that recorded an episode.

    An episode that describes no robot, as the first ones did, says which simulator it was: entries are counted alone.
    """
    check_sizes(episode, spec)
    check_finite(episode)
    if episode.spec is None:
        return
    entries = list(_entries(episode, spec))
    _check_names(episode, spec, entries, "")
    _check_units(episode, spec, entries, False, "")
    if _differ(episode.spec.action.rate_hz, spec.action.rate_hz):
        raise SailError(
            f"Episode {episode.episode_id!r} was recorded at {episode.spec.action.rate_hz:.4g} steps a second, and the "
            f"nearest that its simulator does is {spec.action.rate_hz:.4g}."
        )


def check_sizes(episode: Episode, spec: RobotSpec) -> None:
    """Raise SailError unless an episode's actions and proprioception have as many entries as a robot's."""
    acted, sensed = episode.sent.shape[1], episode.proprio.shape[1]
    if acted != spec.action.size:
        raise SailError(f"{spec.name} takes {spec.action.size} numbers an action, the episode has {acted}.")
    if sensed != len(spec.proprio_names):
        raise SailError(
            f"{spec.name} senses {len(spec.proprio_names)} numbers, the episode has {sensed}: it is another robot."
        )


def check_finite(episode: Episode) -> None:
    """Raise SailError, naming the step, where an action, a pose or a state of an episode is NaN or infinite."""
    columns = {"action": episode.sent, "pose": episode.proprio, "simulator state": episode.states}
    for what, values in columns.items():
        if values is not None and len(bad := _not_finite(values)):
            raise SailError(
                f"The {what} of step {bad[0]} of episode {episode.episode_id!r} is not finite: `sail episodes doctor` "
                "looks for more of that."
            )


def _not_finite(values: NDArray[np.floating]) -> NDArray[np.int64]:  # type: ignore[type-arg]
    return np.flatnonzero(~np.isfinite(values).all(axis=1))


def _entries(episode: Episode, spec: RobotSpec) -> Iterator[_Entry]:
    """Yield every entry; nothing is known of those of an episode that describes no robot, or not all of them."""
    own = episode.spec
    parts = (
        ("actions", (own.action.names, own.action.units) if own else ((), ()), (spec.action.names, spec.action.units)),
        (
            "proprioception",
            (own.proprio_names, own.proprio_units) if own else ((), ()),
            (spec.proprio_names, spec.proprio_units),
        ),
    )
    for what, (names, units), robots in parts:
        size = len(robots[0])
        for row in zip(_or_unknown(names, size), _or_unknown(units, size), *robots, strict=True):
            yield _Entry(what, *row)


def _or_unknown(words: Sequence[str], size: int) -> Sequence[str]:
    return words if len(words) == size else ("",) * size


def _check_names(
    episode: Episode,
    spec: RobotSpec,
    entries: Sequence[_Entry],
    hint: str = "assume_names=true takes its entries for the robot's, in this order",
) -> None:
    others = [one for one in entries if one.name != one.robots_name]
    if not others:
        return
    what, others = _of_one_kind(others)
    told = [f"{one.name or 'an entry without a name'} for {one.robots_name}" for one in others]
    raise SailError(
        f"Episode {episode.episode_id!r} has other {what} than {spec.name}: {_listed(told)}"
        f"{f'; {hint}' if hint else ''}."
    )


def _check_units(
    episode: Episode,
    spec: RobotSpec,
    entries: Sequence[_Entry],
    assumed: bool,
    hint: str = "assume_units=true says that they are the robot's",
) -> None:
    wrong = [one for one in entries if one.unit not in UNKNOWN and one.unit != one.robots_unit]
    if wrong:
        what, wrong = _of_one_kind(wrong)
        told = [f"{one.robots_name} in {one.unit} for {one.robots_unit}" for one in wrong]
        raise SailError(
            f"Episode {episode.episode_id!r} has its {what} in other units than {spec.name}: {_listed(told)}."
        )
    unknown = [one for one in entries if one.unit in UNKNOWN]
    if unknown and not assumed:
        what, unknown = _of_one_kind(unknown)
        told = [f"{one.robots_name}, on {spec.name} in {one.robots_unit}" for one in unknown]
        raise SailError(
            f"Episode {episode.episode_id!r} does not say in which units its {what} are ({_listed(told)})"
            f"{f': {hint}' if hint else ''}."
        )


def _of_one_kind(entries: Sequence[_Entry]) -> tuple[str, list[_Entry]]:
    """Return what the first of these entries belongs to, and those that belong there too."""
    what = entries[0].what
    return what, [one for one in entries if one.what == what]


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return f"{'; '.join(words[:MOST_NAMED])}{more}"


def _rate_hz(episode: Episode, told: Told) -> float:
    """Return how many steps a second an episode was recorded at; raise SailError where that is not known for sure."""
    if told.rate_hz is not None:
        return told.rate_hz
    stated = episode.spec.action.rate_hz if episode.spec else None
    measured = usual_rate_hz(episode.times_s)
    if stated is None and measured is None:
        raise SailError(f"How fast episode {episode.episode_id!r} was recorded is not known: say it with rate_hz=… .")
    if stated is None or measured is None:
        return float(stated or measured or 0.0)
    if abs(measured / stated - 1.0) > LATE:
        raise SailError(
            f"Episode {episode.episode_id!r} says {stated:.4g} steps a second, and its times are those of "
            f"{measured:.4g}: say which is right with rate_hz={stated:.4g} or rate_hz={measured:.4g}."
        )
    return stated


def _differ(rate_hz: float, other_hz: float) -> bool:
    return not abs(rate_hz - other_hz) <= RATES_DIFFER * other_hz
