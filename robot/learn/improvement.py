"""Put SAIL together from a planner, an inverse dynamics and robots: what `sail improve` does, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from policies.imagine_then_track import ImagineThenTrack
from robot.core.data import Episode, SamplerSettings
from robot.core.errors import SailError
from robot.core.protocols import Adapted, InverseDynamics, Planner, RewardModel, Robot, RobotPool, Trainable
from robot.core.rates import steps_per_frame
from robot.core.training import TrainingSettings
from robot.episodes.store import EpisodeStore
from robot.judges.truth import GroundTruth
from robot.learn.attempts import Exploration
from robot.learn.finetuning import (
    Episodes,
    FrameOptions,
    InverseDynamicsInForce,
    InverseDynamicsLearner,
    LearnsFromFrames,
    PlannerInForce,
    PlannerLearner,
    reconstruction,
    trained_part,
)
from robot.learn.run import OnEvent
from robot.learn.sail import SailLoop, SailSettings
from robot.rollouts.pools import PoolSource

PLANNER_TRAINING = TrainingSettings(steps=400, batch_size=16, learning_rate=5e-5, warmup_steps=10, ema_decay=0.98)
INVERSE_DYNAMICS_TRAINING = TrainingSettings(
    steps=150, batch_size=64, learning_rate=1e-4, warmup_steps=10, ema_decay=0.98
)
"""As `configs/learner/sail.yaml` has them."""


@dataclass(frozen=True)
class PlannerTuning:
    """Say how the planner is fine-tuned; see `PlannerLearner`.

    `half_life_s`: of a success, what came so long before its end counts half; None: all alike.
    """

    training: TrainingSettings = PLANNER_TRAINING
    seen_share: float = 0.25
    attempted_share: float = 0.25
    quickest: float = 1.0
    reversed_share: float = 0.0
    unhesitating: bool = True
    half_life_s: float | None = 1.0

    def __post_init__(self) -> None:
        if self.half_life_s is not None and not self.half_life_s > 0:
            raise ValueError(
                f"learner.planner.half_life_s={self.half_life_s} must be a positive number of seconds, or null."
            )

    def learner(
        self,
        planner: PlannerInForce | None,
        seen: Episodes,
        rate_hz: float,
        keep_above: float = 0.5,
        latents: Path | None = None,
    ) -> PlannerLearner | None:
        """Return what fine-tunes a planner for a robot of `rate_hz` steps a second, None where nothing is to train.

        Raises SailError where no plan would come from what is trained.
        """
        acting = None if planner is None else planner.current
        part = None if acting is None else trained_part(acting)
        if planner is None or acting is None or part is None:
            return None
        if isinstance(acting, Trainable) and adaptation_of(acting.with_in_domain(part)) == "general":
            raise SailError(
                "With planner.adaptation=general no plan would ever come from the in-domain planner, which is what is "
                "fine-tuned: set planner.finetuned=in_domain, learner.planner.train=false, or take another adaptation."
            )
        return PlannerLearner(
            planner,
            part.loaded_from,
            seen,
            self.training,
            self.seen_share,
            steps_per_frame(part.stride_s, rate_hz),
            self.unhesitating,
            math.inf if self.half_life_s is None else self.half_life_s * rate_hz,
            latents=latents,
            keep_above=keep_above,
            attempted_share=self.attempted_share,
            quickest=self.quickest,
            reversed_share=self.reversed_share,
        )


@dataclass(frozen=True)
class InverseDynamicsTuning:
    """Say how the inverse dynamics is fine-tuned; see `InverseDynamicsLearner` and `FrameOptions`."""

    training: TrainingSettings = INVERSE_DYNAMICS_TRAINING
    seen_share: float = 0.5
    learn_from: Literal["rollouts", "successes"] = "rollouts"
    most_frames: float = 6000
    reconstructed_share: float = 0.5

    def learner(
        self,
        inverse_dynamics: InverseDynamicsInForce | None,
        planner: PlannerInForce | None,
        seen: Episodes,
        camera_matrices: Mapping[str, NDArray[np.float64]],
        keep_above: float = 0.5,
    ) -> InverseDynamicsLearner | None:
        """Return what fine-tunes an inverse dynamics, on pictures as the planner's autoencoder gives them back.

        None where there is no inverse dynamics. Raises SailError where it cannot be fine-tuned.
        """
        if inverse_dynamics is None:
            return None
        current = inverse_dynamics.current
        if not isinstance(current, LearnsFromFrames):
            raise SailError(
                f"A {type(current).__name__} cannot be fine-tuned: set learner.inverse_dynamics.train=false."
            )
        if current.folder is None:
            raise SailError(
                "This inverse dynamics comes from no folder of weights, so it cannot be fine-tuned: name one with "
                "inverse_dynamics=pose_tracking inverse_dynamics.folder=…, or set learner.inverse_dynamics.train=false."
            )
        imagining = None if planner is None else trained_part(planner.current)
        frames = FrameOptions(
            current.camera,
            current.frame_size,
            camera_matrices.get(current.camera),
            None if imagining is None else reconstruction(imagining),
            self.reconstructed_share,
        )
        return InverseDynamicsLearner(
            inverse_dynamics,
            current.folder,
            current.loaded_from,
            current.finetune,
            seen,
            self.training,
            frames,
            self.seen_share,
            self.learn_from,
            keep_above,
            self.most_frames,
        )


def adaptation_of(planner: Planner) -> str:
    """Return which of its models a planner's plans come from, nothing where it has no choice."""
    return planner.adaptation if isinstance(planner, Adapted) else ""


@contextmanager
def improvement(
    folder: str | Path,
    settings: SailSettings,
    robots: Callable[[], Robot | RobotPool],
    planner: Planner,
    inverse_dynamics: InverseDynamics,
    *,
    judge: RewardModel | None = None,
    demonstrations: Sequence[Episode] = (),
    execute_frames: int = 6,
    planner_tuning: PlannerTuning | None = PlannerTuning(),
    inverse_dynamics_tuning: InverseDynamicsTuning | None = InverseDynamicsTuning(),
    exploration: Exploration | None = None,
    on_event: OnEvent | None = None,
) -> Iterator[SailLoop]:
    """Lend a loop that is ready to run, and close its robots afterwards.

    `robots` opens a robot, or a pool of them, for the rollouts of each round. `judge` None is the simulator's truth.
    `demonstrations` of other tasks are mixed into what is learnt, so that nothing is forgotten; without any there is
    no share of them, and successes keep their own tempo. Plans are sampled as the planner is set to, unless
    `settings.sampler` says otherwise. A tuning that is None leaves its model as it is. Raises
    SailError where the parts do not fit one another.
    """
    acting, tracking = PlannerInForce(planner), InverseDynamicsInForce(inverse_dynamics)

    def seen() -> Sequence[Episode]:
        return demonstrations

    part = trained_part(planner)
    if part is not None and settings.sampler == SamplerSettings():
        settings = replace(settings, sampler=part.settings)
    pools = PoolSource(robots)
    spec, above = pools.spec, settings.keep_above
    planner_learner, inverse_dynamics_learner = None, None
    try:
        if planner_tuning is not None:
            training = replace(planner_tuning.training, seed=settings.seed)
            tuning = replace(planner_tuning, training=training)
            if not demonstrations:
                tuning = replace(tuning, seen_share=0.0, unhesitating=False)
            planner_learner = tuning.learner(acting, seen, spec.action.rate_hz, above)
        if inverse_dynamics_tuning is not None:
            share = inverse_dynamics_tuning.seen_share if demonstrations else 0.0
            training = replace(inverse_dynamics_tuning.training, seed=settings.seed)
            inverse_dynamics_learner = replace(inverse_dynamics_tuning, training=training, seen_share=share).learner(
                tracking, acting, seen, spec.camera_matrices, above
            )
        yield SailLoop(
            Path(folder),
            settings,
            pools.make,
            ImagineThenTrack(acting, tracking, spec.action.rate_hz, execute_frames),
            judge or GroundTruth(),
            EpisodeStore(Path(folder) / "episodes"),
            planner_learner,
            inverse_dynamics_learner,
            exploration,
            on_event,
        )
    finally:
        pools.close()
