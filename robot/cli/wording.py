"""What a task is called and what it asks for: one of the fifty, one of a store, or any words if a robot takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from robot.cli.compose import named
from robot.core.errors import SailError, UnknownNameError
from robot.core.protocols import TakesAnyWords
from robot.episodes.catalogue import Catalogue, Entry
from sim.tasks import INSTRUCTIONS, check_task

ALL = "all"
LONGEST_NAME = 100
"""Characters of a task's name, at most: files and folders are called after it."""


def takes_any_words(config: DictConfig) -> bool:
    """Return whether a configuration's robot knows no list of tasks: what makes it says so (see `TakesAnyWords`).

    What the configuration names is imported for that. Raises SailError where it cannot be.
    """
    robot = named(config.get("robot"))
    return isinstance(robot, TakesAnyWords) and robot.takes_any_words is True


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


def listed(names: Sequence[str], most: int = 6) -> str:
    """Return names with commas between, of more than `most` the first and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def known_tasks(store: str | Path) -> list[str]:
    """Return the tasks of a store, sorted."""
    return task_names(Catalogue(store).entries())


def task_names(entries: Sequence[Entry]) -> list[str]:
    """Return the tasks of episodes whose description can be read, each once and sorted."""
    return sorted({entry.task for entry in entries if not entry.problem})


def tasks_named(selection: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks of a store that a selection names: all for `all` and nothing, else names with commas between.

    A name may hold commas itself, as one made of an instruction does. Raises UnknownNameError for an unknown one.
    """
    if selection not in known and selection in ("", ALL):
        return tuple(known)
    parts, found = selection.split(","), list[str]()
    while parts:
        taken = next((n for n in range(len(parts), 0, -1) if ",".join(parts[:n]).strip() in known), 0)
        if not taken and parts[0].strip():
            raise UnknownNameError("task", parts[0].strip(), list(known))
        if taken:
            found.append(",".join(parts[:taken]).strip())
        parts = parts[max(taken, 1) :]
    return tuple(dict.fromkeys(found))


def instruction_in(folder: Path, task: str) -> str:
    """Return what a task of a store asks for; raise SailError where its episodes do not say, or say several things."""
    entries = [entry for entry in Catalogue(folder).entries() if entry.task == task and not entry.problem]
    said = list(dict.fromkeys(entry.instruction for entry in entries if entry.instruction.strip()))
    if len(said) == 1:
        return said[0]
    what = f"say {len(said)} things, such as {said[0]!r} and {said[1]!r}" if said else "say nothing"
    raise SailError(f"What {task!r} asks for is not clear, for its episodes {what}: say it with instruction='…'.")
