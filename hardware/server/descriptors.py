"""How many files and connections this process may have open, how many it has, and how much memory it takes.

Asking needs no descriptor that is not there already, so it works when none is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket as sockets

try:
    import resource
except ImportError:  # no such limits on this system
    resource = None  # type: ignore[assignment]

OPEN = "/proc/self/fd"
MIB = 2**20


def raise_limit() -> int:
    """Let this process open as many descriptors as the system allows it, and return how many that is."""
    if resource is None:
        return 2**31
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A system without a hard limit may refuse "as many as you like".
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 65_536)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_descriptors() -> int:
    """Return how many descriptors this process has open, 0 where the system does not say."""
    with contextlib.suppress(OSError):
        # From Linux 6.2 on the folder's size is the number; before it has to be read, which takes one more.
        return os.stat(OPEN).st_size or len(os.listdir(OPEN)) - 1
    return raise_limit() if os.path.isdir(OPEN) else 0


def cut_connections(port: int) -> int:
    """End the connections that came in at a port of ours, whoever uses them; return how many those were.

    Their descriptors stay with whoever has them, who reads that the other end has gone.
    """
    cut = 0
    with contextlib.suppress(OSError):
        for name in os.listdir(OPEN):
            with contextlib.suppress(OSError):
                cut += _cut_if_at(port, os.dup(int(name)))
    return cut


def _cut_if_at(port: int, descriptor: int) -> bool:
    """End a connection, and close this descriptor of it, if it came in at a port; return whether it did."""
    try:
        connection = sockets.socket(fileno=descriptor)
    except OSError:  # a file
        os.close(descriptor)
        return False
    with connection:
        if connection.family not in (sockets.AF_INET, sockets.AF_INET6) or connection.getsockname()[1] != port:
            return False
        connection.getpeername()  # raises for the socket that listens
        connection.shutdown(sockets.SHUT_RDWR)
        return True


class Memory:
    """Say how much of the machine's memory this process has, and give back what it does not need."""

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def mib(self) -> float:
        """Return the resident memory in MiB, 0 where the system does not say."""
        if self._file is None:
            return 0.0
        return int(os.pread(self._file, 256, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB

    def give_back(self) -> None:
        """Return to the system what was freed here; where its library cannot, it stays for the next that needs it."""
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def close(self) -> None:
        """Ask no more; closing twice is allowed."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
