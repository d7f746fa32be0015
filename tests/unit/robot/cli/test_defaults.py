"""Defaults live once, in classes and functions: what a YAML file in configs/ repeats of them is the same.

Every file is composed. Where `_target_` names what is made, its keys are compared with the defaults of that; where the
command line fills a class or a function by name, `FILLED` says which. A value that is meant to be another than the
default is one of `CHOICES`, and each of these must really differ.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from planners.autoencoder import FrameAutoencoder
from planners.diffusion import DiffusionSettings
from planners.windows import WindowSampler
from policies.frame_set import gather_frames
from robot.cli.compose import compose
from robot.cli.keys import CONFIGS, group_names, group_options
from robot.core.data import SamplerSettings
from robot.core.training import TrainingSettings
from robot.learn.attempts import Exploration
from robot.learn.evaluation import evaluate
from robot.learn.finetuning import FrameOptions, InverseDynamicsLearner, PlannerLearner
from robot.learn.improvement import (
    INVERSE_DYNAMICS_TRAINING,
    PLANNER_TRAINING,
    InverseDynamicsTuning,
    PlannerTuning,
)
from robot.learn.sail import SailSettings
from robot.rollouts.deploy import DeploySettings
from robot.rollouts.rollout import RolloutSettings
from robot.speed.arm import bench_arm
from robot.speed.composition import bench_composition
from robot.speed.diffusion import DiffusionBench
from robot.speed.planning import bench_planner
from robot.speed.rendering import bench_render
from robot.speed.rollouts import bench_rollouts
from robot.speed.storage import bench_store
from sim.collect import Request

Made = Callable[..., Any] | TrainingSettings
"""What is made, by its arguments; or settings that are there already, by what they are."""

FILLED: dict[str, dict[str, tuple[Made, ...]]] = {
    "arm_serve": {"": (ArmServer,), "safety": (SafetySettings,)},
    "arm_teleoperate": {"": (DeploySettings,)},
    "bench_arm": {"": (bench_arm,)},
    "bench_composition": {"": (bench_composition,)},
    "bench_diffusion": {"": (DiffusionBench, TrainingSettings), "baseline": (DiffusionSettings,)},
    "bench_planner": {"": (bench_planner,)},
    "bench_render": {"": (bench_render,)},
    "bench_rollouts": {"": (bench_rollouts,)},
    "bench_store": {"": (bench_store,)},
    "collect": {"": (Request,)},
    "deploy": {"deploy": (DeploySettings,)},
    "evaluate": {"": (RolloutSettings, evaluate)},
    "improve": {"": (SailSettings, RolloutSettings)},
    "train_autoencoder": {"": (TrainingSettings, FrameAutoencoder)},
    "train_inverse_dynamics": {"": (TrainingSettings, gather_frames)},
    "train_planner": {"": (TrainingSettings, WindowSampler), "diffusion": (DiffusionSettings,)},
    "learner=sail": {
        "": (SailSettings, PlannerLearner),
        "planner": (PLANNER_TRAINING, PlannerTuning, PlannerLearner),
        "inverse_dynamics": (
            INVERSE_DYNAMICS_TRAINING,
            InverseDynamicsTuning,
            InverseDynamicsLearner,
            FrameOptions,
        ),
        "exploration": (Exploration,),
    },
}

RENAMED: dict[str, dict[str, tuple[Made, str]]] = {
    "bench_diffusion": {
        "sampling_steps": (SamplerSettings, "steps"),
        "guidance_scale": (SamplerSettings, "guidance_scale"),
        "sampler": (SamplerSettings, "sampler"),
    },
    "train_planner": {
        "sampling_steps": (SamplerSettings, "steps"),
        "guidance_scale": (SamplerSettings, "guidance_scale"),
        "sampler": (SamplerSettings, "sampler"),
    },
    "learner=sail": {"exploration.share": (Exploration, "start_share")},
}
"""Keys of files that fill an argument of another name."""

ANIMATELCM = ("lora", "lora_file", "lora_scale", "autoencoder")
CHOICES: dict[str, Sequence[str]] = {
    # Said otherwise to a command than to a class: a path or nothing, a network or a test.
    "arm_serve": ("encoding", "realtime", "log", "record"),
    "evaluate": ("method",),
    "robot=arm": ("known", "image_size"),
    "robot=franka": ("known", "image_size"),
    "robot=ur": ("known", "image_size"),
    "robot=metaworld_zmq": ("serve",),  # a simulator on a busy machine may wait
    "arm_teleoperate": ("max_steps",),  # a person takes longer
    # One trainer, several networks.
    "bench_diffusion": ("batch_size", "learning_rate", "warmup_steps", "ema_decay", "checkpoint_every"),
    "train_autoencoder": ("batch_size", "learning_rate", "weight_decay"),
    "train_inverse_dynamics": ("batch_size", "learning_rate"),
    "train_planner": ("diffusion.scale",),  # measured
    # Other models, and what was found or published for them.
    "autoencoder=stable_diffusion": ("image_size",),
    "general=animatediff": ("lora",),
    "general=animatelcm": ANIMATELCM,
    "inverse_dynamics=tiny": ("precision",),
    "planner=adapted": ("settings.guidance_scale",),
    "planner=adapted_animatediff": (
        *("adaptation", "finetuned", "strength", "general.lora"),
        *("settings.steps", "settings.guidance_scale"),
    ),
    "planner=adapted_animatelcm": (
        *("adaptation", "finetuned", "strength", *(f"general.{name}" for name in ANIMATELCM)),
        *("settings.steps", "settings.guidance_scale"),
    ),
    "planner=animatediff": (
        "general.lora",
        *(f"settings.{name}" for name in ("sampler", "steps", "guidance_scale", "negative_prompt")),
    ),
    "planner=animatediff_random": ("denoiser.widths", "settings.steps", "settings.guidance_scale"),
    "planner=animatelcm": (
        *(f"general.{name}" for name in ANIMATELCM),
        *(f"settings.{name}" for name in ("sampler", "steps", "negative_prompt")),
    ),
    "planner=tiny": (
        *(f"denoiser.{name}" for name in ("widths", "attention", "heads", "groups")),
        *("autoencoder.widths", "autoencoder.norm_groups"),
        *("settings.steps", "settings.guidance_scale", "precision"),
    ),
}
"""Keys of files whose values are meant to be others than the defaults."""

TOPS = {"arm": "arm_serve", "autoencoder": "train_planner", "denoiser": "train_planner", "text": "train_planner"}
"""By what a group's options are composed where that is not `sail improve`."""


def files() -> list[str]:
    """Return `NAME` of each file in configs/ and `GROUP=NAME` of each in a folder there."""
    own = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    return [*own, *(f"{group}={option}" for group in group_names() for option in group_options(group))]


@cache
def composed(file: str) -> DictConfig:
    """Return what a file says, composed, without the groups that a command's own file chooses."""
    group, _, option = file.partition("=")
    if not option:
        config = compose(file)
        return OmegaConf.masked_copy(config, [key for key in config if key not in group_names()])
    if group == "experiment":
        return compose("improve", [file])
    if group == "general":
        return compose("improve", ["planner=adapted_animatediff", f"general@planner.general={option}"]).planner.general
    return compose(TOPS.get(group, "improve"), [file])[group]


def located(target: str) -> Made:
    """Return what a dotted path names."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise LookupError(target)


def defaults(made: Made) -> dict[str, Any]:
    """Return the defaults of what is made; where a `load` passes arguments on, its class's too."""
    if isinstance(made, TrainingSettings):
        return {name: value for name, value in asdict(made).items() if name not in ("seed", "tracker")}
    parameters = inspect.signature(made).parameters
    owner = getattr(made, "__self__", None)
    passes_on = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    found = defaults(owner) if passes_on and owner is not None else {}
    own = {name: each.default for name, each in parameters.items() if each.default is not inspect.Parameter.empty}
    return found | own


def plain(value: Any) -> Any:
    return [plain(each) for each in value] if isinstance(value, (tuple, list)) else value


def different(file: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each key whose value differs from the default of what is made of it, with the two."""
    raw = OmegaConf.to_container(composed(file), resolve=False)

    def look(node: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
        target = node.get("_target_")
        made = (*((located(target),) if target else ()), *FILLED.get(file, {}).get(place, ()))
        for name, value in node.items():
            key = f"{place}.{name}" if place else str(name)
            if isinstance(value, dict):
                yield from look(value, key)
            elif not (isinstance(value, str) and "${" in value):
                asked = [(each, name) for each in made]
                for each, argument in [*asked, *filter(None, [RENAMED.get(file, {}).get(key)])]:
                    default = defaults(each).get(argument, value)
                    if plain(default) != plain(value):
                        yield key, value, default

    yield from look(raw, "")


@pytest.mark.parametrize("file", files())
def test_what_a_file_repeats_of_the_defaults_is_the_same(file: str) -> None:
    found = {key: f"{key} is {value!r} there and {default!r} by default" for key, value, default in different(file)}
    unmeant = [told for key, told in found.items() if key not in CHOICES.get(file, ())]
    assert not unmeant, "; ".join(unmeant)
    assert set(CHOICES.get(file, ())) <= set(found), "no longer another value than the default"


def test_every_key_that_is_filled_by_name_is_looked_at() -> None:
    """A class that is renamed, or a mapping that moves, would otherwise go unseen."""
    for file, places in FILLED.items():
        for place, made in places.items():
            node = OmegaConf.select(composed(file), place) if place else composed(file)
            for each in made:
                assert set(defaults(each)) & set(node), f"nothing in {file} {place} is an argument of {each}"
