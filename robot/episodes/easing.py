"""Move a robot to the first pose of a replay without a jump: along a path whose speed and acceleration begin at zero.

How a robot is driven is read off the names and units of its actions: an action named like an entry of proprioception
and in its unit is a target for it; one named `dx` displaces the entry `x` or `…_x`; what fits neither is held.
Source of the path: Flash and Hogan (1985), minimum-jerk polynomial, equation 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robot.data import Action, FloatArray, RobotSpec
from robot.episodes.pace import Pace
from robot.errors import SailError
from robot.protocols import Robot

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "rad": 1.0, "1": 1.0}
"""What a displacement of one is worth in the unit of proprioception."""
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


def drives_of(spec: RobotSpec) -> tuple[Drive, ...]:
    """Return what can be driven towards a pose, nothing where names and units do not tell."""
    found = []
    for driven, (name, unit) in enumerate(zip(spec.action.names, spec.action.units, strict=True)):
        for sensed, (other, its_unit) in enumerate(zip(spec.proprio_names, spec.proprio_units, strict=True)):
            if name == other and unit == its_unit:
                found.append(Drive(driven, sensed, 0.0))
            elif name[:1] == "d" and name[1:] and (other == name[1:] or other.endswith(f"_{name[1:]}")):
                found.append(Drive(driven, sensed, METRES.get(unit, 1.0) / METRES.get(its_unit, 1.0)))
    return tuple(found)


def minimum_jerk(share: float) -> float:
    """Return how far along the path one is after `share` (0–1) of its time."""
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def ease(robot: Robot, target: FloatArray, held: FloatArray, pace: Pace, fastest: float, tolerance: float) -> int:
    """Move to the pose `target`, float32 (Dq,), at up to `fastest` units a second; return how many steps it took.

    `held`: float32 (Da,), the action whose undriven entries are sent meanwhile. Raises SailError where the robot is
    elsewhere and cannot be driven, or does not arrive.
    """
    spec = robot.spec
    drives = drives_of(spec)
    start = robot.observe().proprio
    if start.shape != target.shape:
        raise SailError(f"{spec.name} senses {len(start)} numbers, the episode has {len(target)}: it is another robot.")
    distance = _distance(start, target, drives)
    if distance <= tolerance:
        return 0
    if not drives:
        raise SailError(f"{spec.name} cannot be moved to the first pose: its action names do not say what they drive.")
    rate_hz = spec.action.rate_hz
    steps = max(math.ceil(PEAK * distance / fastest * rate_hz), math.ceil(0.5 * rate_hz))
    for step in range(1, steps + SETTLING_STEPS + 1):
        now = robot.observe().proprio
        if step > steps and _distance(now, target, drives) <= tolerance:
            return step - 1
        if not pace.wait():
            return step - 1
        share = min(step / steps, 1.0)
        wanted = start + (target - start) * np.float32(minimum_jerk(share))
        robot.act(Action(_action(wanted, now, held, drives, spec)))
    left = _distance(robot.observe().proprio, target, drives)
    if left > tolerance:
        raise SailError(f"{spec.name} did not reach the first pose of the episode: it is {left:.3f} away.")
    return steps + SETTLING_STEPS


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


def _distance(now: FloatArray, target: FloatArray, drives: tuple[Drive, ...]) -> float:
    """Return the largest distance among the entries that are driven, or among all where none is."""
    entries = [drive.sensed for drive in drives] or list(range(len(now)))
    return float(np.max(np.abs(target[entries] - now[entries]), initial=0.0))
