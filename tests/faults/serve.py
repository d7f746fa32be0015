"""Serve an arm in a process of its own: `python -m tests.faults.serve NAME PORT RECORD LIMIT KEYS`.

LIMIT, where not 0, is how many descriptors it may open; KEYS, where given, a folder that `make_all_keys` has filled.
It prints its address.
"""

from __future__ import annotations

import logging
import resource
import signal
import sys
import threading
from pathlib import Path

from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.wire.keys import ClientKeys, ServerKeys, client_keys, make_keys, server_keys
from tests.faults.arms import ARMS

SETTINGS = SafetySettings(silence_s=0.8, lease_s=2.0, late_s=2.0, state_age_s=2.0)
"""Times that a busy machine can keep; they are what the suite holds the servers to."""


def make_all_keys(folder: Path) -> ClientKeys:
    """Make keys of a server and of a client that it lets in, and return the client's."""
    _, secret = make_keys(folder / "clients", "client")
    make_keys(folder, "server")
    return client_keys(secret, folder / "server.key")


def keys_of(folder: str) -> ServerKeys | None:
    return server_keys(Path(folder) / "server.key_secret", Path(folder) / "clients") if folder else None


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    name, port, record, limit, keys = sys.argv[1:]
    if int(limit):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    driver, cameras = ARMS[name]()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    server = ArmServer(driver, cameras, port=int(port), settings=SETTINGS, record=Path(record), keys=keys_of(keys))
    with server:
        print(server.address, flush=True)
        ending.wait()


if __name__ == "__main__":
    main()
