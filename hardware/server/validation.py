"""What a governor looks at in a command before it takes it: its shape, its numbers, where and how fast it leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardware.server.shaping import MotionLimits
from hardware.wire.commands import Command, CommandResult, Decision
from hardware.wire.reasons import NOTHING, Code, Reason
from robot.core.joints import ArmDescription, Joints

Forward = Callable[[Joints], NDArray[np.float64]]
ABSURD_RANGES = 10.0
"""A waypoint so many times a joint's range outside its limits is a mistake, and not to be clamped."""
LONGEST_PAST_S = 60.0
"""A plan as old as that is none; its waypoints are not looked at one by one."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Hold a command that may be taken, with the arm as it was at `now_s`, when that was looked at.

    `generation`: the governor's; another one later means that a stop, another holder or another motion came between.
    `start`: position and velocity of the arm, float64 (J,) each. `times_s`, float64 (M,), and `positions`,
    float64 (M, J): the waypoints that were not past. `reasons`: why they were changed, or will be reached later.
    """

    command: Command
    generation: int
    now_s: float
    start: tuple[Joints, Joints]
    times_s: NDArray[np.float64]
    positions: NDArray[np.float64]
    reasons: tuple[Reason, ...] = ()


def rejected(command: Command, reason: Reason) -> CommandResult:
    """Return a rejection."""
    size = command.positions.shape[-1] if command.positions.ndim else 0
    return CommandResult(command.sequence, Decision.REJECT, (reason,), np.empty((0, size)))


def misshapen(command: Command, description: ArmDescription, most_waypoints: int, now_s: float) -> Reason:
    """Return what is wrong with a command's arrays in themselves, or nothing."""
    problem = _misshapen(command, description.size, most_waypoints) or _absurd(command, description, now_s)
    return Reason(problem, Code.MALFORMED) if problem else NOTHING


def _misshapen(command: Command, joints: int, most_waypoints: int) -> str:
    times_s, positions = command.times_s, command.positions
    if times_s.ndim != 1 or positions.shape != (len(times_s), joints):
        return f"a command for {joints} joints needs times (N,) and positions (N, {joints}), got {positions.shape}"
    if not 1 <= len(times_s) <= most_waypoints:
        return f"a command has 1 to {most_waypoints} waypoints, got {len(times_s)}"
    if not (np.all(np.isfinite(times_s)) and np.all(np.isfinite(positions))):
        return "every time and position must be finite"
    if command.seen_s is not None and not np.isfinite(command.seen_s):
        return "the time of the observation must be finite"
    if not np.all(times_s[1:] - times_s[:-1] > 1e-6):
        return "the times of waypoints must increase"
    return ""


def _absurd(command: Command, description: ArmDescription, now_s: float) -> str:
    """Return which numbers nobody can have meant, that must not be brought to the nearest that can be, or nothing."""
    span = ABSURD_RANGES * (description.high - description.low)
    beyond = (command.positions < description.low - span) | (command.positions > description.high + span)
    if beyond.any():
        waypoint, joint = (int(place) for place in np.argwhere(beyond)[0])
        return (
            f"waypoint {waypoint} has {description.joint_names[joint]} at {command.positions[waypoint, joint]:.4g} "
            f"{description.units[joint]}, more than {ABSURD_RANGES:g} times its range outside its limits"
        )
    if command.times_s[0] < now_s - LONGEST_PAST_S:
        return f"its first waypoint lies more than {LONGEST_PAST_S:g} s in the past: are the clocks compared?"
    return ""


def fitted(
    proposal: Proposal,
    low: Joints,
    high: Joints,
    limits: MotionLimits,
    allowed: Callable[[Joints], bool] | None,
    names: tuple[str, ...],
) -> Proposal:
    """Return a proposal with its waypoints brought to where they may be, and with the reasons for that.

    `low`, `high`: what positions are clamped to, float64 (J,). `allowed`: whether the tool may be there; None: yes.
    """
    reasons: list[Reason] = []
    positions = np.minimum(np.maximum(proposal.positions, low), high)
    clipped = (positions != proposal.positions).any(axis=0)
    if clipped.any():
        reasons.append(_of_joints(Code.POSITION, names, clipped))
    if allowed is not None:
        inner = pulled_in(positions, proposal.start[0], allowed)
        if inner is not None:
            positions = inner
            reasons.append(Reason("the workspace box", Code.WORKSPACE))
    reasons += too_fast(proposal.times_s, positions, proposal.now_s, proposal.start, limits, names)
    return replace(proposal, positions=positions, reasons=tuple(reasons))


def pulled_in(
    positions: NDArray[np.float64], start: Joints, allowed: Callable[[Joints], bool]
) -> NDArray[np.float64] | None:
    """Return waypoints (M, J) with those that are not allowed drawn back towards the one before; None if all are.

    `start`, float64 (J,), is where the arm is; it is taken to be allowed.
    """
    kept, changed, last = positions.copy(), False, start
    for number, wanted in enumerate(positions):
        if not allowed(wanted):
            changed = True
            inside, outside = 0.0, 1.0
            for _ in range(12):
                middle = (inside + outside) / 2
                if allowed(last + middle * (wanted - last)):
                    inside = middle
                else:
                    outside = middle
            kept[number] = last + inside * (wanted - last)
        last = kept[number]
    return kept if changed else None


def too_fast(
    times_s: NDArray[np.float64],
    positions: NDArray[np.float64],
    now_s: float,
    start: tuple[Joints, Joints],
    limits: MotionLimits,
    names: tuple[str, ...],
) -> list[Reason]:
    """Return which joints a path asks to move beyond limits of velocity, acceleration or jerk, as reasons.

    `start`: position and velocity now, float64 (J,) each. The path is followed all the same, later than it asks.
    """
    # Written out, since numpy.diff with its options takes several times as long, and a command waits for this.
    moments_s, path = np.concatenate([[now_s], times_s]), np.concatenate([start[0][None], positions])
    gaps_s = np.maximum(moments_s[1:] - moments_s[:-1], 1e-3)[:, None]
    slopes = (path[1:] - path[:-1]) / gaps_s
    speeds = np.concatenate([start[1][None], slopes])
    bends = (speeds[1:] - speeds[:-1]) / gaps_s
    twists = (bends[1:] - bends[:-1]) / gaps_s[1:]
    reasons: list[Reason] = []
    asked = ((Code.VELOCITY, slopes, limits.velocity), (Code.ACCELERATION, bends, limits.acceleration))
    for what, values, limit in (*asked, (Code.JERK, twists, limits.jerk)):
        beyond = np.atleast_1d((np.abs(values) > limit * (1 + 1e-9)).any(axis=0))
        if beyond.any():
            reasons.append(_of_joints(what, names, beyond))
    return reasons


def _of_joints(what: Code, names: tuple[str, ...], which: NDArray[np.bool_]) -> Reason:
    """Return that something of some joints was clamped, bool (J,)."""
    return Reason(f"{what} of {', '.join(name for name, one in zip(names, which, strict=True) if one)}", what)
