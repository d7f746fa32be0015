"""Drive an SO-100 or SO-101 arm, six Feetech STS3215 servos, with feetech-servo-sdk.

Limits: positions from the makers' model of the SO-101 (TheRobotStudio, SO-ARM100, Simulation/SO101), narrowed to what
was calibrated; velocity from Feetech's data sheet of the STS3215 (45 turns a minute without load, at the lower of its
voltages). Acceleration and jerk are not published: those here are ours. The rest pose, folded on the table, is
ours too.

A round of reading and commanding six servos takes some 2–3 ms at 1 Mbaud over USB, so 250 Hz is the most that one bus
does, and 100 Hz leaves room.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from hardware.arms.calibration import COUNTS_PER_TURN, ServoCalibration, read_calibration
from hardware.arms.limits import joints, slowed
from hardware.arms.servo_arm import Register, ServoArm, ServoKind, within_calibration
from robot.arm import ArmDescription
from robot.errors import UnknownNameError

NAMES: Final = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
MODELS: Final = ("so100", "so101")
LOW: Final = joints(-1.91986, -1.74533, -1.69, -1.65806, -2.79253, -0.174533)
HIGH: Final = joints(1.91986, 1.74533, 1.69, 1.65806, 2.79253, 1.74533)
SPEED: Final = 45.0 * 2 * np.pi / 60.0
REST: Final = joints(0.0, -1.7, 1.6, 1.2, 0.0, 0.0)


def sign_and_magnitude(value: int, size: int) -> int:
    """Return the number that Feetech writes with its highest bit as the sign."""
    sign = 1 << (8 * size - 1)
    return -(value & (sign - 1)) if value & sign else value


STS: Final = ServoKind(
    module="scservo_sdk",
    extra="feetech",
    protocol=0,  # which end of a word comes first: the STS series' choice
    baud_rate=1_000_000,
    torque=Register(40, 1),
    goal=Register(42, 2),
    block=Register(56, 4),
    position=Register(56, 2),
    velocity=Register(58, 2),
    velocity_rad_s=2 * np.pi / COUNTS_PER_TURN,
    signed=sign_and_magnitude,
)


class FeetechArm(ServoArm):
    """Drive an SO-100 or SO-101 at a serial port.

    `calibration` is that of this arm, or its file (see `hardware.arms.calibration`).
    `share` is the part of the servos' velocity that may be used. Raises SailError for a calibration that does not fit.
    """

    def __init__(
        self, port: str, calibration: str | Path | ServoCalibration, model: str = "so101", share: float = 0.5
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("Feetech arm", model, MODELS)
        fitted = (
            calibration if isinstance(calibration, ServoCalibration) else read_calibration(calibration, model, NAMES)
        )
        low, high = within_calibration(LOW, HIGH, fitted)
        size = len(NAMES)
        description = ArmDescription(
            name=model,
            joint_names=NAMES,
            units=("rad",) * size,
            low=low,
            high=high,
            velocity=slowed(np.full(size, SPEED), share, size),
            acceleration=np.full(size, 20.0),
            jerk=np.full(size, 400.0),
            home=np.clip(REST, low, high),
            serial=fitted.serial,
            calibration=fitted.hash,
        )
        super().__init__(port, STS, description, fitted)
