"""Append lines to a file that several processes append to and that a kill may have torn."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

_BLOCK = 4096


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines in one piece and return when they are on the disk.

    A lock on the file keeps other processes out meanwhile. A last line without its end was torn by a kill, and nobody
    was ever told that it is stored: it is cut off first. Raises OSError, such as for a full disk, with the file left as
    long as it was.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
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
        _sync_folder(path.parent)


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that were written to their end, without it; none when there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return content.split(b"\n")[:-1]


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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
