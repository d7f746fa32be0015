"""Imagine the next seconds as video, then track them: a planner and an inverse dynamics as one policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robot.core.data import Action, Intent, Observation, SamplerSettings, VideoPlan, View
from robot.core.protocols import InverseDynamics, NeedsView, Planner, ReadsState
from robot.core.rates import steps_per_frame


class ImagineThenTrack:
    """Let a planner imagine and an inverse dynamics follow, then imagine anew. A `Policy`.

    `rate_hz`: steps a second of the robot. `execute_frames`: frames of each plan to carry out before planning again, of
    a shorter plan all; its whole length is the horizon. Raises ValueError for numbers that are not positive.
    """

    def __init__(
        self, planner: Planner, inverse_dynamics: InverseDynamics, rate_hz: float, execute_frames: int = 6
    ) -> None:
        if execute_frames < 1:
            raise ValueError(f"execute_frames must be at least 1, got {execute_frames}.")
        if not rate_hz > 0:
            raise ValueError(f"rate_hz must be positive, got {rate_hz}.")
        self.planner = planner
        self.inverse_dynamics = inverse_dynamics
        self.rate_hz = rate_hz
        self.execute_frames = execute_frames

    @property
    def identity(self) -> str:
        """Return the identities of both models and how many frames are carried out."""
        return f"{self.planner.identity} then {self.inverse_dynamics.identity}, {self.execute_frames} frames"

    @property
    def models(self) -> Mapping[str, str]:
        """Return the identities of both models."""
        return {"planner": self.planner.identity, "inverse_dynamics": self.inverse_dynamics.identity}

    @property
    def view(self) -> View:
        """Return what the planner needs."""
        return self.planner.view if isinstance(self.planner, NeedsView) else View()

    @property
    def reads_state(self) -> bool:
        """Return whether the planner does."""
        return isinstance(self.planner, ReadsState) and self.planner.reads_state

    def begin(
        self,
        observations: Sequence[Observation],
        instructions: Sequence[str],
        seeds: Sequence[int],
        settings: Sequence[SamplerSettings] | None = None,
    ) -> list[Intent]:
        """Plan in one batch and digest the plans; see `robot.core.protocols.Policy.begin`.

        Raises ValueError too for an empty instruction and for frames that are not whole steps of the robot apart.
        """
        plans = self.planner.plan(observations, instructions, seeds, settings)
        handles = self.inverse_dynamics.begin(observations, plans)
        return [self._intent(plan, handle) for plan, handle in zip(plans, handles, strict=True)]

    def act(self, observations: Sequence[Observation], intents: Sequence[Intent], steps: Sequence[int]) -> list[Action]:
        """Return the action that makes each plan come true."""
        return self.inverse_dynamics.act(observations, [intent.handle for intent in intents], steps)

    def _intent(self, plan: VideoPlan, handle: object) -> Intent:
        stride = steps_per_frame(plan.stride_s, self.rate_hz)
        return Intent(min(self.execute_frames, len(plan)) * stride, len(plan) * stride, plan, handle)
