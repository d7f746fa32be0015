"""A double of pyspacemouse: one device whose state a test sets."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

_connected: list[SpaceMouseDevice] = []


class AxisConvention(enum.Enum):
    ROS = "ros"


@dataclass(slots=True)
class SpaceMouseState:
    t: float = -1.0
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    buttons: list = field(default_factory=list)


class SpaceMouseDevice:
    def __init__(self):
        self._state = SpaceMouseState(buttons=[0, 0])
        self._gone = False

    def read(self):
        if self._gone:
            raise RuntimeError("read error")
        return self._state

    def close(self):
        self._gone = True


def open(
    callback=None,
    dof_callback=None,
    dof_callbacks=None,
    button_callback=None,
    button_callbacks=None,
    nonblocking=True,
    device=None,
    device_index=0,
    device_spec=None,
    axis_convention=None,
):
    if not _connected:
        raise RuntimeError("No connected or supported devices found.")
    return _connected[0]
