"""Find a servo arm's calibration by moving the arm by hand, its torque off.

The arm is put into its zero pose, then every joint is moved over its whole way; a joint's direction is seen when its
motor moves it a little. What comes out is the content of a calibration file (see `hardware.arms.calibration`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from hardware.arms.calibration import COUNTS_PER_TURN, SCHEMA, Counts, calibration_of
from hardware.arms.servo_arm import ServoArm
from hardware.arms.servo_bus import ServoBus
from robot.core.errors import SailError
from robot.core.joints import ArmDescription

MARGIN: Final = 15
"""Counts, a little over a degree, that a joint's way is kept short of where it was pushed to."""
MIDDLE: Final = COUNTS_PER_TURN // 2
FULL_TURN_RAD: Final = np.deg2rad(350)
"""A joint that may turn by so much has no way that could run over its servo's end."""
NUDGE: Final = 40
"""Counts, 3.5°, that a motor moves a joint by to show its direction, in `NUDGE_S`."""
NUDGE_S: Final = 1.0
NUDGE_STEPS: Final = 20
NUDGE_TORQUE: Final = 0.3
"""Share of its torque that a servo moves a joint with then."""
MOVED: Final = NUDGE // 4
"""Counts that a joint must come by at least to be seen to have moved."""

Show = Callable[[Counts, Counts, Counts], None]
"""Is shown the least counts so far, those now and the greatest, int64 (J,) each."""


def blank(arm: str, ids: Mapping[str, int], serial: str = "") -> dict[str, Any]:
    """Return a calibration that stands for none: every servo's whole turn, for reading counts before there is one."""
    row = {"zero": MIDDLE, "direction": 1, "low": 0, "high": COUNTS_PER_TURN - 1}
    joints = {name: {"id": servo, **row} for name, servo in ids.items()}
    return {"schema": SCHEMA, "arm": arm, "serial": serial, "joints": joints}


def see_that_it_is_limp(arm: ServoArm) -> None:
    """Raise SailError where a servo of a connected arm has torque: the arm could not be moved by hand."""
    if energised := arm.energised():
        raise SailError(
            f"The {energised[0]} has torque, so the arm cannot be moved by hand: put it into its rest pose and switch "
            "its power off and on."
        )


def set_middles(arm: ServoArm) -> None:
    """Have every servo of a limp arm read the middle of its turn where its joint is now, by its own offset.

    Raises SailError for a family whose servos have no such offset, or one that does not read its middle afterwards.
    """
    kind, bus = arm.kind, arm.bus
    if not kind.sets_middle:
        raise SailError(
            f"The servos of a {arm.description.name} keep the middle that they were made with: homing=false."
        )
    for joint, servo in arm.servos.items():
        before = kind.offset_of(bus.register(servo, kind.offset))
        here = kind.signed(bus.register(servo, kind.position), kind.position.size)
        turned = (here + before) % COUNTS_PER_TURN - MIDDLE
        # Limits of the servo's own were those of its middle before.
        bus.settle(servo, kind.least, 0)
        bus.settle(servo, kind.most, COUNTS_PER_TURN - 1)
        bus.settle(servo, kind.offset, kind.offset_bits(max(turned, 1 - MIDDLE)))
        now = bus.register(servo, kind.position)
        if abs(now - MIDDLE) > MARGIN:
            raise SailError(f"The {joint} (servo {servo}) reads {now} and not {MIDDLE} after its offset was set.")


def see_that_it_has_room(description: ArmDescription, zero: Counts, content: Mapping[str, Any]) -> None:
    """Raise SailError where a joint's whole way, from its zero pose on, would run over its servo's end."""
    for number, (joint, row) in enumerate(content["joints"].items()):
        low, high = float(description.low[number]), float(description.high[number])
        if high - low > FULL_TURN_RAD:
            continue
        ends = [
            int(zero[number]) + row["direction"] * round(end * COUNTS_PER_TURN / (2 * np.pi)) for end in (low, high)
        ]
        if min(ends) < 0 or max(ends) >= COUNTS_PER_TURN:
            raise SailError(
                f"The {joint} reads {zero[number]} in the zero pose, so its way would run over its servo's end: set "
                "the servos' middles with homing=true, or mount the joint anew in the middle of its servo's turn."
            )


def swept(
    names: Sequence[str], counts: Callable[[], Counts], is_through: Callable[[], bool], show: Show
) -> tuple[Counts, Counts]:
    """Return the least and the greatest count of every joint, int64 (J,) each, while a person moves the arm about.

    `counts` reads every servo, int64 (J,). Raises SailError for a joint that ran over its servo's end, or was not
    moved.
    """
    low = high = before = counts()
    while not is_through():
        here = counts()
        for name, count, last in zip(names, here, before, strict=True):
            if abs(int(count) - int(last)) > MIDDLE:
                raise SailError(
                    f"The way of joint {name!r} runs over its servo's end, from {last} to {count}: set the servos' "
                    "middles with homing=true, or mount the joint anew in the middle of its servo's turn."
                )
        low, high, before = np.minimum(low, here), np.maximum(high, here), here
        show(low, here, high)
    for name, least, most in zip(names, low, high, strict=True):
        if most - least < 4 * MARGIN:
            raise SailError(f"Joint {name!r} was not moved: its count stayed within {least}–{most}.")
    return low, high


def middle_zero(description: ArmDescription, joint: int, direction: int, low: int, high: int) -> int:
    """Return a joint's zero from its way: its middle is the middle of the maker's range, a gripper's zero its shut end.

    The makers of the SO-101 put the zero in the middle of each joint's range ("new calibration"), and so does LeRobot.
    """
    if description.joint_names[joint] == "gripper":
        return low if direction > 0 else high
    makers = (description.low[joint] + description.high[joint]) / 2
    return round((low + high) / 2 - direction * float(makers) * COUNTS_PER_TURN / (2 * np.pi))


def composed(
    content: Mapping[str, Any], zero: Sequence[int] | Counts, low: Counts, high: Counts, directions: Mapping[str, int]
) -> dict[str, Any]:
    """Return a calibration's content with zeros, ranges and directions as found, in the order of its joints.

    Raises SailError for what makes no calibration.
    """
    names = list(content["joints"])
    rows = {
        name: content["joints"][name]
        | {
            "zero": int(zero[number]),
            "direction": directions.get(name, content["joints"][name]["direction"]),
            "low": int(low[number]) + MARGIN,
            "high": int(high[number]) - MARGIN,
        }
        for number, name in enumerate(names)
    }
    found = {**content, "joints": rows}
    calibration_of(found, names, "just measured")
    return found


def nudged(bus: ServoBus, servo: int, low: int, high: int, pause: Callable[[float], None] = time.sleep) -> int:
    """Let a limp joint's motor move it a few degrees and back, slowly and weakly; return by how much it came.

    It goes the way in which the count grows, or the other where `high` is too near; where neither has room, it stays.
    The joint is limp again afterwards, whatever happens.
    """
    kind = bus.kind
    here = kind.signed(bus.register(servo, kind.position), kind.position.size)
    way = NUDGE if here + NUDGE <= high else -NUDGE
    if not low <= here <= high or not low <= here + way <= high:
        return 0
    strength = bus.register(servo, kind.torque_limit)
    bus.settle(servo, kind.torque_limit, round(NUDGE_TORQUE * kind.full_torque))
    try:
        bus.set_register(servo, kind.goal, here)
        bus.set_register(servo, kind.torque, 1)
        moved = 0
        for step in (*range(1, NUDGE_STEPS + 1), *range(NUDGE_STEPS, -1, -1)):
            bus.set_register(servo, kind.goal, here + round(way * step / NUDGE_STEPS))
            pause(NUDGE_S / NUDGE_STEPS)
            if step == NUDGE_STEPS:
                moved = kind.signed(bus.register(servo, kind.position), kind.position.size) - here
        return moved
    finally:
        bus.set_register(servo, kind.torque, 0)
        bus.settle(servo, kind.torque_limit, strength)
