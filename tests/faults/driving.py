"""Processes of servers and clients, motions to send, and the invariants that their records must keep."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.server.servo_record import read_record
from hardware.wire.reports import Welcome
from robot.core.joints import ArmDescription, Joints
from tests.faults.serve import SETTINGS
from tests.unit.hardware.governed_arms import check_limits

ROOT = Path(__file__).resolve().parents[2]


def sway(
    welcome: Welcome, start: Joints, began_s: float, now_s: float, horizon_s: float, gap_s: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return waypoints of a motion to and fro in every joint, well within its limits: times (N,), positions (N, J)."""
    description = welcome.description
    room = np.minimum(welcome.high - start, start - welcome.low)
    # x = A sin² (w t / 2): its speed is at most A w / 2 and its acceleration A w² / 2.
    pace = 2.0
    amplitude = np.minimum(0.6 * room, 0.3 * description.velocity * 2 / pace)
    amplitude = np.minimum(amplitude, 0.3 * description.acceleration * 2 / pace**2)
    times_s = np.arange(now_s + gap_s, now_s + horizon_s, gap_s)
    share = np.sin(pace * (times_s - began_s) / 2) ** 2
    return times_s, start + share[:, None] * amplitude


@dataclass
class ServerProcess:
    """A server in a process of its own, which can be killed."""

    arm: str
    folder: Path
    port: int = 0
    stderr: int | None = None
    limit: int = 0
    keys: Path | None = None
    process: subprocess.Popen[str] = field(init=False)
    address: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_ports(8)
        self.start()

    @property
    def record(self) -> Path:
        return self.folder / "record.npy"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self) -> None:
        words = [self.arm, str(self.port), str(self.record), str(self.limit), str(self.keys or "")]
        command = [sys.executable, "-m", "tests.faults.serve", *words]
        with self.log.open("a") as log:
            told = log if self.stderr is None else self.stderr
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=told, text=True)
        self.address = line_of(self.process)
        assert self.address, self.log.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def memory_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def processor_s(self) -> float:
        """Return how long it has kept processors busy."""
        spent = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server_of(arm: str, folder: Path, **options: Any) -> Iterator[ServerProcess]:
    """Lend a server; at the end it must go by itself, and must not have died before."""
    server = ServerProcess(arm, folder, **options)
    try:
        yield server
        assert server.process.poll() is None, server.log.read_text()
        assert server.end() == 0, server.log.read_text()
    finally:
        if server.process.poll() is None:
            server.kill()
        if server.process.stdout is not None:
            server.process.stdout.close()


def free_ports(count: int) -> int:
    """Return the first of several free ports in a row, below those that the system gives to clients."""
    rng = random.Random()
    while True:
        first = rng.randrange(20_000, 30_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def line_of(process: subprocess.Popen[str], timeout_s: float = 60.0) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    assert ready, "the process said nothing"
    return process.stdout.readline().strip()


@contextmanager
def unread_pipe() -> Iterator[int]:
    """Lend the end of a pipe whose other end nobody reads."""
    ours, theirs = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def fill(pipe: int) -> None:
    """Write to a pipe until it takes no more."""
    os.set_blocking(pipe, False)
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * size)
    os.set_blocking(pipe, True)


@contextmanager
def driving(address: str) -> Iterator[subprocess.Popen[str]]:
    """Lend a client process that drives the arm."""
    command = [sys.executable, "-m", "tests.faults.drive", address]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert line_of(process) == "driving"
        yield process
    finally:
        process.kill()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def check_record(record: Path, description: ArmDescription) -> NDArray[np.float64]:
    """Assert that whatever a server sent its arm kept to every limit, and return the rows of its record.

    Between two stretches of motion an arm that was disarmed may have been moved by gravity or by hand.
    """
    rows = read_record(record)
    joints = description.size
    written = rows[:, 4] > 0
    edges = np.flatnonzero(np.diff(written.astype(int))) + 1
    for stretch in np.split(np.arange(len(rows)), edges):
        if written[stretch[0]]:
            check_limits(rows[stretch, 6 : 6 + joints], description, 1 / SETTINGS.servo_hz)
    return rows


def periods_in_motion(rows: NDArray[np.float64], joints: int) -> int:
    """Return in how many of these servo periods the arm was sent elsewhere than in the period before."""
    return int(np.sum(np.any(np.diff(rows[:, 6 : 6 + joints], axis=0) != 0, axis=1)))


def seconds_to_brake(description: ArmDescription) -> float:
    """Return how long braking from full speed takes at most."""
    limits = 0.9 * description.acceleration, 0.9 * description.jerk
    return float((0.9 * description.velocity / limits[0] + 2 * limits[0] / limits[1]).max())
