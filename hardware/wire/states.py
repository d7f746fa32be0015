"""What an arm does, as its server says it."""

from __future__ import annotations

import enum


class State(enum.StrEnum):
    """Say what an arm does; docs/arm-protocol.md has a table of every transition."""

    DISARMED = "DISARMED"
    HOLDING = "HOLDING"
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"
    FAULT = "FAULT"


ARMED = (State.HOLDING, State.RUNNING, State.DEGRADED)
