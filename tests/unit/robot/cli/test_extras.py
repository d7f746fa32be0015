"""On a machine without torch, a simulator or pyarrow, what works does, and what does not names the extra it needs."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from robot.cli.extras import EXTRAS, missing_package
from robot.core.errors import SailError

ROOT = Path(__file__).resolve().parents[4]


def sail_alone(*words: str, installed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `sail` in a process in which none of the packages of extras but the one `installed` can be imported."""
    missing = [name for name, extra in EXTRAS.items() if extra != installed]
    code = f"import sys\nfor name in {missing!r}: sys.modules[name] = None\n"
    code += "from robot.cli.main import main\nif __name__ == '__main__': sys.exit(main(sys.argv[1:]))\n"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("improve", "task=drawer-close"), "all"),
        (("deploy", "task=drawer-close"), "all"),
        (("train", "planner"), "all"),
        (("arm", "serve", "arm=kinematic"), "arm"),
        (("arm", "serve", "arm=metaworld"), "sim"),
        (("arm", "teleoperate", "task=x", "robot=franka"), "kinematics"),
        (("episodes", "export", "format=lerobot", "out=nowhere"), "parquet"),
    ],
)
def test_what_needs_more_says_so_in_one_sentence(words: tuple[str, ...], extra: str) -> None:
    done = sail_alone(*words, installed="" if extra == "arm" else "arm")
    assert done.returncode == 2 and f'pip install "sail-stack[{extra}]"' in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("arm", "status", "address=tcp://127.0.0.1:9", "timeout_s=0.2"), "does not answer"),
        (("arm", "teleoperate", "task=x", "robot.address=tcp://127.0.0.1:9"), "does not answer"),
        (("episodes", "list", "store=nowhere"), "no store in nowhere"),
        (("episodes", "replay", "x", "mode=robot", "robot=arm", "store=nowhere"), "no store in nowhere"),
    ],
)
def test_what_a_client_does_gets_as_far_as_its_arm(words: tuple[str, ...], says: str) -> None:
    done = sail_alone(*words)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_a_doctor_is_content_with_a_machine_at_an_arm() -> None:
    done = sail_alone("doctor")
    assert done.returncode == 0 and '"sail-stack[all]"' in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_an_arm_is_measured_without_torch() -> None:
    done = sail_alone("bench", "arm", "commands=5", "stops=1", "seconds=0.5", "plans=1", "--json", installed="arm")
    assert done.returncode == 0 and json.loads(done.stdout)["meta"]["machine"]["torch"] == "", done.stderr


def test_every_extra_that_is_named_is_one() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(known)


def test_an_error_that_has_its_own_words_keeps_them_and_others_are_no_business_of_this() -> None:
    outer = ValueError("it does not work")
    outer.__cause__ = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert missing_package(outer, "It") == 'It needs torch, which is not installed here: pip install "sail-stack[all]"'
    assert missing_package(SailError("Buy an arm."), "It") == "Buy an arm."
    assert missing_package(ModuleNotFoundError("No module named 'mine'", name="mine"), "It") is None
    assert missing_package(None, "It") is None
