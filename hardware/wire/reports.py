"""What a client knows of an arm: what it said of itself, and what it last published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hardware.wire.messages import Message, MessageError
from hardware.wire.reasons import Reason, told_reason
from hardware.wire.states import State
from robot.core.data import Image
from robot.core.joints import ArmDescription, Joints

Intrinsics = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels of a picture of the camera's size, the centres of pixels being whole."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """Hold what a server said of its arm at hello.

    `low` and `high`, float64 (J,): what positions are clamped to, a margin inside the hard limits of the description.
    `cameras`: name → image size (H, W) in pixels; `camera_rates_hz`: name → pictures a second, `matrices`: name →
    world_to_image, float64 (3, 4), `intrinsics`: name → fx, fy, cx, cy in pixels of such a picture, where known.
    """

    description: ArmDescription
    low: Joints
    high: Joints
    session: str
    servo_hz: float
    state_hz: float
    silence_s: float
    lease_s: float
    cameras: Mapping[str, tuple[int, int]]
    matrices: Mapping[str, NDArray[np.float64]]
    camera_ports: Mapping[str, int]
    command_port: int
    stop_port: int
    state_port: int
    can_reset: bool
    camera_rates_hz: Mapping[str, float] = field(default_factory=dict)
    intrinsics: Mapping[str, Intrinsics] = field(default_factory=dict)

    def is_like(self, other: Welcome) -> bool:
        """Return whether another run of a server serves the same arm with the same cameras at the same ports."""
        ours, theirs = self.description, other.description
        names = ("name", "serial", "calibration", "joint_names", "units")
        limits = ("low", "high", "velocity", "acceleration", "jerk", "home")
        ports = ("command_port", "stop_port", "state_port", "camera_ports", "cameras")
        return (
            all(getattr(ours, name) == getattr(theirs, name) for name in names)
            and all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in limits)
            and all(getattr(self, name) == getattr(other, name) for name in ports)
        )


@dataclass(frozen=True, slots=True)
class ArmReport:
    """Hold what an arm published: times in seconds on this machine's clock, float64 (J,) each.

    `asked` is where the command in force wants the arm, `sent` where its governor sent it. `applied` is the sequence
    number of the latest command that had an effect, from `applied_s` on. `succeeded` is a simulated scene's ground
    truth since its last reset, None where nobody knows.
    """

    state: State
    reason: Reason
    time_s: float
    measured_s: float
    position: Joints
    velocity: Joints
    asked: Joints
    sent: Joints
    holder: str
    sequence: int
    applied: int
    applied_s: float
    at_rest: bool
    at_home: bool
    tick: int
    published_s: float
    succeeded: bool | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Hold a camera's picture, uint8 (H, W, 3), with its number and when it was captured, on this machine's clock."""

    image: Image
    captured_s: float
    number: int


def read_welcome(message: Message) -> Welcome:
    """Return what a server says of itself; raise MessageError where that makes no sense."""
    body = message.body
    names, units = tuple(body["joint_names"]), tuple(body["units"])
    cameras = tuple(body["camera_names"])
    lists = (body["camera_heights"], body["camera_widths"], body["camera_ports"], body["camera_rates_hz"])
    if len(message.arrays) != 3 or message.arrays[0].shape != (8, len(names)):
        raise MessageError("A welcome carries limits (8, J), the cameras' matrices and their intrinsics.")
    shapes = [array.shape for array in message.arrays[1:]]
    if any(len(one) != len(cameras) for one in lists) or shapes != [(len(cameras), 3, 4), (len(cameras), 4)]:
        raise MessageError("A welcome carries a size, a rate, a port, a matrix and intrinsics for every camera.")
    name, _, serial = str(body["robot"]).partition("#")
    rows = [np.asarray(row, np.float64) for row in message.arrays[0]]
    low, high, velocity, acceleration, jerk, home, soft_low, soft_high = rows
    try:
        description = ArmDescription(
            name, names, units, low, high, velocity, acceleration, jerk, home, serial, str(body["calibration"])
        )
    except ValueError as error:
        raise MessageError(f"The server describes an arm that cannot be: {error}") from None
    matrices = {
        camera: matrix for camera, matrix in zip(cameras, message.arrays[1], strict=True) if np.all(np.isfinite(matrix))
    }
    return Welcome(
        description,
        soft_low,
        soft_high,
        message.session,
        float(body["servo_hz"]),
        float(body["state_hz"]),
        float(body["silence_s"]),
        float(body["lease_s"]),
        {camera: (int(h), int(w)) for camera, h, w in zip(cameras, lists[0], lists[1], strict=True)},
        matrices,
        dict(zip(cameras, lists[2], strict=True)),
        int(body["command_port"]),
        int(body["stop_port"]),
        int(body["state_port"]),
        bool(body["can_reset"]),
        {camera: float(rate_hz) for camera, rate_hz in zip(cameras, lists[3], strict=True) if rate_hz > 0},
        {
            camera: (float(lens[0]), float(lens[1]), float(lens[2]), float(lens[3]))
            for camera, lens in zip(cameras, message.arrays[2], strict=True)
            if np.all(np.isfinite(lens))
        },
    )


def read_report(message: Message, offset_s: float, joints: int) -> ArmReport:
    """Return what an arm published; `offset_s` is what its clock is ahead of this machine's."""
    body = message.body
    if len(message.arrays) != 4 or any(message.arrays[place].shape != (joints,) for place in (0, 2, 3)):
        raise MessageError(
            f"A state carries positions, velocities, what was asked and what was sent, ({joints},) each."
        )
    position, velocity, asked, sent = (np.asarray(array, np.float64) for array in message.arrays)
    try:
        state = State(body["state"])
    except ValueError:
        raise MessageError(f"There is no state {body['state']!r}.") from None
    return ArmReport(
        state,
        told_reason(body["reason"], body["code"]),
        float(body["time_s"]) - offset_s,
        float(body["measured_s"]) - offset_s,
        position,
        velocity,
        asked,
        sent,
        str(body["holder"]),
        int(body["sequence"]),
        int(body["applied"]),
        float(body["applied_s"]) - offset_s,
        bool(body["at_rest"]),
        bool(body["at_home"]),
        int(body["tick"]),
        message.sent_s - offset_s,
        body["succeeded"],
    )
