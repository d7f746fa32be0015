"""Make a folder appear whole or not at all, and keep two writers and a repair out of each other's way.

An episode in the making is a hidden folder that its writer holds a lock on. The system lets go of the lock when the
process dies, however it dies, so a hidden folder without a lock is one that was left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from robot.core.files import synchronise

OPEN_PREFIX = ".open-"
SET_ASIDE = ".set-aside"
LOCK = ".lock"
TOKEN_BYTES = 4


class OpenFolder:
    """Make a hidden folder beside the others and hold it until it is sealed or let go."""

    def __init__(self, store: Path, name: str) -> None:
        self.path = store / f"{OPEN_PREFIX}{name}-{secrets.token_hex(TOKEN_BYTES)}"
        store.mkdir(parents=True, exist_ok=True)
        # It gets its name once it is held: a repair that met it before would take it for one that was left behind.
        made = store / f".{self.path.name}"
        made.mkdir()
        self._lock: int | None = os.open(made / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        made.rename(self.path)

    @property
    def held(self) -> bool:
        """Return whether it is neither sealed nor let go yet."""
        return self._lock is not None

    def seal(self, target: Path) -> bool:
        """Give the folder its name, all its content on the disk; return False where the name is taken already."""
        sealed = seal(self.path, target)
        if sealed:
            (target / LOCK).unlink(missing_ok=True)
            self.release()
        return sealed

    def release(self) -> None:
        """Let go of the folder as it is; doing so twice is allowed."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def left_open(store: Path, name: str) -> list[Path]:
    """Return the hidden folders that were to become episode `name` and that no living process writes any more."""
    start = f"{OPEN_PREFIX}{name}-"
    try:
        found = [entry.path for entry in os.scandir(store) if entry.name.startswith(start)]
    except FileNotFoundError:
        return []
    token = 2 * TOKEN_BYTES
    return [path for path in map(Path, sorted(found)) if len(path.name) == len(start) + token and not is_held(path)]


def is_held(folder: Path) -> bool:
    """Return whether a living process is still writing an open folder."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def seal(folder: Path, target: Path) -> bool:
    """Rename `folder` to `target` once all of it is on the disk; return False where `target` is taken already."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            synchronise(path)
    synchronise(folder)
    if target.exists():
        return False
    try:
        folder.rename(target)
    except OSError:
        if target.exists():  # another writer was faster: a folder with content is never replaced
            return False
        raise
    synchronise(target.parent)
    return True


def set_aside(path: Path, store: Path) -> Path:
    """Move a file or folder of a store out of the way, to where nothing is deleted, and return its new place."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    name = path.name.removeprefix(OPEN_PREFIX).lstrip(".")
    target = store / SET_ASIDE / f"{name}-{stamp}-{secrets.token_hex(2)}"
    target.parent.mkdir(exist_ok=True)
    path.rename(target)
    with contextlib.suppress(OSError):
        synchronise(target.parent)
    return target
