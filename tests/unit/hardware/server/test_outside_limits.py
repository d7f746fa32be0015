"""An arm that stands a little outside its limits is eased back: what the governor sends then reaches it as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardware.server.safety import Governor
from robot.core.joints import JointState
from tests.doubles import franky, ur, xarm_wrapper
from tests.doubles.benches import BENCHES
from tests.doubles.body import Body

BODIES = {
    "franka": lambda: franky._arms["arm"].body,
    "ur": lambda: ur.controllers["127.0.0.1"].body,
    "xarm": lambda: xarm_wrapper._boxes["arm"].body,
}


@pytest.mark.parametrize("side", ["low", "high"])
@pytest.mark.parametrize("name", BODIES)
def test_what_lies_outside_by_a_hundredth_of_the_range_is_neither_clipped_nor_refused(
    name: str, side: str, tmp_path: Path
) -> None:
    for bench in BENCHES[name](tmp_path):
        with bench.installed():
            driver = bench.make()
            driver.connect()
            body: Body = BODIES[name]()
            description = driver.description
            outwards = (-0.01 if side == "low" else 0.01) * (description.high - description.low)
            for share in np.linspace(1.0, 0.0, 20):
                outside = (getattr(description, side) + share * outwards)[:-1]
                if share == 1.0:
                    body.place(outside)
                driver.write(np.append(outside, bench.where()[-1]))
                np.testing.assert_array_equal(body.position, outside)
            driver.close()


@pytest.mark.parametrize("name", BODIES)
def test_the_governor_arms_it_and_its_first_step_reaches_the_arm(name: str, tmp_path: Path) -> None:
    for bench in BENCHES[name](tmp_path):
        with bench.installed():
            driver = bench.make()
            driver.connect()
            description = driver.description
            body: Body = BODIES[name]()
            body.place((description.high + 0.005 * (description.high - description.low))[:-1])
            governor = Governor(description)
            measured = JointState(driver.read().position, 100.0)
            governor.place(measured, afresh=True)
            assert governor.arm(100.0, measured) == ""
            governor.beat(100.0 + governor.period_s)
            setpoint = governor.step(100.0 + governor.period_s, measured)
            driver.write(setpoint.position)
            np.testing.assert_array_equal(body.position, setpoint.position[:-1])
            driver.close()
