"""Jerk-limited motion of joints, one servo period at a time, that can always be brought to rest within the limits.

After every period it is known how the arm would brake from there, and that doing so stays within the position limits.
A step towards a target is taken only if that is still true afterwards; otherwise the arm follows the way to brake that
is known already. So no sequence of targets can lead to where the limits could not be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ruckig
from numpy.typing import NDArray

from robot.core.joints import Joints

Allowed = Callable[[Joints], bool]
AT_REST_VELOCITY, AT_REST_ACCELERATION, ARRIVED = 1e-7, 1e-5, 1e-9


@dataclass(frozen=True, slots=True)
class MotionLimits:
    """Hold what motion must keep to: float64 (J,) each, as in `ArmDescription`."""

    low: Joints
    high: Joints
    velocity: Joints
    acceleration: Joints
    jerk: Joints


class Shaper:
    """Lead joints towards targets within limits.

    `limits`: velocity, acceleration and jerk that are never exceeded, and positions that are never left; from a place
    outside them it is only led towards them. `allowed` says whether the arm may be at a joint position, beside the
    position limits (a workspace box).
    """

    def __init__(self, limits: MotionLimits, period_s: float, allowed: Allowed | None = None) -> None:
        self.limits, self.period_s, self._allowed = limits, period_s, allowed
        size = len(limits.low)
        slack = 1e-9 * (limits.high - limits.low)
        self._low, self._high = limits.low + slack, limits.high - slack
        self._size = size
        self._otg = ruckig.Ruckig(size, period_s)
        self._towards, self._braking = ruckig.InputParameter(size), ruckig.InputParameter(size)
        for inp in (self._towards, self._braking):
            inp.synchronization = ruckig.Synchronization.No
            inp.target_position = np.zeros(size)
            inp.max_velocity = limits.velocity
            inp.max_acceleration = limits.acceleration
            inp.max_jerk = limits.jerk
        self._braking.control_interface = ruckig.ControlInterface.Velocity
        self._braking.target_velocity = np.zeros(size)
        self._braking.target_acceleration = np.zeros(size)
        self._way, self._brake, self._spare = (ruckig.Trajectory(size) for _ in range(3))
        self._brake_s: float | None = None  # how far along the way to brake we are; None: at rest
        self.position: Joints = np.zeros(size)
        self.velocity: Joints = np.zeros(size)
        self.acceleration: Joints = np.zeros(size)
        self.held_back = False
        self._bounds = limits.low, limits.high

    @property
    def at_rest(self) -> bool:
        """Return whether velocity and acceleration are zero."""
        return self._brake_s is None

    @property
    def stopping_position(self) -> Joints:
        """Return where the arm would come to rest if it braked now, float64 (J,)."""
        return self.position if self._brake_s is None else np.array(self._brake.at_time(self._brake.duration)[0])

    def place(self, position: Joints) -> None:
        """Begin anew at rest at a position, float64 (J,)."""
        self.position = np.array(position, np.float64)
        self.velocity, self.acceleration = np.zeros(self._size), np.zeros(self._size)
        self._brake_s = None
        self.held_back = False
        # From outside the limits, where a person left the arm, it goes no farther out.
        self._bounds = np.minimum(self.limits.low, position), np.maximum(self.limits.high, position)

    def brake(self) -> None:
        """Move on by one period on the way to rest, as fast as the limits allow."""
        if self._brake_s is None:
            return
        self._brake_s += self.period_s
        if self._brake_s >= self._brake.duration:
            self.place(np.array(self._brake.at_time(self._brake.duration)[0]))
            return
        self.position, self.velocity, self.acceleration = self._sample(self._brake, self._brake_s)

    def pursue(self, position: Joints, velocity: Joints, acceleration: Joints) -> None:
        """Move on by one period after a target that moves; it is clipped to the limits.

        The target is now at `position` with `velocity` and `acceleration`, float64 (J,) each. Motion is planned in the
        target's own frame, where to have caught up is to be at rest at zero. Planned in the arm's frame, an arm that is
        a little ahead of its target would have to go back to pass through that place again.
        """
        limits = self.limits
        goal = np.minimum(np.maximum(position, self._bounds[0]), self._bounds[1])  # numpy.clip takes five times as long
        outside = goal != position
        most = 0.95 * limits.acceleration
        push = np.where(outside, 0.0, np.minimum(np.maximum(acceleration, -most), most))
        most = 0.98 * limits.velocity - np.abs(push) * self.period_s
        speed = np.where(outside, 0.0, np.minimum(np.maximum(velocity, -most), most))
        moves = bool(speed.any() or push.any())
        if self._brake_s is None and not moves and np.array_equal(goal, self.position):
            self.held_back = False
            return
        state = self._next(goal, speed, push)
        self.held_back = state is None
        if state is None:
            self.brake()
            return
        self.position, self.velocity, self.acceleration = state
        self._come_inside()
        self._brake, self._spare = self._spare, self._brake
        self._brake_s = 0.0
        still = np.abs(self.velocity) < AT_REST_VELOCITY
        still &= np.abs(self.acceleration) < AT_REST_ACCELERATION
        if not moves and still.all() and np.all(np.abs(self.position - goal) < ARRIVED):
            self.place(goal)

    def _come_inside(self) -> None:
        """Hold each joint to its limits from when it is within them."""
        limits, (low, high) = self.limits, self._bounds
        if np.all(low == limits.low) and np.all(high == limits.high):
            return
        self._bounds = (
            np.where(self.position < limits.low, low, limits.low),
            np.where(self.position > limits.high, high, limits.high),
        )

    def _next(self, goal: Joints, speed: Joints, push: Joints) -> tuple[Joints, Joints, Joints] | None:
        """Return the state one period on, with the way to brake from it in `_spare`; None if there is no safe one."""
        state = self._approached(goal, speed, push)
        if state is None or (fast := self._gets_too_fast(state)).any():
            # A target that speeds up may drag the arm beyond its velocity limit: take it to move steadily.
            steady = np.zeros(self._size) if state is None else np.where(fast, 0.0, push)
            state = self._approached(goal, speed, steady)
        if state is None or not self._plan_brake(state):
            return None
        end = np.array(self._spare.at_time(self._spare.duration)[0])
        turn = turning_position(*state, self.limits.jerk)
        low = np.where(self._bounds[0] < self.limits.low, self._bounds[0], self._low)
        high = np.where(self._bounds[1] > self.limits.high, self._bounds[1], self._high)
        least, most = np.minimum(np.minimum(end, turn), state[0]), np.maximum(np.maximum(end, turn), state[0])
        unsafe = (least < low) | (most > high)
        unsafe |= self._gets_too_fast(state)
        if unsafe.any():
            # Only the joints that would leave their limits brake; the others go on.
            kept = self._braked()
            state = tuple(np.where(unsafe, old, new) for old, new in zip(kept, state, strict=True))  # type: ignore[assignment]
            if not self._plan_brake(state):
                return None
            end = np.array(self._spare.at_time(self._spare.duration)[0])
        if self._allowed is not None and not (self._allowed(state[0]) and self._allowed(end)):
            return None
        return state

    def _approached(self, goal: Joints, speed: Joints, push: Joints) -> tuple[Joints, Joints, Joints] | None:
        """Return the state one period on along the fastest way to a target, or None where there is none."""
        ahead, period_s, limits = self._towards, self.period_s, self.limits
        ahead.current_position = self.position - goal
        ahead.current_velocity = self.velocity - speed
        ahead.current_acceleration = self.acceleration - push
        ahead.max_velocity = limits.velocity - speed - np.abs(push) * period_s
        ahead.min_velocity = -limits.velocity - speed + np.abs(push) * period_s
        ahead.max_acceleration, ahead.min_acceleration = limits.acceleration - push, -limits.acceleration - push
        if not self._calculate(ahead, self._way):
            return None
        off, off_speed, off_push = self._sample(self._way, period_s)
        return (
            goal + off + period_s * (speed + period_s / 2 * push),
            speed + off_speed + period_s * push,
            push + off_push,
        )

    def _gets_too_fast(self, state: tuple[Joints, Joints, Joints]) -> NDArray[np.bool_]:
        """Return which joints will pass their velocity limit even if they stop speeding up now, bool (J,)."""
        _, velocity, acceleration = state
        limits = self.limits
        later = velocity + acceleration * np.abs(acceleration) / (2 * limits.jerk)
        most = limits.velocity * (1 + 1e-9)
        # While an arm brakes, its speed only grows until its acceleration is back at zero.
        beyond: NDArray[np.bool_] = (np.abs(later) > most) | (np.abs(velocity) > most)
        return beyond | (np.abs(acceleration) > limits.acceleration * (1 + 1e-9))

    def _plan_brake(self, state: tuple[Joints, Joints, Joints]) -> bool:
        inp = self._braking
        inp.current_position, inp.current_velocity, inp.current_acceleration = state
        return self._calculate(inp, self._spare)

    def _calculate(self, inp: Any, trajectory: Any) -> bool:
        try:
            return int(self._otg.calculate(inp, trajectory)) >= 0
        except ruckig.RuckigError:
            return False

    def _braked(self) -> tuple[Joints, Joints, Joints]:
        """Return the state one period on along the way to brake."""
        if self._brake_s is None:
            return self.position, self.velocity, self.acceleration
        return self._sample(self._brake, min(self._brake_s + self.period_s, self._brake.duration))

    def _sample(self, trajectory: Any, time_s: float) -> tuple[Joints, Joints, Joints]:
        position, velocity, acceleration = trajectory.at_time(time_s)
        return np.array(position), np.array(velocity), np.array(acceleration)


def turning_position(position: Joints, velocity: Joints, acceleration: Joints, jerk: Joints) -> Joints:
    """Return where braking joints turn round on their way to rest, float64 (J,); their position where they do not.

    A joint turns round when it is slowing down so hard that, by the time its acceleration can be zero again, it moves
    the other way. On a way to brake there is no other extreme of position but its ends.
    """
    later = velocity + acceleration * np.abs(acceleration) / (2 * jerk)
    turns = velocity * later < 0
    if not turns.any():
        return position
    sign = -np.sign(later)
    speed, push = sign * velocity, sign * acceleration
    time_s = np.where(turns, (-push - np.sqrt(np.maximum(push**2 - 2 * jerk * speed, 0.0))) / jerk, 0.0)
    return position + time_s * (velocity + time_s * (acceleration / 2 + sign * jerk * time_s / 6))
