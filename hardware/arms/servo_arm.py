"""Drive an arm made of bus servos: what Feetech's and Robotis's packages, which are built alike, have in common.

All servos are read in one exchange and commanded in one. Torque comes on with the first command and not before, and
only after each servo has been told to be where it is, so that nothing jumps.

Without power such an arm falls. On `close` the servos are therefore let go only where the arm lies in its rest pose,
and otherwise go on holding; a warning says so.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.arms.calibration import ServoCalibration
from hardware.arms.limits import checked
from hardware.extras import maker_package, said
from robot.arm import ArmDescription, Joints, JointState
from robot.errors import SailError

log = logging.getLogger(__name__)

TRIES = 2
"""A bus loses a packet now and then; one that loses two in a row is broken."""
AT_REST_RAD = 0.2


@dataclass(frozen=True, slots=True)
class Register:
    """Name a register of a servo: where it begins and how many bytes it has."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class ServoKind:
    """Describe a family of servos: the package that talks to it, its registers and the meaning of their numbers.

    `block` is read in one exchange and holds `position` and `velocity`. `signed` turns the bits of a register of so
    many bytes into a number. `velocity_rad_s` is one unit of the velocity.
    """

    module: str
    extra: str
    protocol: float
    baud_rate: int
    torque: Register
    goal: Register
    block: Register
    position: Register
    velocity: Register
    velocity_rad_s: float
    signed: Callable[[int, int], int]


class ServoArm:
    """Drive an arm of bus servos at a serial `port`, such as /dev/ttyACM0."""

    def __init__(self, port: str, kind: ServoKind, description: ArmDescription, calibration: ServoCalibration) -> None:
        self._where = f"The {description.name} at {port}"
        self._port_name = port
        self._kind = kind
        self._description = description
        self._calibration = calibration
        self._package: Any = None
        self._port: Any = None
        self._packets: Any = None
        self._reader: Any = None
        self._writer: Any = None
        self._has_torque = False
        self._held = False

    @property
    def description(self) -> ArmDescription:
        """Return the joints, with limits inside the calibrated range."""
        return self._description

    def connect(self) -> None:
        """Open the bus and find every servo, moving nothing; raise SailError for what is missing."""
        if self._port is not None:
            return
        kind = self._kind
        package = maker_package(kind.module, kind.extra, f"A {self._description.name}")
        port = package.PortHandler(self._port_name)
        try:
            if not port.setBaudRate(kind.baud_rate):
                raise SailError(f"{self._where} cannot be opened at {kind.baud_rate} baud.")
        except SailError:
            raise
        except Exception as problem:
            raise SailError(
                f"{self._where} cannot be opened ({said(problem)}): check the cable, the port's name, and that you may "
                "use it (on Linux: join the group dialout)."
            ) from problem
        self._package, self._port, self._packets = package, port, package.PacketHandler(kind.protocol)
        try:
            for name, servo in zip(self._calibration.joint_names, self._calibration.ids, strict=True):
                if self._packets.ping(port, servo)[1] != package.COMM_SUCCESS:
                    raise SailError(
                        f"{self._where} has no servo {servo} ({name}): check its cable and the supply's power."
                    )
            self.check_servos()
            self._reader = package.GroupSyncRead(port, self._packets, kind.block.address, kind.block.size)
            self._writer = package.GroupSyncWrite(port, self._packets, kind.goal.address, kind.goal.size)
            for servo in self._calibration.ids:
                self._reader.addParam(servo)
            self.read()
        except BaseException:
            self.close()
            raise

    def check_servos(self) -> None:
        """Raise SailError where a servo is set up so that it would be dangerous; a family of servos may add to it."""

    def read(self) -> JointState:
        """Return where the joints are and how fast; raise SailError where a servo does not answer."""
        position, velocity = self._measured()
        calibration = self._calibration
        return JointState(
            calibration.positions(position),
            time.monotonic(),
            np.asarray(velocity * calibration.direction * self._kind.velocity_rad_s, np.float64),
        )

    def counts(self) -> NDArray[np.int64]:
        """Return what the servos read, int64 (J,), before any calibration; raise SailError where one is silent."""
        return self._measured()[0]

    def write(self, position: Joints) -> None:
        """Command joint positions, (J,), never beyond the calibrated range; the first one turns the torque on."""
        self._connected()
        checked(position, self._description.size, self._description.name)
        if not self._has_torque:
            self._hold_here()
            for servo in self._calibration.ids:
                self.set_register(servo, self._kind.torque, 1)
            self._has_torque = True
        self._command(self._calibration.counts(position))
        self._held = False

    def stop(self) -> None:
        """Hold where the arm is now, with torque; before the first command there is nothing to hold."""
        if self._port is None or not self._has_torque or self._held:
            return
        # Held once: an arm that hangs below its command would sag a little with every stop.
        self._hold_here()
        self._held = True

    def close(self) -> None:
        """Let go of the servos where the arm rests, hold on elsewhere, and close the bus; closing twice is allowed."""
        port, self._port = self._port, None
        if port is None:
            return
        self._port = port
        try:
            if self._has_torque:
                self._let_go_where_safe()
        except SailError as problem:
            log.warning("%s may still be energised: %s", self._where, problem)
        finally:
            self._port = None
            self._reader = self._writer = None
            self._has_torque = self._held = False
            with contextlib.suppress(Exception):
                port.closePort()

    def register(self, servo: int, register: Register) -> int:
        """Return a register of one servo as the servo keeps it; raise SailError where it does not answer."""
        read = getattr(self._packets, f"read{register.size}ByteTxRx")
        for _ in range(TRIES):
            # An error flag beside the value speaks of the servo's state; the value is good all the same.
            value, result, _ = read(self._connected(), servo, register.address)
            if result == self._package.COMM_SUCCESS:
                return int(value)
        raise SailError(f"{self._where}: servo {servo} does not answer ({self._complaint(result, 0)}).")

    def set_register(self, servo: int, register: Register, value: int) -> None:
        """Set a register of one servo; raise SailError where it does not answer or refuses."""
        write = getattr(self._packets, f"write{register.size}ByteTxRx")
        for _ in range(TRIES):
            result, error = write(self._connected(), servo, register.address, value)
            if result == self._package.COMM_SUCCESS and not error:
                return
        raise SailError(f"{self._where}: servo {servo} refuses ({self._complaint(result, error)}).")

    def _connected(self) -> Any:
        if self._port is None:
            raise SailError(f"{self._where} is not connected.")
        return self._port

    def _measured(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return every servo's position and velocity as it reads them, int64 (J,) each."""
        self._connected()
        kind = self._kind
        for _ in range(TRIES):
            try:
                result = self._reader.txRxPacket()
            except Exception as problem:
                raise SailError(f"{self._where} does not answer ({said(problem)}): check its cable.") from problem
            if result == self._package.COMM_SUCCESS:
                break
        else:
            raise SailError(f"{self._where} does not answer ({self._complaint(result, 0)}): check cables and power.")
        columns = []
        for register in (kind.position, kind.velocity):
            raw = [self._reader.getData(servo, register.address, register.size) for servo in self._calibration.ids]
            columns.append(np.array([kind.signed(value, register.size) for value in raw], np.int64))
        return columns[0], columns[1]

    def _command(self, counts: NDArray[np.int64]) -> None:
        size = self._kind.goal.size
        self._writer.clearParam()
        for servo, count in zip(self._calibration.ids, counts.tolist(), strict=True):
            self._writer.addParam(servo, list(int(count).to_bytes(size, "little")))
        try:
            result = self._writer.txPacket()
        except Exception as problem:
            raise SailError(f"{self._where} took no command ({said(problem)}): check its cable.") from problem
        if result != self._package.COMM_SUCCESS:
            raise SailError(f"{self._where} took no command ({self._complaint(result, 0)}).")

    def _hold_here(self) -> None:
        position, _ = self._measured()
        self._command(np.clip(position, self._calibration.low, self._calibration.high))

    def _let_go_where_safe(self) -> None:
        self.stop()
        away = np.abs(self.read().position - self._description.home)[:-1]  # a gripper holds no arm up
        if np.any(away > AT_REST_RAD):
            log.warning(
                "%s goes on holding, because it would fall: it is %.2f rad from its rest pose. Support it, then switch "
                "its power off.",
                self._where,
                away.max(),
            )
            return
        for servo in self._calibration.ids:
            self.set_register(servo, self._kind.torque, 0)

    def _complaint(self, result: int, error: int) -> str:
        words: str = self._packets.getRxPacketError(error) if error else self._packets.getTxRxResult(result)
        return words.partition("] ")[2].rstrip("!. ") or words


def within_calibration(low: Joints, high: Joints, calibration: ServoCalibration) -> tuple[Joints, Joints]:
    """Return the limits, (J,) each, that lie both in the maker's range and in the calibrated one.

    Raises SailError where the two have nothing in common, which says that a zero or a direction is wrong.
    """
    least, most = calibration.range_rad
    low, high = np.maximum(low, least), np.minimum(high, most)
    wrong = [name for name, a, b in zip(calibration.joint_names, low, high, strict=True) if a >= b]
    if wrong:
        raise SailError(
            f"The calibration of {', '.join(wrong)} lies outside the maker's range: its zero or direction is wrong; "
            "calibrate anew."
        )
    return low, high
