"""Write files that no kill and no full disk leaves half of, and hold a folder that one process alone works in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from robot.core.errors import HeldError, SailError
from robot.core.text import visible

HELD = ".held"
"""Name of the file in a folder that its holder has a lock on."""
LONGEST_COMMAND = 200
WAITING_S = 0.2
"""Seconds between two looks at a folder that somebody else holds."""
_BLOCK = 4096


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8, so that a reader, or a kill, sees the old one or the new one and nothing between.

    It is on the disk when this returns; the folder is made where it is missing. Raises SailError where it cannot be
    written, such as on a full disk; the old file is then still there.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(2)}")
    with told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
    with contextlib.suppress(OSError):  # the new file is in its place; all that is in doubt is when the disk knows
        synchronise(path.parent)


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines in one piece, and return when they are on the disk; several processes may do so at once.

    A lock on the file keeps the others out meanwhile. A last line without its end was torn by a kill, and nobody was
    ever told that it is stored: it is cut off first. Raises SailError, such as for a full disk, with the file left as
    long as it was.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _whole_length(file)
            os.ftruncate(file, end)
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(file, data[written:], end + written)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)
                raise
        finally:
            os.close(file)  # which gives the lock back
        if is_new:
            synchronise(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that were written to their end, without it; none when there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return content.split(b"\n")[:-1]


def synchronise(path: Path) -> None:
    """Return once a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is written into one sentence, a SailError."""
    try:
        yield
    except OSError as problem:
        raise SailError(
            f"{path} could not be written ({problem.strerror or problem}); what was there before is kept: free some "
            "space or name another folder, and give the command again."
        ) from problem


@dataclass(frozen=True, slots=True)
class Holder:
    """Say which process holds a folder, on which machine, since when (UTC, ISO 8601) and by which command."""

    pid: int
    host: str
    since: str
    command: str

    @classmethod
    def own(cls) -> Holder:
        """Return what this process says of itself."""
        command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return cls(os.getpid(), socket.gethostname(), since, command)

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """Return the holder that a file names, None where it names none (yet)."""
        try:
            row = json.loads(path.read_bytes())
            return cls(int(row["pid"]), str(row["host"]), str(row["since"]), str(row["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return visible(f"process {self.pid}{where}, since {self.since}: {self.command}", LONGEST_COMMAND)


class FolderLock:
    """Hold a folder while a command writes into it: `with FolderLock(folder): …`. It is made where it is missing.

    The system gives a lock back when its process ends, however it ends, so there is nothing to clear away after a
    kill. `advice`: what somebody may do who comes second. `waiting`: called with a sentence, once, where the folder is
    held, which is then waited for; without it HeldError is raised. `beside`: keep the lock next to the folder and not
    in it, for a folder that does not exist yet and must not.
    """

    def __init__(
        self,
        folder: str | Path,
        advice: str = "name another folder",
        waiting: Callable[[str], object] | None = None,
        beside: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._path = self.folder.with_name(f".{self.folder.name}{HELD}") if beside else self.folder / HELD
        self._advice = advice
        self._waiting = waiting
        self._made: list[Path] = []
        self._file: int | None = None

    def __enter__(self) -> FolderLock:
        """Take the folder; raises HeldError where somebody else has it, SailError where it cannot be written to."""
        self._made = [path for path in (self._path.parent, *self._path.parent.parents) if not path.exists()]
        said = False
        while not self._take():
            who = f"{self.folder} is in use by {Holder.read(self._path) or 'another process'}"
            if self._waiting is None:
                raise HeldError(f"{who}. Wait until it ends, or stop it, or {self._advice}.")
            if not said:
                self._waiting(f"{who}. Waiting until it ends.")
            said = True
            time.sleep(WAITING_S)
        return self

    def _take(self) -> bool:
        """Lock the file and put down who did; return False where it is locked already."""
        with told(self.folder):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as problem:
                os.close(file)
                if isinstance(problem, BlockingIOError):
                    return False
                raise
            if not self._is(file):  # whoever held it took the file away: a lock on what has no name holds nothing
                os.close(file)
                return self._take()
            self._file = file
            try:
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(asdict(Holder.own())).encode(), 0)
            except BaseException:
                self._release()
                raise
        return True

    def _is(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except FileNotFoundError:
            return False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Let go of the folder; one that was made for the lock and holds nothing else goes with it."""
        self._release()

    def _release(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None
        for folder in self._made:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _whole_length(file: int) -> int:
    """Return how many bytes of a file belong to whole lines."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
