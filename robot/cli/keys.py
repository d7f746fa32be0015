"""Read the keys, defaults and comments of the YAML files for help and suggestions, without importing Hydra.

The files keep to a plain form: `key: value  # what it is`, mappings indented by two spaces, and one `defaults` list.
A comment may go on in the next line, under itself.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w-]*):(?: +(?P<value>[^#]*?))?(?:\s*#\s*(?P<comment>.*))?$")
_MORE = re.compile(r"^ {8,}# *(?P<comment>.+)$")
_PART = re.compile(
    r"^\s*-\s+(?:override\s+)?(?:/(?P<group>[\w-]+)@(?P<package>\w+):\s*)?(?P<option>(?!_self_)[\w-]+)\s*$"
)
_DEFAULT = re.compile(r"^\s*-\s+(?:override\s+)?/?(?P<group>[\w-]+)(?:@[\w.]*)?:\s*(?P<option>[\w-]+)")


class Key(NamedTuple):
    """Hold one key of a configuration: its dotted name, its default as written and the comment beside it."""

    name: str
    default: str
    comment: str = ""


@cache
def keys_of(config: str) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Return the keys of `configs/<config>.yaml` and the groups in its defaults list, both in file order."""
    keys: list[Key] = []
    groups: list[Key] = []
    path: list[tuple[int, str]] = []
    for line in (CONFIGS / f"{config}.yaml").read_text(encoding="utf-8").splitlines():
        if match := _DEFAULT.match(line):
            groups.append(Key(match["group"], match["option"]))
        elif (match := _LINE.match(line)) and match["key"] not in ("defaults", "hydra"):
            indent = len(match["indent"])
            path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match["key"])]
            if match["value"] and not match["key"].startswith("_"):
                name = ".".join(key for _, key in path)
                keys.append(Key(name, match["value"].strip(), match["comment"] or ""))
        elif keys and keys[-1].comment and (more := _MORE.match(line)):
            keys[-1] = keys[-1]._replace(comment=f"{keys[-1].comment} {more['comment']}")
    return tuple(keys), tuple(groups)


@cache
def component_keys(group: str, option: str) -> tuple[Key, ...]:
    """Return all keys of a component: its own, of those it builds on, and, prefixed, of the components inside it."""
    own, parts = _own_keys(group, option)
    inside = {
        f"{package}.{key.name}": key._replace(name=f"{package}.{key.name}")
        for package, (kind, name) in parts.items()
        for key in component_keys(kind, name)
    }
    changed = {name: _over(key, inside[name]) for name, key in own.items() if name in inside}
    kept = [key for name, key in own.items() if name not in inside and name not in parts]
    return (*kept, *(inside | changed).values())


def _own_keys(group: str, option: str) -> tuple[dict[str, Key], dict[str, tuple[str, str]]]:
    """Return the keys of a component and of those it builds on, and what components are inside it, by their places."""
    keys: dict[str, Key] = {}
    parts: dict[str, tuple[str, str]] = {}
    for line in (CONFIGS / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines():
        if match := _PART.match(line):
            if match["package"]:
                parts[match["package"]] = (match["group"], match["option"])
            else:
                base, inside = _own_keys(group, match["option"])
                keys |= base
                parts |= inside
        elif (match := _LINE.match(line)) and not match["value"] and not match["indent"]:
            keys.pop(match["key"], None)  # what another left empty is a mapping here
    for key in keys_of(f"{group}/{option}")[0]:
        keys[key.name] = _over(key, keys.get(key.name, key))
    return keys, parts


def _over(key: Key, base: Key) -> Key:
    """Return a key that changes another's default; without a comment of its own it keeps that one's."""
    return key._replace(comment=key.comment or base.comment)


@cache
def group_names() -> tuple[str, ...]:
    """Return the names of the component groups: the folders of `configs/`."""
    return tuple(sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and any(path.glob("*.yaml"))))


@cache
def group_options(group: str) -> tuple[str, ...]:
    """Return the options of a component group: the names of the YAML files in its folder."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("*.yaml")))
