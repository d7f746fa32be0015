"""The bus of servos that the doubles of Feetech's and Robotis's packages talk to.

What a call returns, and what it leaves behind where it fails, is that of the packages' own source (feetech-servo-sdk
1.0.0, dynamixel-sdk 4.1.0): a lost answer is a code and no exception; a cable that is pulled out raises from the serial
port, and the port then counts as in use for good; an answer that comes too late stays in the port's buffer, which
Feetech's package never empties. How a servo itself behaves is said in the double of each package.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UNPLUGGED = "write failed: [Errno 5] Input/output error"
CLOSED = "Attempting to use a port that is not open"
BROADCAST = 254


@dataclass(frozen=True)
class Layout:
    """Name a family's registers, as (address, size) or by address alone; registers below `ram` outlive the power.

    `word` is how many bytes an address has in a packet; `request` and `reply` are the bytes of the smallest packet with an
    address and a size in it, and of the smallest answer. `rates` maps a baud code to a rate.
    """

    identity: int
    baud: int
    mode: int
    torque: int
    goal: tuple[int, int]
    position: tuple[int, int]
    velocity: tuple[int, int]
    error: int
    least: tuple[int, int]
    most: tuple[int, int]
    offset: tuple[int, int]
    model: tuple[int, int]
    ram: int
    word: int
    request: int
    reply: int
    rates: dict[int, int]


@dataclass
class Bus:
    """Hold servos as registers, 256 bytes each. A servo with torque moves `share` of the way to its goal.

    `sag` is how far below its goal a loaded servo hangs. `drops` is how many exchanges get lost, one by one, and `late`
    how many are answered after the reader gave up. `reachable`: whether the adapter is plugged in; `powered`: whether
    the servos are. `refuses` names a servo that carries out no instruction. `burns` counts writes to what outlives the
    power, `hot` those of them to a servo with torque; `sent` and `heard` count bytes, `exchanges` what was answered.
    """

    layout: Layout
    chain: list[bytearray] = field(default_factory=list)
    share: float = 1.0
    sag: int = 0
    drops: int = 0
    late: int = 0
    unheard: int = 0
    reachable: bool = True
    powered: bool = True
    commands: int = 0
    refuses: int | None = None
    burns: int = 0
    hot: int = 0
    sent: int = 0
    heard: int = 0
    exchanges: int = 0
    written: list[tuple[int, int, int]] = field(default_factory=list)
    blocked: set[int] = field(default_factory=set)

    # The hands on the bench.

    @property
    def servos(self) -> dict[int, bytearray]:
        return {servo[self.layout.identity]: servo for servo in self.chain}

    def add(self, servo: int, count: int, baud: int | None = None) -> bytearray:
        layout = self.layout
        code = next(key for key, rate in layout.rates.items() if rate == (baud or 1_000_000))
        self.chain.append(bytearray(256))
        self.chain[-1][layout.identity], self.chain[-1][layout.baud] = servo, code
        self.equip(self.chain[-1])
        self.put(self.chain[-1], layout.position, count)
        self.put(self.chain[-1], layout.goal, count)
        return self.chain[-1]

    def remove(self, servo: int) -> None:
        self.chain.remove(self.servos[servo])

    def get(self, servo: int, register: tuple[int, int]) -> int:
        address, size = register
        return int.from_bytes(self.servos[servo][address : address + size], "little")

    def set(self, servo: int, register: tuple[int, int], value: int) -> None:
        """Set a register behind everybody's back."""
        self.put(self.servos[servo], register, value)

    @staticmethod
    def put(memory: bytearray, register: tuple[int, int], value: int) -> None:
        address, size = register
        memory[address : address + size] = int(value).to_bytes(size, "little", signed=value < 0)

    def place(self, servo: int, count: int) -> None:
        """Move a joint by hand."""
        self.set(servo, self.layout.position, count)

    def cut(self, servo: int) -> None:
        """Take a servo's torque away, as another program would."""
        self.servos[servo][self.layout.torque] = 0

    def fail(self, servo: int, bits: int, cuts: bool = True) -> None:
        """Let a servo be in error, and lose its torque where that is what it does about it."""
        self.servos[servo][self.layout.error] = bits
        if cuts:
            self.cut(servo)

    def mend(self, servo: int) -> None:
        self.servos[servo][self.layout.error] = 0

    def settle(self, servo: int) -> None:
        """Let time pass for a servo."""
        self.move(self.servos[servo])

    def energised(self) -> list[int]:
        return [number for number, memory in self.servos.items() if memory[self.layout.torque]]

    # What a family has of its own.

    def equip(self, memory: bytearray) -> None:
        """Fill in what a servo comes with."""

    def take(self, memory: bytearray, address: int, data: bytes) -> int:
        """Carry out a write and return the instruction's error number."""
        raise NotImplementedError

    def error_byte(self, memory: bytearray) -> int:
        """Return what every answer of a servo says of its state."""
        raise NotImplementedError

    def aim(self, memory: bytearray) -> int:
        """Return where a servo wants to go, which may be another place than its goal."""
        return self.number(memory, self.layout.goal)

    def addressed(self, servo: int) -> list[bytearray]:
        """Return the servos that carry out a write to an id."""
        return self.answering(servo)

    # What the doubles do with it.

    @staticmethod
    def number(memory: bytearray, register: tuple[int, int]) -> int:
        address, size = register
        return int.from_bytes(memory[address : address + size], "little")

    def answering(self, servo: int, rate: int | None = None) -> list[bytearray]:
        """Return the servos with an id that are set to the rate."""
        if not self.powered:
            return []
        layout = self.layout
        return [
            memory
            for memory in self.chain
            if memory[layout.identity] == servo and (rate is None or layout.rates.get(memory[layout.baud]) == rate)
        ]

    def move(self, memory: bytearray) -> None:
        layout = self.layout
        if memory[layout.torque] and memory[layout.identity] not in self.blocked:
            here, goal = self.number(memory, layout.position), self.aim(memory) - self.sag
            self.put(memory, layout.position, round(here + self.share * (goal - here)))

    def write(self, memory: bytearray, address: int, data: bytes) -> int:
        layout = self.layout
        identity = memory[layout.identity]
        if self.refuses == identity:
            return 1
        if address < layout.ram:
            self.burns += 1
            self.hot += bool(memory[layout.torque])
        self.written.append((identity, address, int.from_bytes(data, "little")))
        error = self.take(memory, address, data)
        if not error and address in (layout.torque, layout.goal[0]):
            self.move(memory)
        return error


Packet = tuple[int, int, bytes]
"""Who answers, its error byte and its data."""


def make_port(buses: dict[str, Bus], rates: tuple[int, ...], empties: bool) -> type:
    """Return a package's PortHandler; `empties`: whether each request first empties the buffer of what came late."""

    class PortHandler:
        def __init__(self, port_name):
            self.is_open = False
            self.baudrate = 1_000_000
            self.is_using = False
            self.port_name = port_name
            self._inbox = []
            self._empties = empties

        def setBaudRate(self, baudrate):
            if baudrate not in rates:
                return False
            if self.port_name not in buses:
                raise OSError(f"[Errno 2] could not open port {self.port_name}: No such file or directory")
            self.baudrate = baudrate
            self.is_open = True
            return True

        def closePort(self):
            self.is_open = False

        def readPort(self, length):
            self._bus  # noqa: B018 – raises where the port is closed or gone
            self._inbox.clear()
            return b""

        def setPacketTimeoutMillis(self, msec):
            pass

        @property
        def _bus(self):
            if not self.is_open:
                raise OSError(CLOSED)
            bus = buses[self.port_name]
            if not bus.reachable:
                raise OSError(UNPLUGGED)
            return bus

    return PortHandler


class Handler:
    """What both packages' packet handlers do alike; a double's public methods call these."""

    _SUCCESS, _BUSY, _NOT_AVAILABLE, _TIMEOUT, _CORRUPT = 0, 0, 0, 0, 0

    def _send(self, port, more=0, words=2):
        """Send a packet with so many words of address and size, and so many bytes more.

        What raises here leaves the port in use, as the packages do.
        """
        if port.is_using:
            return self._BUSY
        port.is_using = True
        bus = port._bus
        if port._empties:
            port._inbox.clear()
        bus.sent += bus.layout.request + (words - 2) * bus.layout.word + more
        return self._SUCCESS

    def _answer(self, port, packets):
        """Let servos answer, unless the exchange gets lost; those that come late are there for the next reader."""
        bus = port._bus
        bus.exchanges += 1
        if bus.drops:
            bus.drops -= 1
            return
        if bus.late:
            bus.late -= 1
            port._late = list(packets)
            return
        port._inbox.extend(packets)

    def _receive(self, port, servo):
        """Return the next answer of a servo, passing over those of others."""
        port.is_using = False
        while port._inbox:
            packet = port._inbox.pop(0)
            if packet is None:
                return 0, b"", self._CORRUPT
            if packet[0] == servo:
                port._bus.heard += port._bus.layout.reply + len(packet[2])
                return packet[1], packet[2], self._SUCCESS
        port._inbox.extend(getattr(port, "_late", []))
        port._late = []
        return 0, b"", self._TIMEOUT

    def _packets(self, port, servo, data_of):
        """Return the answers to a request: one a servo, garbled where two have the same id."""
        found = port._bus.answering(servo, port.baudrate)
        if len(found) > 1:
            return [None]
        return [(servo, port._bus.error_byte(memory), data_of(memory)) for memory in found]

    def _read(self, port, servo, address, size):
        if servo >= BROADCAST:
            return b"", self._NOT_AVAILABLE, 0
        result = self._send(port)
        if result != self._SUCCESS:
            return b"", result, 0
        self._answer(port, self._packets(port, servo, lambda memory: bytes(memory[address : address + size])))
        error, data, result = self._receive(port, servo)
        return data, result, error

    def _number(self, port, servo, address, size):
        data, result, error = self._read(port, servo, address, size)
        return (int.from_bytes(data[:size], "little") if result == self._SUCCESS else 0), result, error

    def _write(self, port, servo, address, data):
        result = self._send(port, len(data), words=1)
        if result != self._SUCCESS:
            return result, 0
        bus = port._bus
        lost = bool(bus.drops)
        errors = {}
        if not lost:
            for memory in bus.addressed(servo):
                if bus.layout.rates.get(memory[bus.layout.baud]) == port.baudrate:
                    errors[id(memory)] = bus.write(memory, address, bytes(data))
        number = next(iter(errors.values()), 0)
        # The answer carries what the instruction met beside what the servo says of its state.
        self._answer(
            port,
            [packet and (packet[0], packet[1] | number, b"") for packet in self._packets(port, servo, lambda _: b"")],
        )
        error, _, result = self._receive(port, servo)
        return result, error

    def _write_blindly(self, port, servo, address, data):
        result = self._send(port, len(data), words=1)
        port.is_using = False
        if result == self._SUCCESS and not port._bus.drops:
            for memory in port._bus.addressed(servo):
                if port._bus.layout.rates.get(memory[port._bus.layout.baud]) == port.baudrate:
                    port._bus.write(memory, address, bytes(data))
        return result

    def _sync_request(self, port, servos, address, size):
        """Ask several servos for their registers at once."""
        result = self._send(port, len(servos))
        if result == self._SUCCESS:
            answers = [
                packet
                for servo in servos
                for packet in self._packets(port, servo, lambda memory: bytes(memory[address : address + size]))
            ]
            self._answer(port, answers)
        return result

    def _sync_write(self, port, address, data):
        """Write several servos' registers at once; nobody answers."""
        size = sum(1 + len(values) for values in data.values())
        result = self._send(port, size)
        port.is_using = False
        if result != self._SUCCESS:
            return result
        bus = port._bus
        bus.commands += 1
        if bus.unheard:
            bus.unheard -= 1
            return result
        for servo, values in data.items():
            for memory in bus.addressed(servo) if bus.powered else []:
                bus.write(memory, address, bytes(values))
        return result
