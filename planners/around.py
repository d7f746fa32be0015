"""What planners share that are built around another one: they say of themselves what that one says."""

from __future__ import annotations

from collections.abc import Sequence

from planners.latent_video import LatentVideoPlanner
from robot.core.data import Observation, SamplerSettings, VideoPlan, View
from robot.core.protocols import Adapted, NeedsView, Planner, ReadsState, Trainable


class Around:
    """Stand around a planner: what it needs and has a choice of, and the part of it that the loop fine-tunes, show."""

    planner: Planner

    @property
    def in_domain(self) -> LatentVideoPlanner | None:
        """Return the part of the planner that is fine-tuned; None where there is none."""
        part = self.planner.in_domain if isinstance(self.planner, Trainable) else None
        return part if isinstance(part, LatentVideoPlanner) else None

    @property
    def view(self) -> View:
        """Return what the planner says that it needs."""
        return self.planner.view if isinstance(self.planner, NeedsView) else View()

    @property
    def reads_state(self) -> bool:
        """Return whether the planner reads the simulator's state."""
        return isinstance(self.planner, ReadsState) and self.planner.reads_state

    @property
    def adaptation(self) -> str:
        """Return which of its models the planner says that plans come from, nothing where it has no choice."""
        return self.planner.adaptation if isinstance(self.planner, Adapted) else ""


def plan_by(
    planners: Sequence[Planner],
    whose: Sequence[int],
    observations: Sequence[Observation],
    instructions: Sequence[str],
    seeds: Sequence[int],
    settings: Sequence[SamplerSettings] | None = None,
) -> list[VideoPlan]:
    """Return a plan for each observation by the planner of the number `whose`, each asked once about all of its own."""
    drawn: dict[int, VideoPlan] = {}
    for number, planner in enumerate(planners):
        places = [place for place, owner in enumerate(whose) if owner == number]
        some = planner.plan(
            [observations[place] for place in places],
            [instructions[place] for place in places],
            [seeds[place] for place in places],
            None if settings is None else [settings[place] for place in places],
        )
        drawn.update(zip(places, some, strict=True))
    return [drawn[place] for place in range(len(observations))]
