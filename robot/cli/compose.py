"""Compose a configuration with Hydra from YAML and key=value pairs; every mistake becomes one sentence."""

from __future__ import annotations

import hashlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robot.cli.extras import missing_package
from robot.cli.keys import CONFIGS, group_names, group_options
from robot.core.errors import SailError, UnknownNameError
from sim.tasks import PHYSICS_HZ

PROJECT = CONFIGS.parent
"""The folder that holds the project."""
NOT_IN_HASH = ("runs", "data", "save", "tensorboard", "iterations", "robot.workers", "robot.known")
"""Keys that do not change what a run does, or, as `iterations`, how far it goes and nothing before."""
NOT_IN_HASH_EMPTY = ("demonstrations_from",)
"""Keys that change nothing where they are empty."""
NOT_IN_HASH_USUAL = {"policy": "imagine"}
"""Groups that change nothing where the option is this one, as it comes: it is what there was before the group."""
NOT_IN_HASH_BEFORE = {"learner.planner.quickest": 1.0, "learner.planner.reversed_share": 0.0}
"""Keys that change nothing where they have this value: what was done before there was such a key."""
NAMED_IN_HASH = {
    "robot.core.data.": "robot.data.",
    "hardware.client.remote_arm.": "hardware.remote_arm.",
}
"""Modules that have moved, and what a run's name still knows them as: a run begun before goes on."""

if not OmegaConf.has_resolver("project"):
    # `${project:starter/planner}` finds what ships with the project from whatever folder `sail` is called in.
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path))
if not OmegaConf.has_resolver("servo_hz"):
    # `${servo_hz:}` is how often an arm is commanded; one that is only read, as a leader is, has no governor to say it.
    OmegaConf.register_new_resolver(
        "servo_hz", lambda *, _root_: OmegaConf.select(_root_, "safety.servo_hz", default=100.0)
    )
if not OmegaConf.has_resolver("step_s"):
    # `${step_s:2,null}` is how long a robot step of two physics actions takes, `${step_s:1,20}` one at 20 Hz.
    OmegaConf.register_new_resolver(
        "step_s",
        lambda action_repeat, rate_hz=None: 1 / float(rate_hz) if rate_hz else int(action_repeat) / PHYSICS_HZ,
    )


def compose(config: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the configuration `configs/<config>.yaml` with the key=value pairs applied.

    Raises SailError, with the nearest known name, for an unknown key, group or option and for a value that
    cannot be read.
    """
    base = _compose(config, [pair for pair in overrides if _is_group(pair)])
    pairs = [pair if _is_group(pair) else _normalised(pair, base) for pair in overrides]
    known = [*flat_keys(base), *group_names()]
    for pair in pairs:
        key = pair.partition("=")[0]
        if not _is_group(pair) and not key.startswith(("+", "~")) and key not in known:
            raise UnknownNameError("key", key, known)
    composed = _compose(config, pairs)
    for pair in pairs:
        _check_kind(base, composed, pair.partition("=")[0])
    missing = sorted(str(key) for key in OmegaConf.missing_keys(composed))
    if missing:
        raise SailError(f"{missing[0]} has no value: give it as {missing[0]}=… .")
    return composed


def flat_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a configuration, mappings themselves included."""
    for key in map(str, config):
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, key):
            value = config[key]
            if isinstance(value, DictConfig):
                yield from flat_keys(value, f"{name}.")


def build(config: DictConfig, **extra: Any) -> Any:
    """Make the component that a part of the configuration names by `_target_`; `extra` are further arguments.

    An expected error of the component (SailError, ValueError) comes out as itself, not wrapped by Hydra.
    """
    try:
        return instantiate(config, **extra, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):
            raise SailError(str(cause)) from cause
        if isinstance(cause, SailError | OSError):
            raise cause from None
        if (problem := _misconfigured(error, cause)) is not None:
            raise SailError(problem) from error
        raise


def _misconfigured(error: InstantiationException, cause: BaseException | None) -> str | None:
    """Return in a sentence what is wrong with a `_target_` or its arguments; None where the component itself failed."""
    told = " ".join(str(error).split())
    named = re.search(r"target '([^']+)'", told)
    target = named.group(1) if named else "what the configuration names"
    if (sentence := missing_package(cause, target)) is not None:
        return sentence
    if "Error locating target" in told:
        why = cause.__cause__ if cause is not None and cause.__cause__ is not None else cause
        if isinstance(why, SailError):
            return str(why)
        return f"There is no {target} to be made ({why}): is its package installed, and its name right?"
    if "Expected a callable target" in told:
        return "What a `_target_` names makes nothing: it must be a class, or a function that makes a component."
    if isinstance(cause, TypeError) and ("unexpected keyword argument" in str(cause) or "missing" in str(cause)):
        return f"{target} is not made with these keys: {cause}."
    return None


def named(config: Any) -> object:
    """Return the class or function that a part of the configuration names by `_target_`, the class of a class's method.

    None where it names nothing. It is imported for that. Raises SailError where it cannot be.
    """
    target = str(config.get("_target_", "")) if isinstance(config, DictConfig) else ""
    if not target:
        return None
    try:
        found = pkgutil.resolve_name(target)
    except Exception as problem:
        if (sentence := missing_package(problem, target)) is not None:
            raise SailError(sentence) from None
        raise SailError(
            f"There is no {target} to be made ({problem}): is its package installed, and its name right?"
        ) from problem
    return found.__self__ if inspect.ismethod(found) else found


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain dictionaries and lists, interpolations resolved."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def to_yaml(config: DictConfig) -> str:
    """Return a configuration as YAML text, interpolations resolved."""
    return OmegaConf.to_yaml(config, resolve=True)


def config_hash(config: DictConfig) -> str:
    """Return eight hexadecimal digits that name what a run is, the same in every clone of the project.

    Interpolations are hashed as written, so that the place of the project does not matter, and the keys in
    `NOT_IN_HASH` are left out, as are those in `NOT_IN_HASH_EMPTY`, `NOT_IN_HASH_USUAL` and `NOT_IN_HASH_BEFORE` where
    they change nothing.
    """
    container = OmegaConf.to_container(config, resolve=False)
    unchanged = [key for key, value in NOT_IN_HASH_BEFORE.items() if OmegaConf.select(config, key) == value]
    for key in (*NOT_IN_HASH, *unchanged):
        part: Any = container
        *path, last = key.split(".")
        for name in path:
            part = part.get(name, {})
        part.pop(last, None)
    for key in NOT_IN_HASH_EMPTY:
        if isinstance(container, dict) and not container.get(key):
            container.pop(key, None)
    for group, usual in NOT_IN_HASH_USUAL.items():
        as_it_comes = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{usual}.yaml"), resolve=False)
        if isinstance(container, dict) and container.get(group) == as_it_comes:
            del container[group]
    text = json.dumps(container, sort_keys=True, separators=(",", ":"))
    for now, before in NAMED_IN_HASH.items():
        text = text.replace(f'"_target_":"{now}', f'"_target_":"{before}')
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _check_kind(base: DictConfig, composed: DictConfig, key: str) -> None:
    """Raise SailError when a value is of another kind than its default."""
    default, value = OmegaConf.select(base, key), OmegaConf.select(composed, key)
    kinds: tuple[tuple[type, tuple[type, ...], str], ...] = (
        (bool, (bool,), "true or false"),
        (int, (int,), "a whole number"),
        (float, (int, float), "a number"),
    )
    for kind, allowed, words in kinds:
        if isinstance(default, kind):
            if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
                raise SailError(f"{key} must be {words}, got {value!r}.")
            return


def _compose(config: str, overrides: list[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):
            return hydra_compose(config_name=config, overrides=overrides)
    except OverrideParseException as error:
        raise SailError(f"{error.override!r} cannot be read: write KEY=VALUE, and a list as KEY=[a,b].") from error
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).partition("/")
        raise UnknownNameError(group.replace("_", " "), option, group_options(group)) from error
    except (HydraException, OmegaConfBaseException) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SailError(f"The settings cannot be read: {first.strip()}") from error


def _group(pair: str) -> str:
    """Return the group that a pair chooses from: `planner` of `planner=NAME` and of `planner@planner.planner=NAME`."""
    return pair.partition("=")[0].partition("@")[0]


def _is_group(pair: str) -> bool:
    return _group(pair) in group_names() and not pair.startswith(("+", "~")) and "=" in pair


def _normalised(pair: str, base: DictConfig) -> str:
    """Return a key=value pair in Hydra's grammar: `a,b` is a list where the default is one, else text."""
    key, _, value = pair.partition("=")
    if pair.startswith("~") or re.fullmatch(r"[\[{\"'].*", value):
        return pair
    if isinstance(OmegaConf.select(base, key), ListConfig):
        return f"{key}=[{','.join(_quoted(part.strip()) for part in value.split(',') if part.strip())}]"
    return f"{key}={_quoted(value)}"


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./+-]*", value) and value:
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
