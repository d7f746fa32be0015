"""Describe a family of bus servos: its package, its registers, what their numbers mean, and how long talking takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from robot.core.errors import SailError

BITS_A_BYTE: Final = 10
"""On the wire: eight, and a start and a stop bit."""
TURNAROUND_S: Final = 0.001
"""What a USB adapter takes to hand on an answer, at its best: a frame of USB, or a latency timer of 1 ms."""
SHARE_OF_PERIOD: Final = 0.8
"""How much of a servo period the bus may be busy; the rest is the governor's, and a lost packet's."""


@dataclass(frozen=True, slots=True)
class Register:
    """Name a register of a servo, or several in a row: where it begins and how many bytes it has."""

    address: int
    size: int

    def __contains__(self, other: Register) -> bool:
        end = self.address + self.size
        return self.address <= other.address and other.address + other.size <= end


def spanning(*registers: Register) -> Register:
    """Return the row of registers from the first to the last of those given."""
    first = min(register.address for register in registers)
    return Register(first, max(register.address + register.size for register in registers) - first)


@dataclass(frozen=True, slots=True)
class ServoKind:
    """Describe a family of servos.

    `models` are the numbers by which its servos say what they are; `baud_code` stands for `baud_rate`, and `rates` are
    those that a servo may be found at.

    `block` is read in one exchange every period and holds `position` and `velocity`. Registers below `ram` outlive the
    power and are worn by writing; where there is a `lock`, they are kept only while it is off. `least` and `most` are
    the servo's own position limits. `signed` turns the bits of a register of so many bytes into a number. `offset_of`
    turns those of the offset into one and `offset_bits` back; `sets_middle`: whether it may move the middle of a turn
    to anywhere. `velocity_rad_s` is one unit of the velocity, `full_torque` all of a
    `torque_limit`, which is lost with the power. `error` holds a bit for each of `troubles`; of the error byte that
    comes with every answer, `alert` are the bits that say so too, and `refusal` those that say that an instruction was
    not carried out. `modes` says what the operating modes are called; those of `position_modes` go to a position.
    `names` says what registers are called in a sentence.
    `request_bytes` and `reply_bytes` are the smallest packet with an address and a size in it and the smallest answer.
    `found_ids` asks all servos at once and returns the ids that answered, and whether answers collided.
    """

    module: str
    extra: str
    protocol: float
    baud_rate: int
    baud_code: int
    rates: tuple[int, ...]
    ram: int
    models: Collection[int]
    model: Register
    identity: Register
    baud: Register
    delay: Register
    mode: Register
    offset: Register
    least: Register
    most: Register
    torque: Register
    goal: Register
    block: Register
    position: Register
    velocity: Register
    error: Register
    torque_limit: Register
    full_torque: int
    lock: Register | None
    velocity_rad_s: float
    signed: Callable[[int, int], int]
    offset_of: Callable[[int], int]
    offset_bits: Callable[[int], int]
    sets_middle: bool
    troubles: Mapping[int, str]
    alert: int
    refusal: int
    modes: Mapping[int, str]
    position_modes: tuple[int, ...]
    names: Mapping[Register, str]
    request_bytes: int
    reply_bytes: int
    found_ids: Callable[[Any, Any, Any], tuple[list[int], bool]]

    @property
    def vital(self) -> Register:
        """Return the row of registers that says whether a servo has torque and is well."""
        return spanning(self.torque, self.error)

    @property
    def tells_all(self) -> bool:
        """Return whether what is read of every servo in every period says that too."""
        return self.vital in self.block

    def trouble(self, bits: int) -> str:
        """Return what the bits of an error register say, such as "overload and overheating"."""
        words = [self.troubles.get(bit, f"an error of bit {bit}") for bit in range(8) if bits >> bit & 1]
        return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)

    def mode_of(self, number: int) -> str:
        """Return an operating mode in words, such as "3 (step)"."""
        return f"{number} ({self.modes[number]})" if number in self.modes else str(number)

    def name_of(self, register: Register) -> str:
        """Return what a register is called in a sentence."""
        return self.names.get(register, f"register {register.address}")

    def round_bytes(self, servos: int, looked_at: int = 0) -> int:
        """Return the bytes of a period: every servo read, so many looked at by themselves, every servo commanded."""
        read = self.request_bytes + servos + servos * (self.reply_bytes + self.block.size)
        look = looked_at * (self.request_bytes + self.reply_bytes + self.vital.size)
        return read + look + self.request_bytes + servos * (1 + self.goal.size)

    def round_s(self, servos: int, looked_at: int = 0) -> float:
        """Return how long a period's talk takes in s, at the servos' rate and with an adapter at its best."""
        on_the_wire_s = self.round_bytes(servos, looked_at) * BITS_A_BYTE / self.baud_rate
        return on_the_wire_s + (1 + looked_at) * TURNAROUND_S

    def check_rate(self, rate_hz: float, servos: int, looked_at: int, arm: str) -> None:
        """Raise SailError where the bus cannot be talked to so many times a second."""
        busy_s = self.round_s(servos, looked_at)
        if not 0 < rate_hz * busy_s <= SHARE_OF_PERIOD:
            raise SailError(
                f"The bus of the {arm} is busy for {1e3 * busy_s:.1f} ms a round at {self.baud_rate} baud and cannot "
                f"be talked to {rate_hz:g} times a second: serve the arm with safety.servo_hz=100."
            )
