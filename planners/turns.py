"""Plan with an in-domain model for a while, then with a general one, and so on: composed in time, not in score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from planners.adapted import AdaptedPlanner
from planners.around import Around, plan_by
from planners.latent_video import LatentVideoPlanner
from robot.core.data import Observation, SamplerSettings, VideoPlan


class Turns(Around):
    """Let adaptations of one planner plan in turn, each for `turn_s` seconds of the robot's clock. A `Planner`.

    Where one model is at a loss the other goes on, each for long enough to get somewhere. What one does confidently and
    wrongly may leave the arm where the other is lost, too, so it may matter who begins. Nothing is
    remembered from plan to plan: whose turn it is follows from `Observation.time_s` alone, so that plans can be made
    for many robots at once, out of order, and again. A plan bears this planner's identity.

    `adaptations`: at least one of `planners.adapted.ADAPTATIONS`, in their order. Raises ValueError for any other, for
    a turn that is not positive and for a planner without adaptations.
    """

    def __init__(
        self, planner: AdaptedPlanner, adaptations: Sequence[str] = ("in_domain", "general"), turn_s: float = 2.8
    ) -> None:
        if not isinstance(planner, AdaptedPlanner):
            raise ValueError("Only an adapted planner has adaptations to take turns: planner@planner.planner=adapted.")
        if not adaptations or isinstance(adaptations, str):
            raise ValueError("Turns need a list of adaptations, such as [in_domain, general].")
        if not (turn_s > 0 and math.isfinite(turn_s)):
            raise ValueError(f"turn_s must be a positive number of seconds, got {turn_s}.")
        self.planner: AdaptedPlanner = planner
        self.adaptations = tuple(adaptations)
        self.turn_s = float(turn_s)
        self._drawing = [planner.with_adaptation(each) for each in adaptations]

    @property
    def identity(self) -> str:
        """Return the identities of the planners that take turns, and for how long; plans carry it."""
        return f"{'/'.join(each.identity for each in self._drawing)}/turns of {self.turn_s:g} s"

    @property
    def adaptation(self) -> str:
        """Return which adaptations take turns, with a slash between them."""
        return "/".join(dict.fromkeys(self.adaptations))

    def with_in_domain(self, planner: LatentVideoPlanner) -> Turns:
        """Return the same turns with the in-domain planner exchanged, such as for one that was fine-tuned."""
        return Turns(self.planner.with_in_domain(planner), self.adaptations, self.turn_s)

    def turn(self, observation: Observation) -> int:
        """Return which of the adaptations plans from an observation."""
        # Clocks that count physics steps fall a rounding short of a whole turn.
        return math.floor(observation.time_s / self.turn_s + 1e-6) % len(self._drawing)

    def plan(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[VideoPlan]:
        """Return a plan for each observation by whose turn it is; see `robot.core.protocols.Planner.plan`."""
        count = len(observations)
        fitting = len(instructions) == len(seeds) == count and (settings is None or len(settings) == count)
        if not fitting:  # the planner says what does not fit
            return self.planner.plan(observations, instructions, seeds, settings)
        whose = [self.turn(each) for each in observations]
        plans = plan_by(self._drawing, whose, observations, instructions, seeds, settings)
        return [dataclasses.replace(plan, planner=self.identity) for plan in plans]
