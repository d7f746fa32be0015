"""Move a robot to the first pose of a replay without a jump: along a path whose speed and acceleration begin at zero.

How a robot is driven is read off the names and units of its actions: an action named like an entry of proprioception
and in its unit is a target for it; one named `dx` displaces the entry `x` or `…_x`; what fits neither is held.
Source of the path: Flash and Hogan (1985), minimum-jerk polynomial, equation 8.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from robot.core.data import Action, FloatArray, RobotSpec
from robot.core.errors import SailError
from robot.core.protocols import Robot
from robot.episodes.pace import Pace

SIZES = {
    "m": ("length", 1.0),
    "cm": ("length", 0.01),
    "mm": ("length", 0.001),
    "rad": ("angle", 1.0),
    "deg": ("angle", math.pi / 180.0),
    "1": ("share", 1.0),
}
"""What each unit measures, and what one of it is worth in the first of its kind."""
PEAK = 1.875
"""The highest speed of a minimum-jerk path over its mean speed."""
GAIN = 0.5
"""Share of the distance to the path that a displacement makes up for in one step."""
SETTLING_STEPS = 40


@dataclass(frozen=True, slots=True)
class Drive:
    """Say which entry of proprioception (`sensed`) an entry of the action drives (`driven`).

    `worth` is what one unit of a displacement is worth; 0 for an action that is itself the target.
    """

    driven: int
    sensed: int
    worth: float


@dataclass(frozen=True, slots=True)
class Easing:
    """Say how a robot will be eased: `entry` of proprioception goes farthest, by `distance` in its `unit`.

    `steps` robot steps lie on the path, which takes `duration_s` at the speed asked for.
    """

    entry: str
    unit: str
    distance: float
    steps: int
    duration_s: float


def drives_of(spec: RobotSpec) -> tuple[Drive, ...]:
    """Return what can be driven towards a pose, nothing where names and units do not tell.

    An action that would displace several entries alike displaces none: which is meant is not known.
    """
    found = []
    for driven, (name, unit) in enumerate(zip(spec.action.names, spec.action.units, strict=True)):
        senses = list(enumerate(zip(spec.proprio_names, spec.proprio_units, strict=True)))
        targets = [Drive(driven, sensed, 0.0) for sensed, (other, its) in senses if (name, unit) == (other, its)]
        displaced = [
            Drive(driven, sensed, worth)
            for sensed, (other, its) in senses
            if _displaces(name, other) and (worth := _worth(unit, its)) is not None
        ]
        found += targets or (displaced if len(displaced) == 1 else [])
    return tuple(found)


def _displaces(name: str, sensed: str) -> bool:
    return name[:1] == "d" and bool(name[1:]) and (sensed == name[1:] or sensed.endswith(f"_{name[1:]}"))


def _worth(unit: str, other: str) -> float | None:
    """Return what one of a unit, such as `cm` or `2 cm`, is worth in another; None where they measure other things."""
    read = re.fullmatch(r"(?:(\d+(?:\.\d+)?(?:e[+-]?\d+)?) )?(\w+)", unit)
    if read is None or read[2] not in SIZES or other not in SIZES or SIZES[read[2]][0] != SIZES[other][0]:
        return None
    return float(read[1] or 1.0) * SIZES[read[2]][1] / SIZES[other][1] or None


def minimum_jerk(share: float) -> float:
    """Return how far along the path one is after `share` (0–1) of its time."""
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def check_poses(spec: RobotSpec, first: FloatArray, sent: FloatArray, tolerance: float) -> None:
    """Raise SailError where a replay would go to a pose outside a robot's limits, by more than `tolerance`.

    `first`, float32 (Dq,): the pose it begins in. `sent`, float32 (T, Da): its actions, of which targets are poses.
    """
    for drive in drives_of(spec):
        if drive.worth:
            continue  # nothing is known of how far a robot may be displaced
        poses = np.concatenate([first[[drive.sensed]], sent[:, drive.driven]]).astype(np.float64)
        low, high = float(spec.action.low[drive.driven]), float(spec.action.high[drive.driven])
        outside = np.flatnonzero((poses < low - tolerance) | (poses > high + tolerance))
        if len(outside):
            where = "The first pose" if outside[0] == 0 else f"Step {outside[0] - 1}"
            unit = spec.action.units[drive.driven]
            raise SailError(
                f"{where} of the episode has {spec.action.names[drive.driven]} at {poses[outside[0]]:.4g} {unit}, "
                f"outside the limits of {spec.name}, which are {low:.4g} to {high:.4g} {unit}."
            )


def plan_easing(
    spec: RobotSpec, start: FloatArray, target: FloatArray, fastest: float, tolerance: float, speed: float = 1.0
) -> Easing | None:
    """Return how a robot goes from pose `start` to `target`, float32 (Dq,) both, at up to `fastest` units a second.

    None where it is there already, within `tolerance`. `speed` is that of time; above 1 easing is no faster for it.
    Raises SailError where the robot cannot be driven.
    """
    drives = drives_of(spec)
    entries = _compared(drives, len(start))
    apart = np.abs(target[entries].astype(np.float64) - start[entries])
    distance = float(apart.max(initial=0.0))
    if distance <= tolerance:
        return None
    if not drives:
        raise SailError(f"{spec.name} cannot be moved to the first pose: its action names do not say what they drive.")
    farthest, rate_hz = entries[int(np.argmax(apart))], spec.action.rate_hz
    steps = max(math.ceil(PEAK * distance / fastest * rate_hz), math.ceil(0.5 * rate_hz))
    duration_s = steps / rate_hz / (min(speed, 1.0) or 1.0)
    return Easing(spec.proprio_names[farthest], spec.proprio_units[farthest], distance, steps, duration_s)


def ease(robot: Robot, target: FloatArray, held: FloatArray, pace: Pace, easing: Easing, tolerance: float) -> int:
    """Move to the pose `target`, float32 (Dq,), as planned; return how many steps it took.

    `held`: float32 (Da,), the action whose undriven entries are sent meanwhile. Raises SailError where the robot does
    not arrive.
    """
    spec = robot.spec
    drives = drives_of(spec)
    start = robot.observe().proprio
    taken, reached = 0, 0.0
    while reached < easing.steps + SETTLING_STEPS:
        now = robot.observe().proprio
        if reached >= easing.steps and _distance(now, target, drives) <= tolerance:
            return taken
        if not pace.wait():
            return taken
        reached += 1.0 / max(pace.speed, 1.0)  # time that runs faster does not make the robot faster
        wanted = start + (target - start) * np.float32(minimum_jerk(min(reached / easing.steps, 1.0)))
        robot.act(Action(_action(wanted, now, held, drives, spec)))
        taken += 1
    left = _distance(robot.observe().proprio, target, drives)
    if left > tolerance:
        raise SailError(f"{spec.name} did not reach the first pose of the episode: it is {left:.3f} away.")
    return taken


def _action(
    wanted: FloatArray, now: FloatArray, held: FloatArray, drives: tuple[Drive, ...], spec: RobotSpec
) -> FloatArray:
    values = held.astype(np.float32, copy=True)
    for drive in drives:
        if drive.worth:
            values[drive.driven] = GAIN * (wanted[drive.sensed] - now[drive.sensed]) / drive.worth
        else:
            values[drive.driven] = wanted[drive.sensed]
    return spec.action.clip(values)


def _compared(drives: tuple[Drive, ...], size: int) -> list[int]:
    """Return the entries of proprioception that are to be somewhere: those driven, or all where none is."""
    return [drive.sensed for drive in drives] or list(range(size))


def _distance(now: FloatArray, target: FloatArray, drives: tuple[Drive, ...]) -> float:
    """Return the largest distance among the entries that are to be somewhere."""
    entries = _compared(drives, len(now))
    return float(np.max(np.abs(target[entries] - now[entries]), initial=0.0))
