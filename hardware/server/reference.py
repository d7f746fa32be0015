"""The path asked for: timed waypoints of joint positions, joined by smooth curves that end at rest."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from robot.core.joints import Joints


class Reference:
    """Interpolate waypoints by cubic curves that never go beyond two neighbouring waypoints, and rest at the last.

    `times_s`: float64 (M,), strictly increasing, on the servo's clock. `positions`: float64 (M, J). `start_velocity`:
    float64 (J,), the velocity at the first waypoint. Tangents between are those of a monotone cubic interpolation.
    Source: Fritsch and Butland (1984), the harmonic mean of the slopes on either side, 0 at a turn.
    """

    def __init__(self, times_s: NDArray[np.float64], positions: NDArray[np.float64], start_velocity: Joints) -> None:
        self.times_s, self.positions = times_s, positions
        self._times: list[float] = times_s.tolist()
        self.tangents = np.zeros_like(positions)
        self.tangents[0] = start_velocity
        if len(times_s) > 2:
            slopes = (positions[1:] - positions[:-1]) / (times_s[1:] - times_s[:-1])[:, None]
            before, after = slopes[:-1], slopes[1:]
            same = before * after > 0
            total = np.where(same, before + after, 1.0)
            self.tangents[1:-1] = np.where(same, 2 * before * after / total, 0.0)

    @property
    def end_s(self) -> float:
        """Return when the last waypoint is due."""
        return self._times[-1]

    def after(self, now_s: float, until_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return times (K,) and positions (K, J) of the waypoints that lie after `now_s` and before `until_s`."""
        chosen = (self.times_s > now_s) & (self.times_s < until_s)
        return self.times_s[chosen], self.positions[chosen]

    def at(self, time_s: float) -> tuple[Joints, Joints, Joints]:
        """Return position, velocity and acceleration asked for at a time, float64 (J,) each; at rest after the end."""
        if time_s >= self._times[-1] or len(self.times_s) < 2:
            still = np.zeros(self.positions.shape[1])
            return self.positions[-1], still, still
        place = max(bisect_right(self._times, time_s) - 1, 0)
        start_s, end_s = self._times[place], self._times[place + 1]
        h = end_s - start_s
        u = max((time_s - start_s) / h, 0.0)
        p0, p1 = self.positions[place], self.positions[place + 1]
        m0, m1 = self.tangents[place], self.tangents[place + 1]
        rise = p1 - p0
        c2 = 3 * rise - h * (2 * m0 + m1)
        c3 = h * (m0 + m1) - 2 * rise
        position = p0 + u * (h * m0 + u * (c2 + u * c3))
        velocity = m0 + (u / h) * (2 * c2 + 3 * u * c3)
        acceleration = (2 * c2 + 6 * u * c3) / (h * h)
        return position, velocity, acceleration


def eased(
    start: Joints, goal: Joints, velocity: Joints, acceleration: Joints, now_s: float, step_s: float = 0.05
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return waypoints, times (M,) and positions (M, J), of a straight way in joint space with minimum jerk.

    It begins at `start` at `now_s` and is as fast as the velocities and accelerations given allow, half a second at
    least. Source: Flash and Hogan (1985), equation 3: 10 s³ − 15 s⁴ + 6 s⁵, whose largest slope is 15/8 and whose
    largest second derivative is 10/√3.
    """
    distance = np.abs(goal - start)
    duration_s = max(0.5, float((15 / 8 * distance / velocity).max()))
    duration_s = max(duration_s, float(np.sqrt(10 / np.sqrt(3) * distance / acceleration).max()))
    shares = np.linspace(0.0, 1.0, max(int(np.ceil(duration_s / step_s)), 2) + 1)
    progress = shares**3 * (10 - 15 * shares + 6 * shares**2)
    positions = start + progress[:, None] * (goal - start)
    positions[-1] = goal
    return now_s + shares * duration_s, positions
