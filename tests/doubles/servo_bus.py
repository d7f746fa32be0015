"""The bus of servos that the doubles of Feetech's and Robotis's packages talk to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Layout:
    torque: int
    goal: tuple[int, int]
    position: tuple[int, int]
    velocity: tuple[int, int]


@dataclass
class Bus:
    """Hold servos as registers: id → 256 bytes. A servo with torque moves `share` of the way to its goal.

    `sag` is how far below its goal a loaded servo hangs. `drops` is how many exchanges get lost, one by one.
    """

    layout: Layout
    servos: dict[int, bytearray] = field(default_factory=dict)
    share: float = 1.0
    sag: int = 0
    drops: int = 0
    reachable: bool = True
    commands: int = 0
    refuses: int | None = None

    def add(self, servo: int, count: int) -> None:
        self.servos[servo] = bytearray(256)
        self.set(servo, self.layout.position, count)

    def get(self, servo: int, register: tuple[int, int]) -> int:
        address, size = register
        return int.from_bytes(self.servos[servo][address : address + size], "little")

    def set(self, servo: int, register: tuple[int, int], value: int) -> None:
        address, size = register
        self.servos[servo][address : address + size] = int(value).to_bytes(size, "little")
        if address in (self.layout.torque, self.layout.goal[0]):
            self.settle(servo)

    def settle(self, servo: int) -> None:
        if self.servos[servo][self.layout.torque]:
            here, goal = self.get(servo, self.layout.position), self.get(servo, self.layout.goal) - self.sag
            self.set(servo, self.layout.position, round(here + self.share * (goal - here)))

    def answers(self) -> bool:
        if self.drops:
            self.drops -= 1
            return False
        return self.reachable


def make_port(buses: dict[str, Bus]) -> type:
    class PortHandler:
        def __init__(self, port_name):
            self._name = port_name
            self._open = False

        def setBaudRate(self, baudrate):
            if self._name not in buses:
                raise OSError(f"[Errno 2] could not open port {self._name}: No such file or directory")
            self._open = True
            return baudrate == 1_000_000

        def closePort(self):
            self._open = False

        @property
        def _bus(self):
            assert self._open, "the port is closed"
            return buses[self._name]

    return PortHandler
