"""Servers of the kinematic arm for tests, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hardware.arms.kinematic import KinematicArm, PaintedCamera
from hardware.client.client import ArmClient
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer

PATIENT = SafetySettings(silence_s=1.0, lease_s=4.0, late_s=3.0, state_age_s=3.0)
"""What a busy machine needs: tests of something else than time-outs must not fail because a core was taken away."""


@contextmanager
def served(arm: KinematicArm | None = None, **options: Any) -> Iterator[ArmServer]:
    arm = arm or KinematicArm()
    options.setdefault("settings", PATIENT)
    options.setdefault("cameras", [PaintedCamera(arm)])
    with ArmServer(arm, port=0, **options) as server:
        yield server


@contextmanager
def armed(server: ArmServer, **options: Any) -> Iterator[ArmClient]:
    with ArmClient(server.address, timeout_s=10.0, **options) as client:
        client.acquire()
        client.arm()
        yield client


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Return what a condition says as soon as it is true."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if result := condition():
            return result
        time.sleep(0.005)
    raise AssertionError("It did not come true in time.")
