"""Put together, from a configuration, what a run needs: robots, models, judge, exploration and learners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from planners.words import sampled_for
from robot.cli.compose import build
from robot.cli.wording import takes_any_words, task_of
from robot.core.data import RobotSpec, SamplerSettings, View
from robot.core.errors import SailError
from robot.core.protocols import NeedsView, Planner, Policy
from robot.core.rates import steps_per_frame
from robot.core.training import TrainingSettings
from robot.learn.attempts import Exploration
from robot.learn.exploration import InstructionBandit, Phrasing, negative_prompts, similarity
from robot.learn.finetuning import (
    Episodes,
    InverseDynamicsInForce,
    InverseDynamicsLearner,
    PlannerInForce,
    PlannerLearner,
    trained_part,
)
from robot.learn.improvement import InverseDynamicsTuning, PlannerTuning
from robot.rollouts.pools import PoolSource
from robot.rollouts.rollout import RolloutSettings
from sim.tasks import INSTRUCTIONS, PARAPHRASES, SEEN


def instruction_of(config: DictConfig) -> str:
    """Return what the task asks for; raise SailError for an unknown task or an instruction of blanks."""
    return task_of(config)[1]


def open_pool(config: DictConfig, task: str) -> PoolSource:
    """Open the robots of a task."""
    return PoolSource(lambda: build(config.robot, task=task))


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
    return RolloutSettings(**_named_as(RolloutSettings, config))


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
    return TrainingSettings(**{**_named_as(TrainingSettings, node), "seed": seed, "tracker": tracker})


def _named_as(settings: type[RolloutSettings] | type[TrainingSettings], node: DictConfig) -> dict[str, Any]:
    """Return the keys of a configuration that bear the names of settings; what it has not keeps its default there."""
    known = {field.name for field in fields(settings)}
    return {str(key): value for key, value in node.items() if key in known}


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
        without=[Phrasing(instruction, asked_anyway.negative_prompt, asked_anyway.guidance_scale)],
    )
    return Exploration(bandit, float(node.share), float(node.target), int(node.minimum_true), int(node.wave))


def without_demonstrations(config: DictConfig) -> DictConfig:
    """Return a configuration whose learners mix in no demonstrations and take their tempo from none."""
    alone = config.copy()
    alone.learner.planner.seen_share = alone.learner.inverse_dynamics.seen_share = 0.0
    alone.learner.planner.unhesitating = False
    return alone


def planner_learner(
    config: DictConfig, in_force: PlannerInForce | None, seen: Episodes, rate_hz: float, tracker: str
) -> PlannerLearner | None:
    """Return what fine-tunes the planner, or None where it is switched off or there is nothing to train."""
    node = config.learner.planner
    if not node.train:
        return None
    tuning = PlannerTuning(
        training_settings(node, int(config.seed), tracker),
        float(node.seen_share),
        float(node.attempted_share),
        float(node.quickest),
        float(node.reversed_share),
        bool(node.unhesitating),
        None if node.half_life_s is None else float(node.half_life_s),
    )
    return tuning.learner(in_force, seen, rate_hz, float(config.learner.keep_above), Path(config.data) / "latents")


def inverse_dynamics_learner(
    config: DictConfig, models: Models, seen: Episodes, camera_matrices: Mapping[str, Any], tracker: str
) -> InverseDynamicsLearner | None:
    """Return what fine-tunes inverse dynamics, or None where it is switched off or the policy has none."""
    node = config.learner.inverse_dynamics
    if not node.train:
        return None
    tuning = InverseDynamicsTuning(
        training_settings(node, int(config.seed), tracker),
        float(node.seen_share),
        node.learn_from,
        float(node.most_frames),
        float(node.reconstructed_share),
    )
    above = float(config.learner.keep_above)
    return tuning.learner(models.inverse_dynamics, models.planner, seen, camera_matrices, above)
