"""Drive a WidowX 250 S or ViperX 300 S, Dynamixel X-series servos by Interbotix, with dynamixel-sdk.

Limits: positions and the velocity limit (131 units of 0.229 turns a minute) from the makers' motor settings
(Interbotix, interbotix_xsarm_control, wx250s.yaml and vx300s.yaml), narrowed to what was calibrated; the rest pose is
the makers' sleep position. Acceleration and jerk are not published: those here are ours.

Two servos move the shoulder and two the elbow. The second of each pair follows the commands of the first by its
secondary id, as the makers set it up; `connect` sees that it does, since two servos that work against each other
destroy themselves. Directions are the makers' too, kept in each servo's drive mode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from hardware.arms.calibration import COUNTS_PER_TURN, ServoCalibration, read_calibration
from hardware.arms.limits import joints, slowed
from hardware.arms.servo_arm import Register, ServoArm, ServoKind, within_calibration
from robot.arm import ArmDescription, Joints
from robot.errors import SailError, UnknownNameError

NAMES: Final = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
FOLLOWERS: Final = {3: 2, 5: 4}
"""Servos that follow another: follower → leader."""
SPEED: Final = 131 * 0.229 * 2 * np.pi / 60.0
SECONDARY_ID, OPERATING_MODE, HARDWARE_ERROR = Register(12, 1), Register(11, 1), Register(70, 1)
PROFILE_ACCELERATION, PROFILE_VELOCITY = Register(108, 4), Register(112, 4)
POSITION_MODES: Final = (3, 5)
"""Position control, and position control with a limited current, as some grippers are set."""


def _angles(*counts: int) -> Joints:
    """Return register limits in rad, with the zero in the middle of a turn."""
    return (joints(*counts) - COUNTS_PER_TURN / 2) * (2 * np.pi / COUNTS_PER_TURN)


MODELS: Final = {
    "wx250s": (
        _angles(0, 819, 648, 0, 910, 0, 0),
        _angles(4095, 3345, 3094, 4095, 3447, 4095, 4095),
        joints(0.0, -1.80, 1.55, 0.0, 0.8, 0.0, 0.0),
    ),
    "vx300s": (
        _angles(0, 841, 898, 0, 830, 0, 0),
        _angles(4095, 2867, 3094, 4095, 3504, 4095, 4095),
        joints(0.0, -1.85, 1.55, 0.0, 0.8, 0.0, 0.0),
    ),
}


def twos_complement(value: int, size: int) -> int:
    """Return the number that Robotis writes in two's complement."""
    return value - (1 << 8 * size) if value >> (8 * size - 1) else value


X_SERIES: Final = ServoKind(
    module="dynamixel_sdk",
    extra="dynamixel",
    protocol=2.0,
    baud_rate=1_000_000,
    torque=Register(64, 1),
    goal=Register(116, 4),
    block=Register(128, 8),
    position=Register(132, 4),
    velocity=Register(128, 4),
    velocity_rad_s=0.229 * 2 * np.pi / 60.0,
    signed=twos_complement,
)


class DynamixelArm(ServoArm):
    """Drive a WidowX 250 S or ViperX 300 S at a serial port.

    `calibration` is that of this arm, or its file (see `hardware.arms.calibration`).
    `share` is the part of the makers' velocity that may be used. Raises SailError for a calibration that does not fit.
    """

    def __init__(
        self, port: str, calibration: str | Path | ServoCalibration, model: str = "wx250s", share: float = 0.5
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("Dynamixel arm", model, tuple(MODELS))
        fitted = (
            calibration if isinstance(calibration, ServoCalibration) else read_calibration(calibration, model, NAMES)
        )
        low, high, rest = MODELS[model]
        low, high = within_calibration(low, high, fitted)
        size = len(NAMES)
        description = ArmDescription(
            name=model,
            joint_names=NAMES,
            units=("rad",) * size,
            low=low,
            high=high,
            velocity=slowed(np.full(size, SPEED), share, size),
            acceleration=np.full(size, 10.0),
            jerk=np.full(size, 200.0),
            home=np.clip(rest, low, high),
            serial=fitted.serial,
            calibration=fitted.hash,
        )
        super().__init__(port, X_SERIES, description, fitted)

    def check_servos(self) -> None:
        """See that followers follow, that every servo controls its position, and that none is in error."""
        for follower, leader in FOLLOWERS.items():
            if (secondary := self.register(follower, SECONDARY_ID)) != leader:
                raise SailError(
                    f"Servo {follower} of the {self.description.name} follows {secondary} and not {leader}: it would "
                    "work against its twin; restore the makers' settings with their configuration tool."
                )
        for servo in (*self._calibration.ids, *FOLLOWERS):
            if error := self.register(servo, HARDWARE_ERROR):
                raise SailError(
                    f"Servo {servo} of the {self.description.name} is in error {error}: switch its power off and on."
                )
            if (mode := self.register(servo, OPERATING_MODE)) not in POSITION_MODES:
                raise SailError(
                    f"Servo {servo} of the {self.description.name} is in operating mode {mode} and not in position "
                    "control: restore the makers' settings with their configuration tool."
                )
            # A profile left by another program would smooth, and so delay, what the governor has smoothed already.
            self.set_register(servo, PROFILE_VELOCITY, 0)
            self.set_register(servo, PROFILE_ACCELERATION, 0)
