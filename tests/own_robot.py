"""A robot as somebody else would write it, who knows `robot.core.protocols` and nothing of `hardware`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from robot.core.data import Action, Observation
from robot.core.errors import SailError
from tests.fakes import SPEC, STEP_M, ToyRobot


class OwnRobot(ToyRobot):
    """A toy robot that goes on after an action until it is halted, and that says what it can do.

    `on_act` and `on_reset` are called in the midst of both. `halts` counts how often it was halted.
    """

    takes_any_words = True
    made: ClassVar[list[OwnRobot]] = []
    on_act: ClassVar[Callable[[OwnRobot], None]] = lambda robot: None
    on_reset: ClassVar[Callable[[OwnRobot], None]] = lambda robot: None

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = settings
        self.halts = 0
        self.is_moving = False
        self._is_ready = False
        self.halted = threading.Event()
        self.made.append(self)

    def reset(self, seed: int | None = None) -> Observation:
        self.halted.clear()
        type(self).on_reset(self)
        self._is_ready, self.is_moving = True, False
        return super().reset(seed)

    def act(self, action: Action) -> Action:
        if not self._is_ready:
            raise SailError("The toy robot has been halted: reset it first.")
        self.is_moving = True
        type(self).on_act(self)
        return super().act(action)

    def halt(self) -> None:
        self._is_ready = self.is_moving = False
        self.halts += 1
        self.halted.set()

    def ages(self) -> Mapping[str, float]:
        return {"top": 0.01, "joints": 0.002}

    def preview(self, action: Action) -> Mapping[str, float]:
        there = self.position + STEP_M * SPEC.action.clip(action.values)
        return dict(zip(SPEC.action.names, map(float, there), strict=True))

    def condition(self) -> str:
        return "under way" if self.is_moving else "at rest"


class Rightwards:
    """An inverse dynamics that goes to the right, whatever the plan."""

    identity = "rightwards"

    def begin(self, observations: object, plans: list[object]) -> list[object]:
        return [None] * len(plans)

    def act(self, observations: list[Observation], handles: object, steps: object) -> list[Action]:
        return [Action(np.array([0.5, 0.0], np.float32)) for _ in observations]
