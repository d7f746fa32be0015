"""Read the keys, defaults and comments of the YAML files for help and suggestions, without importing Hydra.

The files keep to a plain form: `key: value  # what it is`, mappings indented by two spaces, and one `defaults` list.
A comment may go on in the next line, under itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w-]*):(?: +(?P<value>[^#]*?))?(?:\s*#\s*(?P<comment>.*))?$")
_MORE = re.compile(r"^ {8,}# *(?P<comment>.+)$")
_DEFAULT = re.compile(r"^\s*-\s+(?:override\s+)?/?(?P<group>[\w-]+)(?:@[\w.]*)?:\s*(?P<option>[\w-]+)")


@dataclass(frozen=True, slots=True)
class Key:
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
            if match["value"] and match["key"] != "_target_":
                name = ".".join(key for _, key in path)
                keys.append(Key(name, match["value"].strip(), match["comment"] or ""))
        elif keys and keys[-1].comment and (more := _MORE.match(line)):
            keys[-1] = replace(keys[-1], comment=f"{keys[-1].comment} {more['comment']}")
    return tuple(keys), tuple(groups)


@cache
def group_names() -> tuple[str, ...]:
    """Return the names of the component groups: the folders of `configs/`."""
    return tuple(sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and any(path.glob("*.yaml"))))


@cache
def group_options(group: str) -> tuple[str, ...]:
    """Return the options of a component group: the names of the YAML files in its folder."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("*.yaml")))
