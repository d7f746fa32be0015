"""Every YAML file composes, names something that exists, and a run's identity depends on what matters alone."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from robot.cli.compose import compose, config_hash, flat_keys, plain
from robot.cli.keys import CONFIGS, component_keys, group_names, group_options, keys_of

ROOTS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
HOME = {
    "arm": "arm_serve",
    "robot": "improve",
    "planner": "improve",
    "general": "improve",
    "inverse_dynamics": "improve",
    "policy": "improve",
    "judge": "improve",
    "learner": "improve",
    "experiment": "improve",
    "denoiser": "train_planner",
    "text": "train_planner",
    "autoencoder": "train_planner",
}
OPTIONS = [(group, option) for group in group_names() for option in group_options(group)]


def targets(config: Any) -> Iterator[DictConfig]:
    if isinstance(config, DictConfig):
        if "_target_" in config:
            yield config
        for key in config:
            yield from targets(config._get_node(key))


def check_targets(config: DictConfig) -> None:
    """Assert that every `_target_` exists and takes the keyword arguments written beside it."""
    for node in targets(config):
        path = str(node["_target_"]).split(".")
        for split in range(len(path) - 1, 0, -1):
            try:
                thing: Any = importlib.import_module(".".join(path[:split]))
                break
            except ModuleNotFoundError:
                continue
        for part in path[split:]:
            thing = getattr(thing, part)
        names = [str(key) for key in node if key not in ("_target_", "_partial_", "_convert_")]
        if node["_target_"].startswith("sim.pool") or node["_target_"].endswith("metaworld_at_the_end_of_a_wire"):
            names.append("task")
        inspect.signature(thing).bind(**dict.fromkeys(names))


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_composes_and_names_components_that_exist(root: str) -> None:
    check_targets(compose(root))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes(group: str, option: str) -> None:
    inside = ["planner=adapted_animatediff", f"general@planner.general={option}"]  # it is a part of planners
    config = compose(HOME[group], inside if group == "general" else [f"{group}={option}"])
    check_targets(config)


def test_every_yaml_is_covered_above() -> None:
    covered = {CONFIGS / f"{root}.yaml" for root in ROOTS}
    covered |= {CONFIGS / group / f"{option}.yaml" for group, option in OPTIONS}
    assert covered == set(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("root", ROOTS)
def test_the_help_shows_the_keys_that_hydra_knows(root: str) -> None:
    shown = {key.name for key in keys_of(root)[0]}
    groups = {group.name for group in keys_of(root)[1]}
    known = {key for key in flat_keys(compose(root)) if key.partition(".")[0] not in groups}
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)} - {"_target_"}
    assert shown == leaves


@pytest.mark.parametrize(("group", "option"), [each for each in OPTIONS if each[0] != "experiment"])
def test_the_help_shows_the_keys_of_a_component_and_of_those_inside_it(group: str, option: str) -> None:
    inside = ["planner=adapted_animatediff", f"general@planner.general={option}"]
    config = compose(HOME[group], inside if group == "general" else [f"{group}={option}"])
    known = set(flat_keys(config.planner.general if group == "general" else config[group]))
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
    keys = component_keys(group, option)
    assert {key.name for key in keys} == {key for key in leaves if not key.rpartition(".")[2].startswith("_")}
    assert len({key.name for key in keys}) == len(keys)


@pytest.mark.parametrize("root", ROOTS)
def test_every_key_of_a_verb_that_needs_a_word_has_one(root: str) -> None:
    self_evident = {"seed", "camera", "image_size", "cameras", "steps", "batch_size", "learning_rate", "sampling_steps"}
    self_evident |= {"warmup_steps", "weight_decay", "ema_decay", "checkpoint_every", "guidance_scale"}
    self_evident |= {
        "rollouts",
        "task",
        "instruction",
        "play_share",
        "repeats",
        "planner_steps",
        "inverse_dynamics_steps",
    }
    assert [key.name for key in keys_of(root)[0] if not key.comment and key.name not in self_evident] == []


def test_pairs_reach_their_keys() -> None:
    config = compose(
        "improve",
        [
            "task=door-close",
            "instruction=close the door, please",
            "learner.planner.steps=3",
            "robot.cameras=corner2,corner3",
        ],
    )
    assert config.task == "door-close"
    assert config.instruction == "close the door, please"
    assert config.learner.planner.steps == 3
    assert list(config.robot.cameras) == ["corner2", "corner3"]


def test_an_experiment_changes_settings_and_a_pair_changes_the_experiment() -> None:
    assert compose("improve", ["experiment=quick"]).iterations < compose("improve").iterations
    assert compose("improve", ["experiment=quick", "iterations=7"]).iterations == 7


def test_the_same_settings_are_the_same_run_and_others_are_not() -> None:
    base = config_hash(compose("improve"))
    assert config_hash(compose("improve", ["seed=0"])) == base
    assert config_hash(compose("improve", ["runs=elsewhere", "robot.workers=1", "save=x.json"])) == base
    assert config_hash(compose("improve", ["learner.planner.steps=251"])) != base
    assert config_hash(compose("improve", ["planner=tiny"])) != base


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        (["task=drawer-close", "iterations=3", "seed=0"], "9992caa5"),
        (["task=drawer-close", "robot=metaworld_zmq"], "afcebd5f"),
        (["experiment=quick"], "3347eb21"),
        (["task=door-close", "planner=adapted"], "0b95b1b3"),
    ],
)
def test_runs_begun_before_modules_moved_are_found_again(pairs: list[str], name: str) -> None:
    """The names are those of revision 35cf3ac."""
    assert config_hash(compose("improve", pairs)) == name


@pytest.mark.parametrize("option", group_options("inverse_dynamics"))
def test_the_robot_s_rate_reaches_inverse_dynamics(option: str) -> None:
    for repeat, step_s in ((2, 0.025), (4, 0.05)):
        config = plain(compose("improve", [f"inverse_dynamics={option}", f"robot.action_repeat={repeat}"]))
        assert config["inverse_dynamics"]["step_s"] == pytest.approx(step_s)
        assert config["inverse_dynamics"].get("action_repeat", repeat) == repeat


def test_the_oracle_s_simulator_is_like_the_robot_s() -> None:
    words = ["planner=oracle", "robot.action_repeat=4", "robot.image_size=64"]
    planner = plain(compose("evaluate", words))["planner"]
    assert (planner["action_repeat"], planner["image_size"]) == (4, 64)
    assert plain(compose("bench_planner", ["planner=oracle"]))["planner"]["action_repeat"] == 2


def test_what_ships_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(plain(compose("improve"))["planner"]["planner"])
    assert folder == CONFIGS.parent / "starter" / "planner"


def test_the_resolved_configuration_is_plain_yaml() -> None:
    config = compose("improve")
    assert "${" not in OmegaConf.to_yaml(OmegaConf.create(plain(config)))
