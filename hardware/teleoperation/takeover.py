"""Let a person take the arm over from a policy, and give it back, without a jump.

An action is a displacement from where the arm was sent last, so a person begins from there, whatever the policy was
about to do; and begins gently: full speed is reached over `ease_s`. The gripper stays as it was sent until the person
changes it. When the hand has been off for `release_s`, or says so, the arm is given back, and the plan, which began
somewhere else, is to be dropped: the policy plans anew from where the arm is now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hardware.teleoperation.operator_input import OPEN, SHUT, Displacements, InputDevice, OperatorInput
from robot.core.data import Action, ActionSpec


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold the action for this step and whose it is.

    `intervention`: a person gave it, or the arm waits for the person. `drop_plan`: what was planned no longer counts.
    `word`: what the person said beside motion.
    """

    action: Action
    intervention: bool
    drop_plan: bool
    word: str = ""


class Takeover:
    """Choose between a policy's action and a person's, step by step: `choose`, act, `sent`.

    `share` scales a person's full speed to the robot's. Recording demonstrations, there is no policy, and every action
    is the person's or a rest.
    """

    def __init__(
        self,
        source: InputDevice,
        spec: ActionSpec,
        share: float = 1.0,
        release_s: float = 1.0,
        ease_s: float = 0.3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._displacements = Displacements(spec, share)
        self._release_s = release_s
        self._ease_s = ease_s
        self._clock = clock
        self._grip = OPEN
        self._since_s: float | None = None
        self._last_s = 0.0

    @property
    def is_person(self) -> bool:
        """Return whether the arm is in a person's hand."""
        return self._since_s is not None

    def choose(self, policy: Action | None) -> Choice:
        """Return what to do now; `policy` is what the policy would do, None where it has nothing yet: the arm rests.

        Raises SailError where the person's device is gone: the arm must then stop.
        """
        given, now_s = self._source.read(), self._clock()
        if given.is_at_hand:
            begins = self._since_s is None
            if begins:
                self._since_s = now_s
            self._last_s = now_s
            return Choice(self._persons(given, now_s), True, begins, given.word)
        if self._since_s is None:
            return Choice(policy if policy is not None else self._rest(), False, False, given.word)
        if given.word == "hand back" or now_s - self._last_s >= self._release_s:
            self._since_s = None
            return Choice(self._rest(), True, True, given.word)
        return Choice(self._rest(), True, False, given.word)

    def sent(self, action: Action) -> None:
        """Take note of the action that was really sent, so that a takeover leaves the gripper as it is."""
        self._grip = self._displacements.grip_of(action)

    def _persons(self, given: OperatorInput, now_s: float) -> Action:
        if given.toggles % 2:
            self._grip = OPEN if self._grip > 0 else SHUT
        since_s = now_s if self._since_s is None else self._since_s
        ease = min((now_s - since_s) / self._ease_s, 1.0) if self._ease_s > 0 else 1.0
        return self._displacements.action(given, self._grip, ease)

    def _rest(self) -> Action:
        return self._displacements.action(OperatorInput(), self._grip)
