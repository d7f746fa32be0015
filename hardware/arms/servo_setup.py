"""Give a servo its number and its settings, with nothing else on the bus; or set how a whole arm's servos work.

What a servo keeps without power is written only where it is another, and only while the servo has no torque.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hardware.arms.servo_arm import ServoArm, parts
from hardware.arms.servo_bus import ServoBus
from robot.core.errors import SailError

SETTLE_S: Final = 0.1
"""How long a servo may take to answer by another number, or at another rate."""


@dataclass(frozen=True, slots=True)
class Found:
    """Hold by which number and at which rate a servo answers, and what it says of its model."""

    servo: int
    baud_rate: int
    model: int


def only_servo(arm: ServoArm) -> Found:
    """Return the one servo on the bus, at whatever rate it answers; the bus is left open at that rate.

    Raises SailError where none answers, or more than one, or one of another family.
    """
    bus, found = arm.bus, list[Found]()
    for rate in arm.kind.rates:
        bus.open(rate)
        servos, collided = bus.found_ids()
        if collided:
            raise SailError(
                f"More than one servo answers at {rate} baud, or what comes is garbled: connect one at a time, and "
                "check its cable."
            )
        found += [Found(servo, rate, bus.register(servo, arm.kind.model)) for servo in servos]
    if not found:
        raise SailError("No servo answers at any rate: check its cable, and that the adapter has power.")
    if len(found) > 1:
        said = ", ".join(f"{one.servo} at {one.baud_rate} baud" for one in found)
        raise SailError(f"More than one servo answers ({said}): connect one at a time.")
    if found[0].model not in arm.kind.models:
        raise SailError(
            f"The servo says that it is of model {found[0].model}, which is none for a {arm.description.name}."
        )
    bus.open(found[0].baud_rate)
    return found[0]


def settle_servo(arm: ServoArm, found: Found, servo: int) -> list[str]:
    """Give the one servo on the bus its number, settings and rate, and return what was changed, in words.

    Raises SailError where it has torque, or does not answer afterwards.
    """
    bus, kind, changed = arm.bus, arm.kind, list[str]()
    if bus.register(found.servo, kind.torque):
        raise SailError(f"Servo {found.servo} has torque: switch its power off and on, then begin anew.")
    if found.servo != servo:
        _renumber(bus, found.servo, servo)
        changed.append(f"number {found.servo} → {servo}")
    for register, value in arm.wanted(servo, found.model).items():
        before = bus.register(servo, register)
        if bus.settle(servo, register, value):
            changed.append(f"{kind.name_of(register)} {before} → {value}")
    if found.baud_rate != kind.baud_rate:
        _set_rate(bus, servo)
        changed.append(f"{found.baud_rate} → {kind.baud_rate} baud")
    return changed


def settle_modes(arm: ServoArm) -> list[str]:
    """Set the operating mode and direction of every servo of an arm without torque; return what was changed, in words.

    A mode that goes to a position is left as it is. Raises SailError where a servo is missing or has torque.
    """
    kind, bus = arm.kind, arm.bus
    bus.open()
    servos = tuple(parts(arm).values())
    for servo in servos:
        if not bus.ping(servo):
            raise SailError(f"There is no {bus.label(servo)}: check its cable and the power.")
        if bus.register(servo, kind.torque):
            raise SailError(
                f"The {bus.label(servo)} has torque, and without it the arm would fall: put the arm into its rest pose "
                "and switch its power off and on."
            )
    changed = []
    for servo in servos:
        for register, value in arm.wanted(servo, bus.register(servo, kind.model)).items():
            before = bus.register(servo, register)
            if register == kind.mode and before in kind.position_modes:
                continue
            if bus.settle(servo, register, value):
                changed.append(f"{bus.label(servo)}: {kind.name_of(register)} {before} → {value}")
    return changed


def _renumber(bus: ServoBus, old: int, new: int) -> None:
    with _open_to_change(bus, old, new):
        # The answer may come from the old number or the new one: it is asked for afterwards.
        bus.set_blindly(old, bus.kind.identity, new)
        time.sleep(SETTLE_S)
        if not bus.ping(new):
            raise SailError(f"The servo does not answer as {new}: give this command again.")


def _set_rate(bus: ServoBus, servo: int) -> None:
    kind = bus.kind
    with _open_to_change(bus, servo, servo):
        bus.set_blindly(servo, kind.baud, kind.baud_code)
        bus.open()
        time.sleep(SETTLE_S)
        if not bus.ping(servo):
            raise SailError(f"Servo {servo} does not answer at {kind.baud_rate} baud: give this command again.")


@contextlib.contextmanager
def _open_to_change(bus: ServoBus, before: int, after: int) -> Iterator[None]:
    """Take off the lock of what a servo keeps without power, where there is one, and put it on again afterwards."""
    lock = bus.kind.lock
    if lock is not None:
        bus.set_register(before, lock, 0)
    yield
    if lock is not None:
        bus.set_register(after, lock, 1)
