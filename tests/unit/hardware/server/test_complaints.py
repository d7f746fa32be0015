"""Complaints reach the log, and nobody who complains waits for whoever reads it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from hardware.arms.kinematic import KinematicArm
from hardware.server.complaints import MOST_WAITING, Complaints
from hardware.wire.clocks import now
from hardware.wire.states import State
from robot.core.errors import SailError
from robot.core.joints import Joints, JointState
from tests.unit.hardware.serving import armed, served, until


class Full(logging.Handler):
    """A log that nobody reads: whoever writes to it waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.emptied = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.emptied.wait(60)


@pytest.fixture
def full() -> Iterator[Full]:
    handler, logger = Full(), logging.getLogger("sail.arm")
    logger.addHandler(handler)
    yield handler
    handler.emptied.set()
    logger.removeHandler(handler)


def test_a_kind_is_said_once_in_a_while_with_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(every_s=0.2)
    for number in range(5):
        complaints.note("the arm cannot be read", f"cable {number}\x1b[2J")
    assert complaints.flush()
    until(lambda: complaints.note("the arm cannot be read") or (complaints.flush() and len(caplog.messages) > 1))
    assert caplog.messages[0] == "the arm cannot be read: 'cable 0\\x1b[2J'"
    assert "more since the last line" in caplog.messages[1]


def test_nobody_waits_for_a_log_that_is_full(full: Full) -> None:
    complaints = Complaints(every_s=0.0, most_kinds=10_000)
    began_s = now()
    for number in range(MOST_WAITING + 200):
        complaints.note(f"kind {number}")
    assert now() - began_s < 1.0
    assert complaints.lost >= 199 and not complaints.flush(0.05)


class Unreadable(KinematicArm):
    """An arm whose reading fails in motion; it counts what it is still sent."""

    cut = False
    braked = 0

    def read(self) -> JointState:
        if self.cut:
            raise SailError("The cable is out.")
        return super().read()

    def write(self, position: Joints) -> None:
        self.braked += self.cut
        super().write(position)


def test_an_arm_brakes_and_holds_though_its_log_is_full(full: Full) -> None:
    arm = Unreadable()
    with served(arm) as server, armed(server) as client:
        points = np.tile(arm.description.home, (30, 1))
        points[:, 0] += np.linspace(0.01, 0.3, 30)
        client.submit(now() + np.linspace(0.1, 3.0, 30), points)
        until(lambda: arm.position[0] > 0.05)
        arm.cut = True
        until(lambda: server.state[0] is State.FAULT)
        until(lambda: arm.stops > 0)
        assert arm.braked > 5, "it is led to rest, not dropped"
        assert client.status()["state"] == State.FAULT
