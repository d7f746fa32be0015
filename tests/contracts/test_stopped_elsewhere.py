"""Every driver behind its server: an arm that was stopped by others stays stopped until a person clears it.

A stop from the maker's program or button was once undone within milliseconds, by the braking that answered it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardware.client.client import ArmClient, ArmRefusedError
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.wire.clocks import now
from hardware.wire.commands import Decision
from hardware.wire.reasons import Code
from hardware.wire.states import State
from robot.core.protocols import Recoverable
from tests.contracts.test_arm_driver_contract import LATCHED
from tests.doubles.benches import BENCHES, Bench
from tests.unit.hardware.serving import until

SETTINGS = SafetySettings(silence_s=1.0, lease_s=4.0, late_s=3.0, state_age_s=3.0)


@pytest.fixture(params=[name for name in BENCHES if name in LATCHED])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    for bench in BENCHES[request.param](tmp_path):
        with bench.installed():
            yield bench


def sway_on(client: ArmClient, seconds: float) -> None:
    """Send the arm a little to and fro for some seconds, whatever it answers."""
    home = client.report.sent  # type: ignore[union-attr]
    span = client.welcome.high - client.welcome.low
    until_s = now() + seconds
    while now() < until_s:
        times_s = now() + np.linspace(0.1, 1.0, 10)
        share = 0.01 * np.sin(3 * (times_s - until_s))[:, None]
        client.submit(times_s, np.clip(home + share * span, client.welcome.low, client.welcome.high))
        time.sleep(0.02)


def test_a_stop_given_elsewhere_is_undone_by_nobody_but_a_person(bench: Bench) -> None:
    driver = bench.make()
    assert isinstance(driver, Recoverable)
    settings = replace(SETTINGS, servo_hz=getattr(driver, "rate_hz", 250.0))
    with ArmServer(driver, port=0, settings=settings) as server, ArmClient(server.address, timeout_s=10.0) as client:
        client.acquire()
        client.arm()
        until(lambda: client.report and client.report.state is State.HOLDING)
        sway_on(client, 0.5)
        bench.halt_elsewhere()
        until(lambda: server.state[0] is State.FAULT)
        halted, commands, control = bench.where(), bench.commands(), bench.control()
        sway_on(client, 0.5)
        for ask in (client.arm, client.home):
            with pytest.raises(ArmRefusedError) as refused:
                ask()
            assert refused.value.code is Code.FAULT
        assert (bench.commands(), bench.control()) == (commands, control)
        np.testing.assert_array_equal(bench.where(), halted)
        # What stood in the way is gone, and still the arm stays where it is.
        bench.release_elsewhere()
        sway_on(client, 0.3)
        np.testing.assert_allclose(bench.where(), halted, atol=0.0015)
        assert server.state[0] is State.FAULT
        until(lambda: server.governor.not_clearable.code is Code.NONE)
        client.clear()
        assert server.state[0] is State.DISARMED
        client.arm()
        until(lambda: client.report and client.report.state is State.HOLDING)
        goal = client.report.sent + 0.005 * (client.welcome.high - client.welcome.low)  # type: ignore[union-attr]
        goal = np.clip(goal, client.welcome.low, client.welcome.high)
        assert client.submit(now() + np.array([0.5]), goal[None]).decision is not Decision.REJECT
        until(lambda: np.all(np.abs(bench.where()[:-1] - goal[:-1]) < 0.005))
