"""Arms for tests of the governor: their descriptions, and what to measure on the positions they were sent to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hardware.server.safety import Governor, SafetySettings, Setpoint
from hardware.wire.commands import Command, CommandResult
from hardware.wire.states import State
from robot.core.joints import ArmDescription, Joints, JointState


def three_joints() -> ArmDescription:
    return ArmDescription(
        name="test arm",
        joint_names=("shoulder", "elbow", "gripper"),
        units=("rad", "rad", "m"),
        low=np.array([-1.0, -2.0, 0.0]),
        high=np.array([1.0, 0.5, 0.08]),
        velocity=np.array([2.0, 3.0, 0.2]),
        acceleration=np.array([8.0, 12.0, 2.0]),
        jerk=np.array([200.0, 400.0, 60.0]),
        home=np.array([0.0, -0.5, 0.04]),
    )


@dataclass
class Bench:
    """A governor with an arm that is where it was sent to, and a clock that moves by servo periods."""

    governor: Governor
    now_s: float = 100.0
    sent: list[Joints] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    position: Joints = field(default_factory=lambda: np.zeros(0))
    beating: bool = True
    sequence: int = 0
    releases: int = 0
    setpoint: Setpoint | None = None

    def __post_init__(self) -> None:
        self.position = self.governor.description.home.copy()
        self.sent.append(self.position)

    @property
    def measured(self) -> JointState:
        return JointState(self.position, self.now_s)

    def arm(self) -> str:
        return self.governor.arm(self.now_s, self.measured)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_s += self.governor.period_s
            if self.beating:
                self.governor.beat(self.now_s)
            self.setpoint = self.governor.step(self.now_s, self.measured)
            if self.setpoint.write:
                self.position = self.setpoint.position
            self.releases += self.setpoint.release
            self.sent.append(self.position)
            self.states.append(self.setpoint.state)

    def offer(self, offsets_s: Sequence[float], positions: object, seen_s: float | None = None) -> CommandResult:
        self.sequence += 1
        times_s = self.now_s + np.asarray(offsets_s, np.float64)
        return self.governor.offer(
            Command(self.sequence, times_s, np.asarray(positions, np.float64), seen_s), self.now_s
        )


def bench(settings: SafetySettings | None = None, **options: object) -> Bench:
    return Bench(Governor(three_joints(), settings or SafetySettings(), **options))  # type: ignore[arg-type]


def check_limits(sent: Sequence[Joints] | NDArray[np.float64], description: ArmDescription, period_s: float) -> None:
    """Assert that positions sent once a period, (T, J), keep to every hard limit.

    A motion whose jerk is bounded by j at every instant has third differences bounded by j too, and so on.
    """
    positions = np.asarray(sent, np.float64)
    assert np.all(np.isfinite(positions))
    assert np.all(positions >= description.low - 1e-12)
    assert np.all(positions <= description.high + 1e-12)
    for order, limit in ((1, description.velocity), (2, description.acceleration), (3, description.jerk)):
        rate = np.abs(np.diff(positions, order, axis=0)) / period_s**order
        assert np.all(rate <= limit * (1 + 1e-6) + 1e-14 / period_s**order), (order, (rate / limit).max(axis=0))
