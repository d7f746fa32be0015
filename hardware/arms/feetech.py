"""Drive an SO-100 or SO-101 arm, six Feetech STS3215 servos, with feetech-servo-sdk.

Limits: positions from the makers' model of the SO-101 (TheRobotStudio, SO-ARM100, Simulation/SO101), narrowed to what
was calibrated; velocity from Feetech's data sheet of the STS3215 (45 turns a minute without load, at the lower of its
voltages). Acceleration and jerk are not published: those here are ours. The rest pose, folded on the table, is
ours too.

Registers, bits and units: Feetech, memory table of the STS series. Such a servo turns its torque on when it is sent a
goal (users report so), which would undo a cut torque before anybody looks. So torque and status are read with the
positions of every servo in every period: 232 bytes a round instead of 100, 2.3 ms at 1 Mbaud, and no exchange more.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np

from hardware.arms.calibration import COUNTS_PER_TURN, ServoCalibration, read_calibration, within_calibration
from hardware.arms.limits import check_grip, joints, slowed
from hardware.arms.servo_arm import ServoArm
from hardware.arms.servo_kind import Register, ServoKind
from robot.core.errors import SailError, UnknownNameError
from robot.core.joints import ArmDescription

log = logging.getLogger(__name__)

JOINTS: Final = {
    "shoulder_pan": 1,
    "shoulder_lift": 2,
    "elbow_flex": 3,
    "wrist_flex": 4,
    "wrist_roll": 5,
    "gripper": 6,
}
"""Joint → id, as the makers number the servos."""
NAMES: Final = tuple(JOINTS)
WAYS: Final = {
    "shoulder_pan": "turn to the right, seen from behind the arm",
    "shoulder_lift": "lean the upper arm forwards",
    "elbow_flex": "bend the forearm down",
    "wrist_flex": "bend the hand down",
    "wrist_roll": "turn anticlockwise, seen from behind the arm",
    "gripper": "open",
}
"""What a joint does when its position grows; from the axes of the makers' model."""
MODELS: Final = ("so100", "so101")
LOW: Final = joints(-1.91986, -1.74533, -1.69, -1.65806, -2.79253, -0.174533)
HIGH: Final = joints(1.91986, 1.74533, 1.69, 1.65806, 2.79253, 1.74533)
SPEED: Final = 45.0 * 2 * np.pi / 60.0
REST: Final = joints(0.0, -1.7, 1.6, 1.2, 0.0, 0.0)
MOST_TORQUE, PROTECTION_CURRENT, OVERLOAD = Register(16, 2), Register(28, 2), Register(36, 1)
CURRENT_UNIT_A: Final = 0.0065
PER_MILLE: Final = 1000
OVERLOAD_BIT: Final = 5
ANSWERS_MS: Final = 800.0
"""How long all of a bus's servos may take to answer, one after the other."""


def sign_and_magnitude(value: int, size: int) -> int:
    """Return the number that Feetech writes with its highest bit as the sign."""
    sign = 1 << (8 * size - 1)
    return -(value & (sign - 1)) if value & sign else value


def offset_of(value: int) -> int:
    """Return the homing offset, which has bit 11 as its sign; it is taken off what the encoder reads."""
    return -(value & 0x7FF) if value & 0x800 else value & 0x7FF


def offset_bits(offset: int) -> int:
    """Return the bits of a homing offset, −2047 … 2047."""
    return -offset | 0x800 if offset < 0 else offset


def found_ids(package: Any, port: Any, packets: Any) -> tuple[list[int], bool]:
    """Ask all servos at once and return the ids that answer, and whether answers collided.

    The package has no call for that: this is a ping to everybody, and each answer taken as it comes.
    """
    ping = [0, 0, package.BROADCAST_ID, 2, package.INST_PING, 0]
    if packets.txPacket(port, ping) != package.COMM_SUCCESS:
        return [], False
    port.setPacketTimeoutMillis(ANSWERS_MS)
    found: list[int] = []
    while True:
        packet, result = packets.rxPacket(port)
        if result != package.COMM_SUCCESS:
            return found, result == package.COMM_RX_CORRUPT
        found.append(int(packet[2]))


STS: Final = ServoKind(
    module="scservo_sdk",
    extra="feetech",
    protocol=0,  # which end of a word comes first: the STS series' choice
    baud_rate=1_000_000,
    baud_code=0,
    rates=(1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400),
    ram=40,
    models=(777, 2825),  # STS3215 and STS3250
    model=Register(3, 2),
    identity=Register(5, 1),
    baud=Register(6, 1),
    delay=Register(7, 1),
    mode=Register(33, 1),
    offset=Register(31, 2),
    least=Register(9, 2),
    most=Register(11, 2),
    torque=Register(40, 1),
    goal=Register(42, 2),
    block=Register(40, 26),
    position=Register(56, 2),
    velocity=Register(58, 2),
    error=Register(65, 1),
    torque_limit=Register(48, 2),
    full_torque=PER_MILLE,
    lock=Register(55, 1),
    velocity_rad_s=2 * np.pi / COUNTS_PER_TURN,
    signed=sign_and_magnitude,
    offset_of=offset_of,
    offset_bits=offset_bits,
    sets_middle=True,
    troubles={
        0: "a supply voltage out of its range",
        1: "a failed position sensor",
        2: "overheating",
        3: "too much current",
        4: "an angle out of its range",
        5: "overload",
    },
    alert=0x7F,
    refusal=0,
    modes={0: "position", 1: "wheel", 2: "PWM", 3: "step, in which every goal is a distance"},
    position_modes=(0,),
    names={
        Register(33, 1): "operating mode",
        Register(7, 1): "return delay",
        MOST_TORQUE: "largest torque",
        PROTECTION_CURRENT: "protection current",
        OVERLOAD: "overload torque",
        Register(31, 2): "offset",
    },
    request_bytes=8,
    reply_bytes=6,
    found_ids=found_ids,
)


class FeetechArm(ServoArm):
    """Drive an SO-100 or SO-101 at a serial port.

    `calibration` is that of this arm, or its file (see `hardware.arms.calibration`).
    `share` is the part of the servos' velocity that may be used, `rate_hz` how often commands come. The gripper presses
    with `gripper_torque` of its torque at most; a grip costs current for as long as it lasts, and that is what burns
    such a servo. Where it draws `gripper_current_a`, or `gripper_overload` of its torque for two seconds, it gives way
    by itself. Raises SailError for a calibration that does not fit, or limits that make no sense.
    """

    kind = STS
    joints = JOINTS
    ways = WAYS
    zero_pose = "upper arm upright, forearm and hand level and straight ahead, gripper shut"

    def __init__(
        self,
        port: str,
        calibration: str | Path | ServoCalibration,
        model: str = "so101",
        share: float = 0.5,
        rate_hz: float = 100.0,
        gripper_torque: float = 0.35,
        gripper_current_a: float = 1.6,
        gripper_overload: float = 0.5,
    ) -> None:
        if model not in MODELS:
            raise UnknownNameError("Feetech arm", model, MODELS)
        fitted = (
            calibration if isinstance(calibration, ServoCalibration) else read_calibration(calibration, model, NAMES)
        )
        check_grip(gripper_torque, gripper_current_a)
        if not gripper_torque < gripper_overload <= 1.0:
            raise SailError(
                f"gripper_overload must lie above gripper_torque ({gripper_torque:g}) and at most at 1, or every grip "
                f"would count as an overload; got {gripper_overload:g}."
            )
        self._grip = {
            MOST_TORQUE: round(gripper_torque * PER_MILLE),
            PROTECTION_CURRENT: round(gripper_current_a / CURRENT_UNIT_A),
            OVERLOAD: round(100 * gripper_overload),
        }
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
        super().__init__(port, description, fitted, rate_hz)

    def wanted(self, servo: int, model_number: int) -> dict[Register, int]:
        """Return what a servo of this arm is to keep: position control, and no delay before its answers."""
        return {self.kind.mode: self.kind.position_modes[0], self.kind.delay: 0}

    def limit_gripper(self) -> None:
        """Set the gripper's largest torque, which is lost with the power and may be set at any time.

        Source for the registers: Feetech's memory table. That a gripper needs limits at all is LeRobot's experience
        (so_follower.py sets half the torque and half the current); the values are ours.
        """
        self.bus.settle(self.servos["gripper"], self.kind.torque_limit, self._grip[MOST_TORQUE])

    def protect_gripper(self) -> None:
        """Set what the gripper's servo keeps for itself, where that is needed and it has no torque just now."""
        servo = self.servos["gripper"]
        if {register: self.bus.register(servo, register) for register in self._grip} == self._grip:
            return
        if self.bus.register(servo, self.kind.torque):
            log.warning(
                "The gripper of the %s has torque already, so its servo's own protection stays as it is until the arm "
                "is connected without torque; its torque is limited all the same.",
                self.description.name,
            )
            return
        for register, value in self._grip.items():
            self.bus.settle(servo, register, value)

    def mend_servos(self) -> None:
        """Send servos that gave way to a load to where they are now, which ends their overload and moves nothing.

        Users report that it ends with the next goal. One that lost its torque is left alone: it would take it back.
        """
        kind = self.kind
        for servo, answer in self.bus.gather(tuple(self.servos.values()), kind.block).items():
            if answer.raw(kind.error) == 1 << OVERLOAD_BIT and answer.raw(kind.torque):
                self.bus.set_register(servo, kind.goal, answer.raw(kind.position))
