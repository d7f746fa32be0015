"""Drive a WidowX 250 S or ViperX 300 S, Dynamixel X-series servos by Interbotix, with dynamixel-sdk.

Limits: positions and the velocity limit (131 units of 0.229 turns a minute) from the makers' motor settings
(Interbotix, interbotix_xsarm_control, wx250s.yaml and vx300s.yaml), narrowed to what was calibrated; the rest pose is
the makers' sleep position. Acceleration and jerk are not published: those here are ours.

Two servos move the shoulder and two the elbow. The second of each pair follows the commands of the first by its
secondary id, and turns the other way by its drive mode, as the makers set it up; `connect` sees that it does, since two
servos that work against each other destroy themselves. Directions are the makers' too, kept in each drive mode.

Registers, bits and units: Robotis, e-Manual of the X series. Torque and hardware errors lie too far from the positions
to be read with them; one servo a period is looked at: 235 bytes a round instead of 203, 2.4 ms at 1 Mbaud, in two
exchanges. A servo in error says so in every answer besides, and takes no goal as a reason to turn its torque on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from hardware.arms.calibration import COUNTS_PER_TURN, ServoCalibration, read_calibration, within_calibration
from hardware.arms.limits import check_grip, joints, slowed
from hardware.arms.servo_arm import ServoArm
from hardware.arms.servo_bus import Answer
from hardware.arms.servo_kind import Register, ServoKind
from robot.core.errors import SailError, UnknownNameError
from robot.core.joints import ArmDescription, Joints

JOINTS: Final = {
    "waist": 1,
    "shoulder": 2,
    "elbow": 4,
    "forearm_roll": 6,
    "wrist_angle": 7,
    "wrist_rotate": 8,
    "gripper": 9,
}
"""Joint → id, as the makers number the servos."""
NAMES: Final = tuple(JOINTS)
FOLLOWERS: Final = {3: 2, 5: 4}
"""Servos that follow another: follower → leader."""
SPEED: Final = 131 * 0.229 * 2 * np.pi / 60.0
DRIVE_MODE, SECONDARY_ID = Register(10, 1), Register(12, 1)
REVERSE, TORQUE_BY_GOAL = 1 << 0, 1 << 3
"""Bits of the drive mode."""
REVERSED: Final = {"wx250s": (3, 5, 7), "vx300s": (2, 4, 7)}
"""Servos that turn the other way; from the makers' motor settings."""
NOBODY: Final = 255
"""The secondary id of a servo that follows none."""
WITHOUT_CURRENT: Final = (1060, 1070, 1080, 1090, 1160)
"""Models that measure no current: XL430, XC430 and their twins; from the control tables in Robotis's package."""
WAYS: Final = {
    "waist": "turn to the left, seen from behind the arm",
    "shoulder": "lean the upper arm forwards",
    "elbow": "bend the forearm down",
    "forearm_roll": "turn clockwise, seen from behind the arm",
    "wrist_angle": "bend the hand down",
    "wrist_rotate": "turn clockwise, seen from behind the arm",
    "gripper": "open",
}
"""What a joint does when its position grows; from the axes of the makers' model."""
PWM_LIMIT, CURRENT_LIMIT, GOAL_PWM, GOAL_CURRENT = Register(36, 2), Register(38, 2), Register(100, 2), Register(102, 2)
FULL_PWM: Final = 885
CURRENT_UNIT_A: Final = 0.00269
PROFILE_ACCELERATION, PROFILE_VELOCITY = Register(108, 4), Register(112, 4)
POSITION, CURRENT_BASED = 3, 5
REBOOT_S: Final = 2.0
"""How long a servo may take to answer again; most take a third of a second."""


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


def found_ids(package: Any, port: Any, packets: Any) -> tuple[list[int], bool]:
    """Ask all servos at once and return the ids that answer, and whether answers collided."""
    found, result = packets.broadcastPing(port)
    return sorted(map(int, found)), result == package.COMM_RX_CORRUPT


X_SERIES: Final = ServoKind(
    module="dynamixel_sdk",
    extra="dynamixel",
    protocol=2.0,
    baud_rate=1_000_000,
    baud_code=3,
    rates=(1_000_000, 57_600, 115_200, 2_000_000, 9_600),
    ram=64,
    models=range(1000, 2000),
    model=Register(0, 2),
    identity=Register(7, 1),
    baud=Register(8, 1),
    delay=Register(9, 1),
    mode=Register(11, 1),
    offset=Register(20, 4),
    least=Register(52, 4),
    most=Register(48, 4),
    torque=Register(64, 1),
    goal=Register(116, 4),
    block=Register(128, 8),
    position=Register(132, 4),
    velocity=Register(128, 4),
    error=Register(70, 1),
    torque_limit=GOAL_PWM,
    full_torque=FULL_PWM,
    lock=None,
    velocity_rad_s=0.229 * 2 * np.pi / 60.0,
    signed=twos_complement,
    offset_of=lambda value: twos_complement(value, 4),
    offset_bits=lambda offset: offset & 0xFFFFFFFF,
    sets_middle=False,  # in position control an offset of more than a quarter of a turn counts for nothing
    troubles={
        0: "a supply voltage out of its range",
        2: "overheating",
        3: "a failed motor encoder",
        4: "an electrical shock, or too little power",
        5: "overload",
    },
    alert=0x80,
    refusal=0x7F,
    modes={
        0: "current",
        1: "velocity",
        POSITION: "position",
        4: "extended position",
        CURRENT_BASED: "current-based position",
        16: "PWM",
    },
    position_modes=(POSITION, CURRENT_BASED),
    names={
        Register(11, 1): "operating mode",
        Register(9, 1): "return delay",
        DRIVE_MODE: "drive mode",
        SECONDARY_ID: "secondary id",
    },
    request_bytes=14,
    reply_bytes=11,
    found_ids=found_ids,
)


class DynamixelArm(ServoArm):
    """Drive a WidowX 250 S or ViperX 300 S at a serial port.

    `calibration` is that of this arm, or its file (see `hardware.arms.calibration`).
    `share` is the part of the makers' velocity that may be used, `rate_hz` how often commands come. The gripper presses
    with `gripper_torque` of its torque at most, and draws `gripper_current_a` at most where its servo measures current
    and is in current-based position control. Raises SailError for a calibration that does not fit, or limits that make
    no sense.
    """

    kind = X_SERIES
    joints = JOINTS
    followers = FOLLOWERS
    ways = WAYS
    zero_pose = "upper arm upright, forearm and hand level and straight ahead, gripper half open"

    def __init__(
        self,
        port: str,
        calibration: str | Path | ServoCalibration,
        model: str = "wx250s",
        share: float = 0.5,
        rate_hz: float = 100.0,
        gripper_torque: float = 0.35,
        gripper_current_a: float = 0.5,
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("Dynamixel arm", model, tuple(MODELS))
        fitted = (
            calibration if isinstance(calibration, ServoCalibration) else read_calibration(calibration, model, NAMES)
        )
        check_grip(gripper_torque, gripper_current_a)
        self._grip_pwm = round(gripper_torque * FULL_PWM)
        self._grip_current = round(gripper_current_a / CURRENT_UNIT_A)
        self._reversed = REVERSED[model]
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
        super().__init__(port, description, fitted, rate_hz)

    def check_servo(self, servo: int, settings: Answer) -> None:
        """See that a servo goes to a position, takes torque only when told to, and follows its leader if it has one."""
        super().check_servo(servo, settings)
        name = f"{self.bus.label(servo)} of the {self.description.name}"
        leader = self.followers.get(servo)
        if leader is not None and (secondary := settings.raw(SECONDARY_ID)) != leader:
            raise SailError(
                f"The {name} follows {secondary} and not {leader}: it would work against its twin; `sail arm setup "
                "modes=true` restores the makers' settings while the arm has no torque."
            )
        drive_mode = settings.raw(DRIVE_MODE)
        if leader is not None and not (drive_mode ^ self.bus.register(leader, DRIVE_MODE)) & REVERSE:
            raise SailError(
                f"The {name} turns the same way as servo {leader}, against which it is mounted: `sail arm setup "
                "modes=true` restores the makers' drive modes while the arm has no torque."
            )
        if drive_mode & TORQUE_BY_GOAL:
            raise SailError(
                f"The {name} turns its torque on with every goal, by bit 3 of its drive mode: `sail arm setup "
                "modes=true` takes that away while the arm has no torque."
            )
        # A profile left by another program would smooth, and so delay, what the governor has smoothed already.
        self.bus.settle(servo, PROFILE_VELOCITY, 0)
        self.bus.settle(servo, PROFILE_ACCELERATION, 0)

    def wanted(self, servo: int, model_number: int) -> dict[Register, int]:
        """Return what a servo of this arm is to keep.

        That is position control, in which a gripper's current is limited where its servo measures it, no delay before
        its answers, and the makers' direction and leader.
        """
        measures = servo == self.servos["gripper"] and model_number not in WITHOUT_CURRENT
        return {
            self.kind.mode: CURRENT_BASED if measures else POSITION,
            self.kind.delay: 0,
            DRIVE_MODE: REVERSE if servo in self._reversed else 0,
            SECONDARY_ID: self.followers.get(servo, NOBODY),
        }

    def limit_gripper(self) -> None:
        """Limit the gripper's PWM, and its current in the mode that does so; both are lost with the power.

        Source: e-Manual, Goal PWM (100) limits the PWM in every mode but the PWM's own, Goal Current (102) the current
        in current-based position control; neither may exceed its limit (36, 38). The values are ours.
        """
        servo = self.servos["gripper"]
        self.bus.settle(servo, GOAL_PWM, min(self._grip_pwm, self.bus.register(servo, PWM_LIMIT)))
        if self.bus.register(servo, self.kind.mode) == CURRENT_BASED:
            self.bus.settle(servo, GOAL_CURRENT, min(self._grip_current, self.bus.register(servo, CURRENT_LIMIT)))

    def mend_servos(self) -> None:
        """Reboot servos that a hardware error has left without torque, where a reboot lets nothing fall any further.

        A servo in error that still holds is not rebooted, since that would take its torque. Source: e-Manual, Shutdown
        (63): after a hardware error only a reboot lets a servo take torque again.
        """
        kind = self.kind
        answers = self.bus.gather((*self.servos.values(), *self.followers), kind.vital)
        failed = {servo: answer for servo, answer in answers.items() if answer.raw(kind.error)}
        for servo, answer in failed.items():
            if answer.raw(kind.torque):
                raise SailError(
                    f"The {self.bus.label(servo)} of the {self.description.name} reports "
                    f"{kind.trouble(answer.raw(kind.error))} and still holds, so it is not restarted: hold the arm up "
                    "and switch its power off and on."
                )
        for servo in failed:
            self.bus.reboot(servo)
        until_s = time.monotonic() + REBOOT_S
        while not all(self.bus.ping(servo) for servo in failed):
            if time.monotonic() > until_s:
                return  # whoever looks next says which one is missing
            time.sleep(0.05)
