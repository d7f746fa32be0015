"""Doubles of makers' packages have the very interface that was recorded, and the record is that of the package."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles.record_signatures import USED, recorded, signature_of

FOLDER = Path(__file__).parents[2] / "doubles" / "signatures"
DOUBLES = {"xarm.wrapper": "xarm_wrapper"}
CLASS_OF = {"scservo_sdk": "protocol_packet_handler", "dynamixel_sdk": "Protocol2PacketHandler"}


def double_of(module: str) -> ModuleType:
    return importlib.import_module(f"tests.doubles.{DOUBLES.get(module, module)}")


def record_of(module: str) -> dict[str, dict]:
    return json.loads((FOLDER / f"{module}.json").read_text(encoding="utf-8"))["names"]


def found(double: ModuleType, name: str) -> object:
    owner, _, member = name.rpartition(".")
    if not owner:
        return getattr(double, member)
    return inspect.getattr_static(getattr(double, owner), member)


@pytest.mark.parametrize("module", USED)
def test_every_used_name_is_recorded(module: str) -> None:
    assert set(record_of(module)) == set(USED[module][1])


@pytest.mark.parametrize("module", USED)
def test_a_double_has_what_was_recorded_and_nothing_else(module: str) -> None:
    double, record = double_of(module), record_of(module)
    for name, entry in record.items():
        value = found(double, name)
        match entry["kind"]:
            case "class":
                assert inspect.isclass(value), name
            case "property":
                assert isinstance(value, property) or not callable(value), name
            case "function":
                mine = signature_of(value)
                assert any(one in entry["signatures"] for one in mine) or _accepts_all(mine[0], entry["signatures"]), (
                    f"{module}.{name} takes {entry['signatures']}, its double {mine}"
                )
            case "value":
                assert entry["value"] is None or value == entry["value"], name
    public = {name for name, value in vars(double).items() if not name.startswith("_") and _is_own(value, double)}
    members = {
        f"{owner}.{name}"
        for owner in public
        if inspect.isclass(getattr(double, owner))
        for name in vars(getattr(double, owner))
        if not name.startswith("_")
    }
    assert public | members <= set(record), f"the double of {module} offers what its package was not seen to offer"


def _is_own(value: object, double: ModuleType) -> bool:
    return not isinstance(value, ModuleType) and getattr(value, "__module__", double.__name__).startswith(
        "tests.doubles"
    )


def _accepts_all(mine: list[str], overloads: list[list[str]]) -> bool:
    """Return whether one signature with optional parameters stands for several overloads, each with its names."""
    names = {word.rstrip("=") for word in mine}
    return len(overloads) > 1 and {word for one in overloads for word in one} >= names


@pytest.mark.parametrize("module", USED)
def test_the_record_is_that_of_the_installed_package(module: str) -> None:
    distribution, names = USED[module]
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed")
    real = importlib.import_module(module)
    assert recorded(real, names) == record_of(module), (
        f"{distribution} {version} differs: record it anew with tests/doubles/record_signatures.py and mend the double"
    )


def test_a_drifted_double_is_noticed() -> None:
    """The comparison itself can fail: a parameter with another name, and one more that is required."""
    record = [["self", "q", "dq="]]

    def renamed(self, position, dq=None): ...

    def demanding(self, q, dq): ...

    def right(self, q, dq=None): ...

    assert signature_of(right)[0] in record
    assert signature_of(renamed)[0] not in record
    assert signature_of(demanding)[0] not in record
