"""Talk to bus servos by Feetech's or Robotis's package, which are built alike.

A package tells a lost answer by a code, raises where the cable is pulled out, and after that says that its port is in
use for good: the port is then given up, and opened anew when somebody asks for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hardware.arms.servo_kind import Register, ServoKind
from hardware.extras import maker_package, said
from robot.core.errors import SailError

TRIES: Final = 2
"""A bus loses a packet now and then; one that loses two in a row is broken."""
LATE_BYTES: Final = 4096
"""More than can have come in late."""


class SilentError(SailError):
    """Say that a servo, or the whole bus, does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold a row of a servo's registers, `data` from the address `start` on, and the error byte that came with it."""

    servo: int
    start: int
    data: bytes
    error: int

    def raw(self, register: Register) -> int:
        """Return the bits of a register."""
        begin = register.address - self.start
        return int.from_bytes(self.data[begin : begin + register.size], "little")


class ServoBus:
    """Hold the servos at one serial port. `where` begins a sentence; `labels` says what servos are called in one.

    `alerts` maps each servo to what its last answer said of its state, 0 where all is well.
    """

    def __init__(self, port: str, kind: ServoKind, where: str, labels: Mapping[int, str] | None = None) -> None:
        self.kind = kind
        self.alerts: dict[int, int] = {}
        self._port_name, self._where, self._labels = port, where, labels or {}
        self._package: Any = None
        self._port: Any = None
        self._packets: Any = None
        self._readers: dict[tuple[tuple[int, ...], Register], Any] = {}
        self._writers: dict[Register, Any] = {}
        self._spoilt = False

    @property
    def is_open(self) -> bool:
        """Return whether the port is open, and its cable was there when it was last used."""
        return self._port is not None

    def open(self, baud_rate: int | None = None) -> None:
        """Open the port; raise SailError where it cannot be, or the package is missing."""
        kind = self.kind
        rate = baud_rate or kind.baud_rate
        self.close()
        package = maker_package(kind.module, kind.extra, self._where)
        port = package.PortHandler(self._port_name)
        try:
            opened = port.setBaudRate(rate)
        except Exception as problem:
            raise SailError(
                f"{self._where} cannot be opened ({said(problem)}): check the cable, the port's name, and that you may "
                "use it (on Linux: join the group dialout)."
            ) from problem
        if not opened:
            raise SailError(f"{self._where} cannot be opened at {rate} baud.")
        self._package, self._port, self._packets = package, port, package.PacketHandler(kind.protocol)
        self._readers, self._writers, self.alerts, self._spoilt = {}, {}, {}, False

    def close(self) -> None:
        """Close the port; closing twice is allowed."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(Exception):
                port.closePort()

    def label(self, servo: int) -> str:
        """Return what a servo is called: "gripper (servo 6)", or "servo 6"."""
        name = self._labels.get(servo, "")
        return f"{name} (servo {servo})" if name else f"servo {servo}"

    def ping(self, servo: int) -> bool:
        """Return whether a servo answers."""
        for _ in range(TRIES):
            self._empty_if_spoilt()
            _, result, _ = self._guarded(lambda: self._packets.ping(self._port, servo))
            self._spoilt = result != self._package.COMM_SUCCESS
            if not self._spoilt:
                return True
        return False

    def found_ids(self) -> tuple[list[int], bool]:
        """Return the ids that answer when all are asked at once, and whether answers collided."""
        found: tuple[list[int], bool] = self._guarded(
            lambda: self.kind.found_ids(self._package, self._port, self._packets)
        )
        return found

    def row(self, servo: int, register: Register) -> Answer:
        """Return a row of one servo's registers; raise SilentError where it does not answer."""

        def ask() -> tuple[list[int], int, int]:
            data, result, error = self._packets.readTxRx(self._port, servo, register.address, register.size)
            # What came too late for somebody else's question has another length.
            if result == self._package.COMM_SUCCESS and len(data) != register.size:
                result = self._package.COMM_RX_CORRUPT
            return data, result, error

        data, error = self._asked(ask, servo)
        return Answer(servo, register.address, bytes(data), error)

    def register(self, servo: int, register: Register) -> int:
        """Return the bits of one servo's register; raise SilentError where it does not answer."""
        return self.row(servo, register).raw(register)

    def set_register(self, servo: int, register: Register, value: int) -> None:
        """Set a register of one servo; raise SilentError where it does not answer, SailError where it refuses."""
        data = list(value.to_bytes(register.size, "little"))

        def ask() -> tuple[None, int, int]:
            return None, *self._packets.writeTxRx(self._port, servo, register.address, register.size, data)

        _, error = self._asked(ask, servo)
        if error & self.kind.refusal:
            why = self._words(self._packets.getRxPacketError(error & self.kind.refusal))
            raise SailError(
                f"{self._where}: {self.label(servo)} refuses {value} as {self.kind.name_of(register)} ({why})."
            )

    def set_blindly(self, servo: int, register: Register, value: int) -> None:
        """Set a register whose answer would come from elsewhere, such as a servo's id; raise where it is not sent."""
        data = list(value.to_bytes(register.size, "little"))
        result = self._guarded(
            lambda: self._packets.writeTxOnly(self._port, servo, register.address, register.size, data)
        )
        if result != self._package.COMM_SUCCESS:
            raise SilentError(f"{self._where} took nothing ({self._complaint(result)}): check its cable.")

    def settle(self, servo: int, register: Register, value: int) -> bool:
        """Have a register hold a value, writing it only where it holds another, and return whether that was so.

        What outlives the power is written only to a servo without torque. Raises SailError where the servo has torque,
        or does not keep the value.
        """
        if self.register(servo, register) == value:
            return False
        if register.address < self.kind.ram and self.register(servo, self.kind.torque):
            raise SailError(
                f"{self._where}: {self.label(servo)} has torque, so its {self.kind.name_of(register)} stays as it is: "
                "put the arm into its rest pose and switch its power off and on."
            )
        with self._unlocked(servo, register):
            self.set_register(servo, register, value)
        if (kept := self.register(servo, register)) != value:
            raise SailError(
                f"{self._where}: {self.label(servo)} keeps {kept} as {self.kind.name_of(register)} and not {value}."
            )
        return True

    def gather(self, servos: Sequence[int], register: Register) -> dict[int, Answer]:
        """Return the same row of registers of several servos, read in one exchange.

        Raises SilentError where one of them does not answer.
        """
        reader = self._reader(tuple(servos), register)
        answers: dict[int, Answer]
        result = 0
        for _ in range(TRIES):
            self._empty_if_spoilt()
            answers, result = self._guarded(lambda: self._heard(reader, servos, register))
            self._spoilt = result != self._package.COMM_SUCCESS
            if not self._spoilt:
                for answer in answers.values():
                    self.alerts[answer.servo] = answer.error & self.kind.alert
                return answers
        raise SilentError(f"{self._where} does not answer ({self._complaint(result)}): check cables and power.")

    def command(self, register: Register, values: Mapping[int, int]) -> None:
        """Write a register of several servos at once, which nobody answers; raise SilentError where nothing is sent."""
        writer = self._writer(register)
        writer.clearParam()
        for servo, value in values.items():
            writer.addParam(servo, list(value.to_bytes(register.size, "little")))
        result = self._guarded(writer.txPacket)
        if result != self._package.COMM_SUCCESS:
            raise SilentError(f"{self._where} took no command ({self._complaint(result)}): check its cable.")

    def reboot(self, servo: int) -> None:
        """Restart a servo, which takes its torque; raise SilentError where it does not answer."""

        def ask() -> tuple[None, int, int]:
            return None, *self._packets.reboot(self._port, servo)

        self._asked(ask, servo)

    def _asked(self, ask: Callable[[], tuple[Any, int, int]], servo: int) -> tuple[Any, int]:
        """Return what one servo answers and its error byte, asking again where that gets lost."""
        result = 0
        for _ in range(TRIES):
            self._empty_if_spoilt()
            value, result, error = self._guarded(ask)
            self._spoilt = result != self._package.COMM_SUCCESS
            if not self._spoilt:
                self.alerts[servo] = error & self.kind.alert
                return value, error
        raise SilentError(f"{self._where}: {self.label(servo)} does not answer ({self._complaint(result)}).")

    def _heard(self, reader: Any, servos: Sequence[int], register: Register) -> tuple[dict[int, Answer], int]:
        """Ask several servos at once and return their answers, with the code of the first that is missing.

        The package's own `GroupSyncRead.rxPacket` would drop the error bytes.
        """
        answers: dict[int, Answer] = {}
        result = reader.txPacket()
        for servo in servos:
            if result != self._package.COMM_SUCCESS:
                break
            data, result, error = self._packets.readRx(self._port, servo, register.size)
            if result == self._package.COMM_SUCCESS and len(data) != register.size:
                result = self._package.COMM_RX_CORRUPT
            answers[servo] = Answer(servo, register.address, bytes(data), error)
        return answers, result

    def _guarded(self, ask: Callable[[], Any]) -> Any:
        """Return what a call of the package returns; where it raises, give the port up and raise SilentError."""
        self._see_that_it_is_open()
        try:
            return ask()
        except Exception as problem:
            self.close()
            raise SilentError(f"{self._where} is not to be reached ({said(problem)}): check its cable.") from problem

    def _see_that_it_is_open(self) -> None:
        if self._port is None:
            raise SilentError(f"{self._where} is not to be reached any more: check its cable.")

    def _empty_if_spoilt(self) -> None:
        """Take from the port what came in late, so that it is not taken for the answer to the next question."""
        if self._spoilt:
            self._guarded(lambda: self._port.readPort(LATE_BYTES))

    @contextlib.contextmanager
    def _unlocked(self, servo: int, register: Register) -> Iterator[None]:
        lock = self.kind.lock
        if lock is None or register.address >= self.kind.ram:
            yield
            return
        self.set_register(servo, lock, 0)
        try:
            yield
        finally:
            self.set_register(servo, lock, 1)

    def _reader(self, servos: tuple[int, ...], register: Register) -> Any:
        self._see_that_it_is_open()
        if (servos, register) not in self._readers:
            reader = self._package.GroupSyncRead(self._port, self._packets, register.address, register.size)
            for servo in servos:
                reader.addParam(servo)
            self._readers[servos, register] = reader
        return self._readers[servos, register]

    def _writer(self, register: Register) -> Any:
        self._see_that_it_is_open()
        if register not in self._writers:
            self._writers[register] = self._package.GroupSyncWrite(
                self._port, self._packets, register.address, register.size
            )
        return self._writers[register]

    def _complaint(self, result: int) -> str:
        return self._words(self._packets.getTxRxResult(result))

    @staticmethod
    def _words(text: str) -> str:
        """Return what a package says, without the name of what says it."""
        return text.partition("] ")[2].rstrip("!. ") or text or "no reason is given"
