"""Check how firmly a Franka is to follow and what it is to carry, before the arm is told.

Source: libfranka, `Robot::setLoad`: mass in kg, centre from the flange in m, inertia in kg·m²; franky,
`JointImpedanceTracker`: stiffness in N·m/rad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from robot.core.errors import SailError

STIFFNESS: Final = (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
"""N·m/rad, those of the maker's own example of joint impedance control."""
NO_INERTIA: Final = (0.0,) * 9

Load = tuple[float, list[float], list[float]]
"""Mass, centre and inertia, as the package takes them."""


def load(mass_kg: float | None, centre_m: Sequence[float], inertia_kg_m2: Sequence[float]) -> Load | None:
    """Return a payload, or None where no mass is given; raise SailError for what makes no sense."""
    if mass_kg is None:
        return None
    (mass,) = numbers("payload_kg", (mass_kg,), 1, least=0.0)
    inertia = numbers("payload_inertia_kg_m2", inertia_kg_m2, 9)
    rows = np.reshape(inertia, (3, 3))
    if not np.array_equal(rows, rows.T):
        raise SailError(f"A Franka's payload_inertia_kg_m2 must be a symmetric matrix, row by row: got {inertia}.")
    return mass, numbers("payload_centre_m", centre_m, 3), inertia


def numbers(name: str, values: Sequence[float], size: int, least: float = -np.inf) -> list[float]:
    """Return a setting; raise SailError unless it is `size` finite numbers, none below `least`."""
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    if len(found) != size or not all(np.isfinite(number) and number >= least for number in found):
        bound = "" if np.isinf(least) else f", none below {least:g}"
        kind = "a finite number" if size == 1 else f"{size} finite numbers"
        raise SailError(f"A Franka's {name} must be {kind}{bound}: got {values}.")
    return found
