"""Name the version of the program that makes something, for whoever wants to make it again."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[3]
"""The folder that holds the program."""


def git_revision(folder: Path) -> str:
    """Return the git revision of a folder, marked `-dirty` when something tracked has changed, or "unknown"."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@cache
def program_revision() -> str:
    """Return the git revision of this program, asked for once a process."""
    return git_revision(PROGRAM)
