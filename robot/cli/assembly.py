"""Put together, from a configuration, what a run needs: robots, models, judge, exploration and learners."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from planners.words import sampled_for
from robot.cli.compose import build
from robot.cli.wording import takes_any_words, task_of
from robot.core.data import Episode, RobotSpec, SamplerSettings, View
from robot.core.errors import SailError
from robot.core.protocols import Adapted, NeedsView, Planner, Policy, Robot, RobotPool, Trainable
from robot.core.rates import steps_per_frame
from robot.core.training import TrainingSettings
from robot.learn.attempts import Exploration
from robot.learn.exploration import Arm, InstructionBandit, negative_prompts, similarity
from robot.learn.finetuning import (
    FrameOptions,
    InverseDynamicsInForce,
    InverseDynamicsLearner,
    LearnsFromFrames,
    PlannerInForce,
    PlannerLearner,
    reconstruction,
    trained_part,
)
from robot.rollouts.rollout import RolloutSettings, SingleRobot
from sim.tasks import INSTRUCTIONS, PARAPHRASES, SEEN

Seen = Callable[[], Sequence[Episode]]


def instruction_of(config: DictConfig) -> str:
    """Return what the task asks for; raise SailError for an unknown task or an instruction of blanks."""
    return task_of(config)[1]


class PoolSource:
    """Open robots for a task: one pool at once, to know what the robots sense, and another for each later `make`."""

    def __init__(self, config: DictConfig, task: str) -> None:
        self._config = config.robot
        self._task = task
        self._waiting: RobotPool | None = self._open()
        self.spec: RobotSpec = self._waiting.spec

    def make(self) -> RobotPool:
        """Return an open pool; whoever asked closes it."""
        pool, self._waiting = self._waiting, None
        return pool if pool is not None else self._open()

    def _open(self) -> RobotPool:
        made: Robot | RobotPool = build(self._config, task=self._task)
        return made if isinstance(made, RobotPool) else SingleRobot(made)

    def close(self) -> None:
        """Close the pool that nobody asked for, if there is one."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None


def open_pool(config: DictConfig, task: str) -> PoolSource:
    """Open the robots of a task."""
    return PoolSource(config, task)


@dataclass(frozen=True, slots=True)
class Models:
    """Hold the models that a configuration's policy is made of, in force until others are; None: it has none."""

    planner: PlannerInForce | None = None
    inverse_dynamics: InverseDynamicsInForce | None = None


def models_of(config: DictConfig) -> Models:
    """Load the models that the policy refers to by the keys `planner` and `inverse_dynamics`; `seed` is of new weights.

    They take the longest, and need no robot.
    """
    torch.manual_seed(int(config.seed))  # untrained weights, where a planner has such, are the same again
    planner = PlannerInForce(build(config.planner)) if "planner" in config.policy else None
    tracks = "inverse_dynamics" in config.policy
    return Models(planner, InverseDynamicsInForce(build(config.inverse_dynamics)) if tracks else None)


def policy_of(config: DictConfig, models: Models, spec: RobotSpec) -> Policy:
    """Return the policy, of these models, for a robot.

    Raises SailError where the policy, or the robot for its planner, is not what it must be.
    """
    if models.planner is not None:
        check_fit(models.planner.current, spec, int(config.get("execute_frames", 1)))
    given = {"planner": models.planner, "inverse_dynamics": models.inverse_dynamics}
    known: dict[str, Any] = {name: model for name, model in given.items() if model is not None}
    if config.policy.get("rate_hz", 0.0) is None:
        known["rate_hz"] = spec.action.rate_hz
    policy = build(config.policy, **known)
    if not isinstance(policy, Policy):
        raise SailError(f"A {type(policy).__name__} is no policy: it must have identity, begin and act.")
    return policy


def check_words(planner: Planner, instruction: str) -> None:
    """Raise ValueError for words that a planner's text encoder cannot take; what has none is not checked."""
    imagining = trained_part(planner)
    if imagining is not None:
        imagining.text_encoder.encode([instruction])


def check_fit(planner: object, spec: RobotSpec, execute_frames: int = 1) -> None:
    """Raise SailError unless a robot has a planner's camera, pictures of its size and a rate that suits its plans.

    Nor may more frames of a plan be carried out than it has.

    What a planner does not say of itself is not checked.
    """
    view = planner.view if isinstance(planner, NeedsView) else View()
    camera, size, stride_s, frames = view.camera, view.image_size, view.stride_s, view.frames
    if camera is not None and camera not in spec.cameras:
        raise SailError(
            f"The planner looks through camera {camera!r}, and the robot has only {', '.join(spec.cameras)}: "
            f"add it to robot.cameras."
        )
    if camera is not None and size is not None and tuple(spec.cameras[camera]) != tuple(size):
        height, width = spec.cameras[camera]
        raise SailError(
            f"The planner takes images of {size[0]}×{size[1]} pixels and camera {camera!r} gives {height}×{width}: "
            f"set robot.image_size={size[0]}."
        )
    if frames is not None and execute_frames > frames:
        raise SailError(f"A plan of this planner has {frames} frames: execute_frames={execute_frames} is too many.")
    if stride_s is not None:
        try:
            steps_per_frame(stride_s, spec.action.rate_hz)
        except ValueError as problem:
            raise SailError(f"{str(problem).rstrip('.')}: set robot.action_repeat to 2, say.") from None


def rollout_settings(config: DictConfig) -> RolloutSettings:
    """Return how attempts are carried out; who ends them is for the judge to say, where there is one."""
    return RolloutSettings(
        int(config.max_steps),
        int(config.plan_batch),
        ends_by=config.get("ends_by", "time"),
        retries=int(config.get("retries", 2)),
    )


def sampler_of(config: DictConfig, instruction: str) -> SamplerSettings:
    """Return how plans of the true instruction are sampled; the oracle samples nothing.

    A planner around another samples as that one does.
    """
    node = config.planner
    while "settings" not in node and isinstance(node.get("planner"), DictConfig):
        node = node.planner
    settings = node.get("settings")
    return SamplerSettings() if settings is None else sampled_for(instruction, build(settings))


def training_settings(node: DictConfig, seed: int, tracker: str = "") -> TrainingSettings:
    """Return training settings from the keys of a configuration that bear their names."""
    known = TrainingSettings.__dataclass_fields__
    values = {str(key): value for key, value in node.items() if key in known}
    return TrainingSettings(**{**values, "seed": seed, "tracker": tracker})


def exploration_of(config: DictConfig, instruction: str) -> Exploration | None:
    """Return how rollouts borrow other words or ask the true ones otherwise, or None where the share is 0.

    On an arm no words are borrowed, and only the true ones are asked otherwise.
    """
    node = config.learner.exploration
    if float(node.share) == 0.0:
        return None
    # The words of MetaWorld's scenes mean nothing on an arm of this world.
    lent = () if takes_any_words(config) else SEEN
    seen = [INSTRUCTIONS[task] for task in lent]
    borrowed = [*seen, *(text for task in lent for text in PARAPHRASES.get(task, ()) if node.paraphrases)]
    borrowed = [text for text in dict.fromkeys(borrowed) if text != instruction]
    if node.true_instruction:
        borrowed.append(instruction)
    if not borrowed:
        return None
    asked_anyway = sampler_of(config, instruction)
    bandit = InstructionBandit(
        borrowed,
        negative_prompts(instruction, seen),
        tuple(float(scale) for scale in node.guidance_scales),
        {text: 1.0 + similarity(text, instruction) for text in borrowed},
        without=[Arm(instruction, asked_anyway.negative_prompt, asked_anyway.guidance_scale)],
    )
    return Exploration(bandit, float(node.share), float(node.target), int(node.minimum_true), int(node.wave))


def without_demonstrations(config: DictConfig) -> DictConfig:
    """Return a configuration whose learners mix in no demonstrations and take their tempo from none."""
    alone = config.copy()
    alone.learner.planner.seen_share = alone.learner.inverse_dynamics.seen_share = 0.0
    alone.learner.planner.unhesitating = False
    return alone


def adaptation_of(planner: Planner) -> str:
    """Return which of its models a planner's plans come from, nothing where it has no choice."""
    return planner.adaptation if isinstance(planner, Adapted) else ""


def planner_learner(
    config: DictConfig, in_force: PlannerInForce | None, seen: Seen, rate_hz: float, tracker: str
) -> PlannerLearner | None:
    """Return what fine-tunes the planner, or None where it is switched off or there is nothing to train."""
    node = config.learner.planner
    if in_force is None or not node.train:
        return None
    acting = in_force.current
    current = trained_part(acting)
    if current is None:
        return None
    if isinstance(acting, Trainable) and adaptation_of(acting.with_in_domain(current)) == "general":
        raise SailError(
            "With planner.adaptation=general no plan would ever come from the in-domain planner, which is what is "
            "fine-tuned: set planner.finetuned=in_domain, learner.planner.train=false, or take another adaptation."
        )
    half_life_s = node.half_life_s
    if half_life_s is not None and not half_life_s > 0:
        raise SailError(f"learner.planner.half_life_s={half_life_s} must be a positive number of seconds, or null.")

    return PlannerLearner(
        in_force,
        current.loaded_from,
        seen,
        training_settings(node, int(config.seed), tracker),
        float(node.seen_share),
        steps_per_frame(current.stride_s, rate_hz),
        bool(node.unhesitating),
        math.inf if half_life_s is None else float(half_life_s) * rate_hz,
        latents=Path(config.data) / "latents",
        keep_above=float(config.learner.keep_above),
        attempted_share=float(node.attempted_share),
    )


def inverse_dynamics_learner(
    config: DictConfig,
    models: Models,
    seen: Seen,
    camera_matrices: Mapping[str, Any],
    tracker: str,
) -> InverseDynamicsLearner | None:
    """Return what fine-tunes inverse dynamics, or None where it is switched off or the policy has none."""
    node = config.learner.inverse_dynamics
    in_force = models.inverse_dynamics
    if in_force is None or not node.train:
        return None
    current = in_force.current
    if not isinstance(current, LearnsFromFrames):
        raise SailError(f"A {type(current).__name__} cannot be fine-tuned: set learner.inverse_dynamics.train=false.")
    if current.folder is None:
        raise SailError(
            "This inverse dynamics comes from no folder of weights, so it cannot be fine-tuned: name one with "
            "inverse_dynamics=pose_tracking inverse_dynamics.folder=…, or set learner.inverse_dynamics.train=false."
        )
    imagining = None if models.planner is None else trained_part(models.planner.current)
    frames = FrameOptions(
        current.camera,
        current.frame_size,
        camera_matrices.get(current.camera),
        reconstruction(imagining) if imagining is not None else None,
        float(node.reconstructed_share),
    )
    return InverseDynamicsLearner(
        in_force,
        current.folder,
        current.loaded_from,
        current.finetune,
        seen,
        training_settings(node, int(config.seed), tracker),
        frames,
        float(node.seen_share),
        node.learn_from,
        float(config.learner.keep_above),
        float(node.most_frames),
    )
