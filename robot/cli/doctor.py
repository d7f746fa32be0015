"""`sail doctor`: check that this machine can render, train and show, and say what to do where it cannot."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import psutil

from robot.cli.keys import CONFIGS
from robot.cli.screen import Styled, print_json, screen
from robot.cli.verbs import Arguments
from sim.rendering import BACKENDS, INSTALL_HINT, backend_works

PROJECT = CONFIGS.parent
NEEDED_DISK_GIB = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold what one check found: whether it is well, whether `sail` needs it to be, and what to do if it is not."""

    name: str
    well: bool
    says: str
    needed: bool = True


def run(arguments: Arguments) -> int:
    """Carry out every check, print what was found, and return 0 when all that is needed is there, else 2."""
    console = screen(arguments.as_json)
    findings = []
    for check in CHECKS:
        finding = check()
        findings.append(finding)
        unwell = Styled("✗", "red") if finding.needed else Styled("!", "yellow")
        console.print(Styled("✓", "green") if finding.well else unwell, f"{finding.name:<11} {finding.says}")
    well = all(finding.well for finding in findings if finding.needed)
    if arguments.as_json:
        print_json({"well": well, "findings": [asdict(finding) for finding in findings]})
    elif well:
        console.print("All that is needed is here.")
    return 0 if well else 2


def check_python() -> Finding:
    """Say which Python this is."""
    return Finding("python", True, f"{platform.python_version()} in {sys.prefix}")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _not_installed(name: str, package: str, what: str, extra: str) -> Finding:
    """Say that a machine does without a part, as one at an arm does, and which extra brings it."""
    says = f'{package} is not installed, so {what} here; pip install "sail-stack[{extra}]" brings it'
    return Finding(name, False, says, needed=False)


def check_torch() -> Finding:
    """Say which torch there is and what it computes on."""
    if not _is_installed("torch"):
        return _not_installed("torch", "torch", "nothing is planned or trained", "all")
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return Finding("torch", False, f"cannot be imported ({error}): pip install torch")
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores, no GPU"
    return Finding("torch", True, f"{torch.__version__} on {device}")


def check_rendering() -> Finding:
    """Say which off-screen rendering backends work."""
    if not _is_installed("mujoco"):
        return _not_installed("rendering", "MuJoCo", "nothing is simulated", "sim")
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    working = [name for name in dict.fromkeys((wanted, *BACKENDS)) if name and backend_works(name)]
    if not working:
        return Finding("rendering", False, INSTALL_HINT)
    return Finding("rendering", True, f"MuJoCo draws with {' and '.join(working)}; {working[0]} is used")


def check_cameras() -> Finding:
    """Say whether OpenCV can be imported; only cameras at a physical robot need it."""
    if not _is_installed("cv2"):
        return _not_installed("cameras", "OpenCV", "there are no USB cameras", "opencv")
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        hint = "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
        return Finding("cameras", False, f"OpenCV cannot be imported ({error}): {hint}", needed=False)
    return Finding("cameras", True, f"OpenCV {cv2.__version__}")


def check_starter() -> Finding:
    """Say whether the starter weights are there."""
    parts = ("autoencoder", "planner", "inverse_dynamics")
    missing = [part for part in parts if not (PROJECT / "starter" / part / "model.safetensors").exists()]
    if missing:
        names = ", ".join(missing)
        hint = f"no weights for {names} in {PROJECT / 'starter'}: `make starter` trains them"
        return Finding("starter", False, hint, needed=False)
    size = sum((PROJECT / "starter" / part / "model.safetensors").stat().st_size for part in parts)
    return Finding("starter", True, f"weights of all three models, {size / 2**20:.0f} MiB")


def check_room() -> Finding:
    """Say how much disk is free here and how much memory the machine has."""
    free = shutil.disk_usage(".").free / 2**30
    says = f"{free:.0f} GiB of disk free, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory"
    if free < NEEDED_DISK_GIB:
        return Finding("room", False, f"{says}: a run wants {NEEDED_DISK_GIB:.0f} GiB of disk", needed=False)
    return Finding("room", True, says)


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_torch,
    check_rendering,
    check_cameras,
    check_starter,
    check_room,
)
