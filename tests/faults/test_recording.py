"""A deployment that is stopped, hung up or killed: the arm rests, and what was recorded is an episode."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hardware.client.client import ArmClient
from robot.core.data import Outcome
from robot.episodes.repair.doctor import examine
from robot.episodes.store import EpisodeStore
from tests.faults.driving import ROOT, ServerProcess, check_record, server_of
from tests.unit.hardware.serving import until

STEPS = 26
"""Steps after which something happens: none that a flush every ten steps would have written down."""


@dataclass
class Deploying:
    """A `sail deploy` in a process of its own, at a terminal of its own."""

    process: subprocess.Popen[bytes]
    hand: int
    pipe: int
    told: bytes = b""

    def steps(self, timeout_s: float = 60.0) -> int:
        """Return how many steps it has said were recorded; wait for more, or for its end."""
        if select.select([self.pipe], [], [], timeout_s)[0]:
            self.told += os.read(self.pipe, 4096)
        lines = self.told.split(b"\n")[:-1]
        return int(lines[-1]) if lines else 0

    def until_steps(self, count: int) -> None:
        while self.steps() < count:
            assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """Return what stands on its terminal."""
        said = b""
        with contextlib.suppress(OSError):
            while select.select([self.hand], [], [], 0.2)[0] and (data := os.read(self.hand, 4096)):
                said += data
        return said.decode(errors="replace")

    def end(self, timeout_s: float = 30.0) -> tuple[int, int]:
        """Wait for its end; return how many steps it recorded, and its exit code."""
        code = None
        while code is None:
            self.said() if self.hand >= 0 else None  # a terminal that nobody reads takes no more
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(0.1)
            timeout_s -= 0.1
            assert timeout_s > 0, "it does not end"
        while select.select([self.pipe], [], [], 0)[0] and (data := os.read(self.pipe, 4096)):
            self.told += data
        return self.steps(0), code

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self.hand)
        self.hand = -1


@contextmanager
def deploying(server: ServerProcess, store: Path) -> Iterator[Deploying]:
    hand, program = os.openpty()
    pipe, steps = os.pipe()
    command = [sys.executable, "-m", "tests.faults.deploy", server.address, str(store), str(steps)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        stdin=program,
        stdout=program,
        stderr=program,
        pass_fds=[steps],
        start_new_session=True,
    )
    os.close(program)
    os.close(steps)
    one = Deploying(process, hand, pipe)
    try:
        yield one
    finally:
        process.kill()
        process.wait(20)
        if one.hand >= 0:
            os.close(one.hand)
        os.close(pipe)


def check_arm(server: ServerProcess) -> None:
    """Assert that the arm rests, nobody holds it, and it kept to its limits."""
    with ArmClient(server.address, timeout_s=10.0) as watcher:
        until(lambda: watcher.status()["at_rest"] and watcher.status()["state"] == "DISARMED")
        until(lambda: not watcher.status()["holder"])
        check_record(server.record, watcher.welcome.description)


def sealed(store: Path) -> tuple[int, Outcome]:
    """Return how many steps the one sealed episode has, and how it ended; nothing is left open."""
    assert list(examine(store)) == []
    [name] = EpisodeStore(store).ids()
    episode = EpisodeStore(store).load(name)
    assert np.all(episode.frames["front"].reshape(len(episode) + 1, -1).max(axis=1) > 0)
    return len(episode), episode.outcome


@pytest.mark.parametrize("moment", [pytest.param(2, marks=pytest.mark.slow), STEPS])
def test_a_deployment_that_is_killed_loses_its_last_step_alone(moment: int, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with server_of("kinematic", tmp_path) as server:
        with deploying(server, store) as one:
            one.until_steps(moment)
            one.process.send_signal(signal.SIGKILL)
            steps, code = one.end()
        assert code == -signal.SIGKILL and steps >= moment
        check_arm(server)
    assert EpisodeStore(store).ids() == []
    [finding] = examine(store, repair=True)
    assert finding.done
    saved, outcome = sealed(store)
    assert steps - 1 <= saved <= steps + 1 and outcome is Outcome.INFRASTRUCTURE_FAULT  # one may not have been told


@pytest.mark.parametrize(
    "how", ["SIGHUP", *(pytest.param(how, marks=pytest.mark.slow) for how in ("hung up", "SIGTERM", "SIGINT", "a key"))]
)
def test_a_deployment_that_is_ended_brings_the_arm_to_rest_and_seals(how: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with server_of("kinematic", tmp_path) as server:
        with deploying(server, store) as one:
            one.until_steps(STEPS)
            if how == "hung up":
                one.hang_up()
            elif how == "a key":
                os.write(one.hand, b" ")
            else:
                one.process.send_signal(getattr(signal, how))
            if how in ("SIGTERM", "SIGINT", "a key"):  # somebody is there, and is asked
                until(lambda: (one.steps(0) and "did it" in one.said()) or one.process.poll() is not None)
                os.write(one.hand, b"f")
            steps, code = one.end()
        assert code == 0
        check_arm(server)
    assert sealed(store) == (steps, Outcome.OPERATOR_STOP)
    [name] = EpisodeStore(store).ids()
    said = [verdict.source for verdict in EpisodeStore(store).verdicts(name)]
    assert said == (["person"] if how in ("SIGTERM", "SIGINT", "a key") else [])


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once_and_seals_what_is_there(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with server_of("kinematic", tmp_path) as server:
        with deploying(server, store) as one:
            one.until_steps(STEPS)
            one.process.send_signal(signal.SIGINT)
            one.process.send_signal(signal.SIGINT)
            until(lambda: one.process.poll() is not None or "did it" in one.said())
            one.process.send_signal(signal.SIGINT) if one.process.poll() is None else None
            steps, _ = one.end()
        check_arm(server)
    saved, outcome = sealed(store)
    assert steps - 1 <= saved <= steps + 1 and outcome is Outcome.OPERATOR_STOP
