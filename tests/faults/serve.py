"""Serve an arm in a process of its own: `python -m tests.faults.serve NAME PORT RECORD`; prints its address."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

from hardware.safety import SafetySettings
from hardware.server import ArmServer
from tests.faults.arms import ARMS

SETTINGS = SafetySettings(silence_s=0.8, lease_s=2.0, late_s=2.0, state_age_s=2.0)
"""Times that a busy machine can keep; they are what the suite holds the servers to."""


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    name, port, record = sys.argv[1:]
    driver, cameras = ARMS[name]()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    with ArmServer(driver, cameras, port=int(port), settings=SETTINGS, record=Path(record)) as server:
        print(server.address, flush=True)
        ending.wait()


if __name__ == "__main__":
    main()
