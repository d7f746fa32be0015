"""A served arm that somebody stops by other means: the server is in FAULT at once, and does not undo it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from hardware.clocks import now
from hardware.safety import State
from hardware.server import ArmServer
from tests.doubles.benches import BENCHES
from tests.unit.hardware.serving import PATIENT, armed, until


@pytest.mark.parametrize("name", ["franka", "ur", "xarm"])
def test_a_stop_given_elsewhere_is_not_undone_by_the_way_to_brake(name: str, tmp_path: Path) -> None:
    for bench in BENCHES[name](tmp_path):
        with bench.installed():
            driver = bench.make()
            with ArmServer(driver, port=0, settings=PATIENT) as server, armed(server) as client:
                times_s = np.linspace(0.1, 3.0, 30)
                way = np.repeat(bench.where()[None], 30, axis=0)
                way[:, 0] += 0.02 * times_s
                client.submit(now() + times_s, way)
                client.wait(lambda report: report.state is State.RUNNING, 20, "run")
                until(lambda bench=bench: bench.commands() > 5)  # it has taken control
                bench.halt_elsewhere()
                until(lambda: server.state[0] is State.FAULT)
                assert "look" in server.state[1]
                stopped, control, commands = bench.where(), bench.control(), bench.commands()
                time.sleep(0.3)  # some 75 periods, in which the governor brakes
                assert (bench.control(), bench.commands()) == (control, commands)
                bench.release_elsewhere()
                control = bench.control()
                time.sleep(0.2)
                bench.settle()
                np.testing.assert_array_equal(bench.where(), stopped)
                assert (bench.control(), bench.commands()) == (control, commands)
