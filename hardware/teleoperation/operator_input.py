"""What a person gives by keyboard or SpaceMouse, and the action that stands for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from robot.core.data import Action, ActionSpec
from robot.core.errors import SailError

AXES: Final = ("x", "y", "z", "roll", "pitch", "yaw")
GRIP: Final = "grip"
SHUT, OPEN = 1.0, -1.0


@dataclass(frozen=True, slots=True)
class OperatorInput:
    """Hold what a person gives at one instant.

    `motion`: one share of full speed for each of `AXES`, −1 … 1, x away from the arm's base, y to its left, z up.
    `toggles`: how often the gripper was asked to change sides since it was last read. `word`: what was said beside
    motion: `hand back`, `success`, `failure`, `unsure`, `stop`, or nothing.
    """

    motion: tuple[float, float, float, float, float, float] = (0.0,) * 6
    toggles: int = 0
    word: str = ""

    @property
    def is_at_hand(self) -> bool:
        """Return whether the person is moving something."""
        return any(self.motion) or self.toggles > 0


@runtime_checkable
class InputDevice(Protocol):
    """A device by which a person tells the arm where to go."""

    def open(self) -> None:
        """Get hold of the device; raise SailError in one sentence where there is none."""
        ...

    def read(self) -> OperatorInput:
        """Return what is given now, at once; raise SailError where the device is gone."""
        ...

    def close(self) -> None:
        """Let go of the device; closing twice is allowed."""
        ...


@runtime_checkable
class StopsAtOnce(InputDevice, Protocol):
    """A device that calls `on_stop`, from a thread of its own, the moment a stop is given; set it before `open`."""

    on_stop: Callable[[], None]


def with_dead_band(value: float, dead_band: float) -> float:
    """Return an axis, −1 … 1, that is zero within the dead band and grows from zero outside it, up to the same ends."""
    beyond = max(abs(value) - dead_band, 0.0) / (1.0 - dead_band)
    return float(np.copysign(min(beyond, 1.0), value)) if beyond else 0.0


class Displacements:
    """Turn operator input into actions of a robot that is driven by displacements: dx, dy, dz, perhaps turns, and grip.

    `share`: how much of the robot's largest displacement stands for full speed, for all axes alike. Raises SailError
    for a robot that is driven otherwise.
    """

    def __init__(self, spec: ActionSpec, share: float = 1.0) -> None:
        known = {f"d{axis}": number for number, axis in enumerate(AXES)}
        strange = [name for name in spec.names if name not in known and name != GRIP]
        if strange or "dx" not in spec.names:
            raise SailError(
                f"A person drives a robot by displacements (dx, dy, dz, …, grip); this one takes "
                f"{', '.join(spec.names)}: set robot.actions=displacement."
            )
        if not 0.0 < share <= 1.0:
            raise SailError(f"A share of full speed lies above 0 and at most at 1, got {share}.")
        self._spec = spec
        self._share = share
        self._axes = [known.get(name) for name in spec.names]

    def action(self, given: OperatorInput, grip: float, ease: float = 1.0) -> Action:
        """Return the action for an input, with the gripper's entry at `grip`; `ease`, 0–1, scales the motion."""
        values = np.full(self._spec.size, grip, np.float32)
        for entry, axis in enumerate(self._axes):
            if axis is not None:
                share = self._share * ease * given.motion[axis]
                values[entry] = share * (self._spec.high[entry] if share > 0 else -self._spec.low[entry])
        return Action(self._spec.clip(values))

    def grip_of(self, action: Action) -> float:
        """Return the gripper's entry of an action; open where the robot has none."""
        entries = [entry for entry, axis in enumerate(self._axes) if axis is None]
        return float(action.values[entries[0]]) if entries else OPEN
