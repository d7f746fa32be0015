"""Stop an arm as a person at a terminal does, and beside connections that say nothing."""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hardware.client.stopping import send_stop
from hardware.server.descriptors import raise_limit
from hardware.wire.clocks import now
from hardware.wire.lines import host_and_port

COMMAND = "import sys; from robot.cli.main import main; sys.exit(main(sys.argv[1:]))"
"""What the `sail` script does."""
SPARE = 200
"""Descriptors that this process needs for other things than connections."""


def enter_stop(address: str) -> float:
    """Enter `sail arm stop`, wait until it has ended, and return when Enter was pressed."""
    words = [sys.executable, "-c", COMMAND, "arm", "stop", f"address={address}"]
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    entered_s = now()
    process = os.posix_spawn(sys.executable, words, os.environ, file_actions=silent)
    os.waitpid(process, 0)
    return entered_s


def stops_beside(address: str, connections: int, count: int) -> tuple[int, list[float]]:
    """Send stops beside silent connections to a server's first four ports.

    Returns how many connections there were, and how many seconds each stop took to be answered.
    """
    host, port = host_and_port(address)
    most = min(connections, raise_limit() - SPARE)
    with silent_connections(host.strip("[]"), range(port, port + 4), most) as held:
        return held, [send_stop(address, "the benchmark").took_s for _ in range(count)]


@contextmanager
def silent_connections(host: str, ports: range, count: int) -> Iterator[int]:
    """Lend connections that say nothing, shared out among ports; fewer where the server lets no more in."""
    with contextlib.ExitStack() as stack:
        held = 0
        with contextlib.suppress(OSError):
            for number in range(count):
                stack.enter_context(sockets.create_connection((host, ports[number % len(ports)]), timeout=3.0))
                held += 1
        yield held
