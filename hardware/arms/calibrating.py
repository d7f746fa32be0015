"""Find a servo arm's calibration by moving the arm by hand, its torque off.

First the arm is put into its zero pose, then every joint is moved over its whole way. What comes out is the content of
a calibration file (see `hardware.arms.calibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hardware.arms.calibration import COUNTS_PER_TURN, SCHEMA, calibration_of
from robot.errors import SailError

MARGIN: Final = 15
"""Counts, a little over a degree, that a joint's way is kept short of where it was pushed to."""

Counts = NDArray[np.int64]


def blank(arm: str, ids: Mapping[str, int], serial: str = "") -> dict[str, Any]:
    """Return a calibration that stands for none: every servo's whole turn, for reading counts before there is one."""
    row = {"zero": COUNTS_PER_TURN // 2, "direction": 1, "low": 0, "high": COUNTS_PER_TURN - 1}
    joints = {name: {"id": servo, **row} for name, servo in ids.items()}
    return {"schema": SCHEMA, "arm": arm, "serial": serial, "joints": joints}


def measured(
    content: Mapping[str, Any],
    counts: Callable[[], Counts],
    ask: Callable[[str], None],
    is_through: Callable[[], bool],
    directions: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return a calibration's content with zeros and ranges as measured, in the order of the joints of `content`.

    `counts` reads every servo, int64 (J,); `ask` tells a person what to do and returns when it is done; reading goes on
    until `is_through`. `directions`: 1 or −1 where it is not as in `content`. Raises SailError for a joint that was not
    moved, that ran over the servo's own end, or whose zero lies outside its way.
    """
    names = list(content["joints"])
    ask("Put the arm into its zero pose and hold it there.")
    zero = counts()
    ask("Now move every joint over its whole way, slowly, and the gripper from shut to open.")
    low, high, before = zero.copy(), zero.copy(), zero
    while not is_through():
        here = counts()
        for name, count, last in zip(names, here, before, strict=True):
            if abs(int(count) - int(last)) > COUNTS_PER_TURN // 2:
                raise SailError(
                    f"The way of joint {name!r} runs over its servo's end, from {last} to {count}: set the servo's "
                    "middle anew in the middle of the joint's way, then measure again."
                )
        low, high, before = np.minimum(low, here), np.maximum(high, here), here
    rows: dict[str, Any] = {}
    for number, name in enumerate(names):
        if high[number] - low[number] < 4 * MARGIN:
            raise SailError(f"Joint {name!r} was not moved: its count stayed within {low[number]}–{high[number]}.")
        rows[name] = content["joints"][name] | {
            "zero": int(zero[number]),
            "direction": (directions or {}).get(name, content["joints"][name]["direction"]),
            "low": int(low[number] + MARGIN),
            "high": int(high[number] - MARGIN),
        }
    found = {**content, "joints": rows}
    calibration_of(found, names, "just measured")
    return found
