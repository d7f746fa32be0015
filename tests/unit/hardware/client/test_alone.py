"""An arm's client loads without what its server, a simulator or a planner needs."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import hardware.client
import hardware.teleoperation
import hardware.wire

NOT_A_CLIENTS = ("ruckig", "torch", "mujoco", "cv2", "metaworld", "hydra", "pyarrow", "matplotlib", "hardware.server")
MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (hardware.client, hardware.wire, hardware.teleoperation)
    for module in pkgutil.iter_modules(package.__path__)
]


def imported_without(missing: tuple[str, ...], modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Import modules, in a process of their own, where others cannot be imported."""
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in missing)
    wanted = "".join(f"import {name}\n" for name in modules)
    return subprocess.run([sys.executable, "-c", f"import sys\n{blocked}{wanted}"], capture_output=True, text=True)


def test_every_module_of_the_client_loads_without_what_is_not_its_own() -> None:
    assert {"hardware.client.remote", "hardware.client.client", "hardware.wire.messages"} <= set(MODULES)
    done = imported_without(NOT_A_CLIENTS, MODULES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "says"),
    [("hardware.server.server", "None in sys.modules"), ("hardware.arms.kinematics", "sail-stack[kinematics]")],
)
def test_what_needs_them_does_not(module: str, says: str) -> None:
    done = imported_without(NOT_A_CLIENTS[:-1], [module])
    assert done.returncode != 0 and says in done.stderr
