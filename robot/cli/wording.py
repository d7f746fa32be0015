"""What a task is called and what it asks for: one of the fifty by its name, or any words where a robot takes them."""

from __future__ import annotations

import pkgutil
import re

from omegaconf import DictConfig

from robot.errors import SailError
from robot.protocols import TakesAnyWords
from sim.tasks import INSTRUCTIONS, check_task

LONGEST_NAME = 100
"""Characters of a task's name, at most: files and folders are called after it."""


def takes_any_words(config: DictConfig) -> bool:
    """Return whether a configuration's robot knows no list of tasks: what makes it says so (see `TakesAnyWords`).

    What the configuration names is imported for that. Raises SailError where it cannot be.
    """
    robot = config.get("robot")
    target = str(robot.get("_target_", "")) if isinstance(robot, DictConfig) else ""
    if not target:
        return False
    try:
        named = pkgutil.resolve_name(target)
    except Exception as problem:
        raise SailError(
            f"There is no {target} to be made ({problem}): is its package installed, and its name right?"
        ) from problem
    return isinstance(named, TakesAnyWords) and named.takes_any_words is True


def told(task: str, instruction: str) -> tuple[str, str]:
    """Return what a task is called and what it asks for, from `task`, in words or by its name, and `instruction`.

    Raises SailError where neither is said.
    """
    task, words = " ".join(task.split()), instruction.strip()
    if not task and not words:
        raise SailError('Say what to do: task="close the drawer", or the name of a MetaWorld task.')
    names = {instruction: name for name, instruction in INSTRUCTIONS.items()}
    if task in INSTRUCTIONS:
        return task, words or INSTRUCTIONS[task]
    spoken = words or task
    return names.get(task or spoken, "") or name_of(task or spoken), spoken


def name_of(words: str) -> str:
    """Return what a task in these words is called: small letters, digits and dashes, fit to begin a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower())[:LONGEST_NAME].strip("-") or "task"


def task_of(config: DictConfig) -> tuple[str, str]:
    """Return what a run's task is called and what it asks for: one of the fifty, or any words if the robot takes them.

    Raises SailError for an unknown task or an instruction of blanks.
    """
    said = str(config.get("instruction", ""))
    if said and not said.strip():
        raise SailError("The instruction is empty: say in words what the robot should do, or leave the key out.")
    if str(config.task) not in INSTRUCTIONS and takes_any_words(config):
        return told(str(config.task), said)
    check_task(config.task)
    return str(config.task), said.strip() or INSTRUCTIONS[config.task]
