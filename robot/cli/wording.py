"""What a task is called and what it asks for: one of the fifty by its name, or on an arm any words."""

from __future__ import annotations

import re

from omegaconf import DictConfig

from robot.errors import SailError
from sim.tasks import INSTRUCTIONS, check_task

ARM = "hardware.remote_arm.remote_arm"
LONGEST_NAME = 100
"""Characters of a task's name, at most: files and folders are called after it."""


def is_arm(config: DictConfig) -> bool:
    """Return whether a configuration's robot is an arm of this world, which knows no list of tasks."""
    robot = config.get("robot")
    return isinstance(robot, DictConfig) and str(robot.get("_target_", "")) == ARM


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
    """Return what a run's task is called and what it asks for: one of the fifty, or on an arm any words.

    Raises SailError for an unknown task or an instruction of blanks.
    """
    said = str(config.get("instruction", ""))
    if said and not said.strip():
        raise SailError("The instruction is empty: say in words what the robot should do, or leave the key out.")
    if is_arm(config):
        return told(str(config.task), said)
    check_task(config.task)
    return str(config.task), said.strip() or INSTRUCTIONS[config.task]
