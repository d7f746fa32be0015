"""Measure an arm's server and its safety governor, on the kinematic arm in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.arms.kinematic import KinematicArm, PaintedCamera
from hardware.client.client import ArmClient
from hardware.server.safety import SafetySettings
from hardware.server.server import ArmServer
from hardware.server.servo_record import STATES, read_record
from hardware.wire.clocks import now
from hardware.wire.states import State
from robot.core.errors import SailError
from robot.core.provenance.machine import describe_machine
from robot.speed.stops import enter_stop, stops_beside

RUNNING, FAULT = STATES.index(State.RUNNING), STATES.index(State.FAULT)
Waypoints = tuple[NDArray[np.float64], NDArray[np.float64]]
PACE, REACH_M = 2.0, 0.12
"""The arm sways by so much, at that many radians a second."""
SILENT = 2_000
"""Connections that say nothing, in the last of the measurements."""


def bench_arm(
    commands: int = 300,
    stops: int = 20,
    seconds: float = 10.0,
    inference_s: float = 0.8,
    plans: int = 8,
    cameras: int = 2,
    image_size: int = 240,
    camera_hz: float = 30.0,
    servo_hz: float = 250.0,
    encoding: str = "jpeg",
) -> dict[str, Any]:
    """Return `hardware` and one record a figure: `what`, `p50`, `p95`, `p99`, `unit`, `target`.

    A figure that is one number stands under `p99`, as the worst there was. Client and server speak over loopback; all
    times but those of frames are taken from what the servo recorded. Raises ValueError for a count below one.
    """
    if min(commands, stops, plans) < 1 or seconds <= 0 or inference_s <= 0:
        raise ValueError("A benchmark of the arm needs at least one command, stop and plan, and some seconds.")
    folder = Path(tempfile.mkdtemp(prefix="sail-bench-"))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    options = (cameras, image_size, camera_hz, servo_hz, encoding)
    process = context.Process(target=_serve, args=(there, folder / "record.npy", options), daemon=True)
    process.start()
    try:
        if not here.poll(60):
            raise SailError("The server of the benchmark did not start within a minute.")
        address = here.recv()
        with ArmClient(address, timeout_s=5.0) as client:
            client.acquire()
            client.arm()
            time.sleep(0.5)
            sent_s = _many_commands(client, commands)
            starved = _slow_planning(client, inference_s, plans)
            lost, swayed = _sway_on(client, seconds)
            stopped_s = _many_stops(client, stops, lambda: _stop(client))
            entered_s = _many_stops(client, stops, lambda: enter_stop(address))
            silent, answered_s = stops_beside(address, SILENT, stops)
        here.send("end")
        process.join(20)
        rows = read_record(folder / "record.npy")
    finally:
        process.kill()
        process.join(5)
        here.close()
        shutil.rmtree(folder, ignore_errors=True)
    records = _records(rows, sent_s, stopped_s, starved, lost, swayed, servo_hz, inference_s)
    records[2:2] = [
        _figure("`sail arm stop`, Enter → braking", _braking_and_rest_ms(rows, entered_s)[0], "ms", "< 150"),
        _figure(f"stop → answered, beside {silent:,} silent connections", _ms(answered_s), "ms", "< 50"),
    ]
    return {"what": "arm", "hardware": describe_machine(), "records": records}


def _serve(pipe: Connection, record: Path, options: tuple[int, int, float, float, str]) -> None:
    """Serve the kinematic arm until told to end."""
    cameras, image_size, camera_hz, servo_hz, encoding = options
    # It would complain of the connections that it is made to bear.
    logging.getLogger("sail.arm").setLevel(logging.ERROR)
    arm = KinematicArm()
    views = [PaintedCamera(arm, f"camera{number}", (image_size, image_size), camera_hz) for number in range(cameras)]
    settings = SafetySettings(servo_hz=servo_hz, silence_s=1.0, lease_s=3.0, late_s=1.0, state_age_s=1.0)
    with ArmServer(
        arm, views, port=0, settings=settings, record=record, record_periods=200_000, encoding=encoding, realtime=True
    ) as server:
        pipe.send(server.address)
        pipe.recv()


def _way(
    client: ArmClient, began_s: float, from_s: float, horizon_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return waypoints of a sway along x: times (N,), positions (N, J)."""
    times_s = np.arange(from_s + 0.1, from_s + horizon_s, 0.1)
    positions = np.tile(client.welcome.description.home, (len(times_s), 1))
    positions[:, 0] += REACH_M * np.sin(PACE * (times_s - began_s) / 2) ** 2
    return times_s, positions


def _many_commands(client: ArmClient, count: int) -> dict[int, float]:
    """Send commands at odd times and return when each left, by its sequence number."""
    rng, began_s = np.random.default_rng(0), now()
    sent_s: dict[int, float] = {}
    for _ in range(count):
        way = _way(client, began_s, now(), 1.0)
        left_s = now()
        result = client.submit(*way, left_s)
        sent_s[result.sequence] = left_s
        time.sleep(rng.uniform(0.02, 0.04))
    return sent_s


def _slow_planning(client: ArmClient, inference_s: float, count: int) -> tuple[float, float]:
    """Plan slowly and return when the first and the last plan were handed over."""
    began_s = now()
    first_s = 0.0
    for number in range(count):
        seen_s = now()
        time.sleep(inference_s if number else 0.0)
        client.submit(*_way(client, began_s, seen_s, 2 * inference_s + 0.8), seen_s)
        first_s = first_s or now()
    return first_s, now()


def _sway_on(client: ArmClient, seconds: float) -> tuple[int, tuple[float, float]]:
    """Send chunks that disagree at their seams; return how many frames were lost, and from when to when."""
    rng, began_s = np.random.default_rng(1), now()
    lost = sum(client.frames_lost.values())
    while now() - began_s < seconds:
        times_s, positions = _way(client, began_s, now(), 1.5)
        positions[:, :3] += rng.normal(0.0, 0.01, 3)
        client.submit(times_s, positions, now())
        time.sleep(0.1)
    return sum(client.frames_lost.values()) - lost, (began_s, now())


def _stop(client: ArmClient) -> float:
    left_s = now()
    client.stop("the benchmark")
    return left_s


def _many_stops(client: ArmClient, count: int, stop: Callable[[], float]) -> list[float]:
    """Stop the arm in full motion again and again and return when each stop left."""
    stopped_s = []
    for number in range(count):
        began_s = now()
        client.submit(*_way(client, began_s, began_s, 3.0), began_s)
        time.sleep(0.6 + 0.013 * number)
        stopped_s.append(stop())
        deadline_s = now() + 10
        while not (client.status()["at_rest"] and client.status()["state"] == State.FAULT) and now() < deadline_s:
            time.sleep(0.02)
        time.sleep(0.05)
        client.clear()
        client.arm()
        client.home()
    return stopped_s


def _braking_and_rest_ms(rows: NDArray[np.float64], stopped_s: list[float]) -> tuple[list[float], list[float]]:
    """Return how long after each stop the arm began to brake, and how long after it was at rest, in ms."""
    time_s, state, positions = rows[:, 1], rows[:, 3].astype(int), rows[:, 6:10]
    braking_ms, rest_ms = [], []
    for left_s in stopped_s:
        after = (time_s > left_s) & (state == FAULT)
        first = np.flatnonzero(after)[0]
        braking_ms.append(1e3 * (time_s[first] - left_s))
        over = np.flatnonzero(state[first:] != FAULT)
        braking = positions[first - 1 : first + over[0] if len(over) else len(rows)]
        moving = np.flatnonzero(np.any(np.diff(braking, axis=0) != 0, axis=1))
        rest_ms.append(1e3 * (time_s[first + moving[-1]] - left_s) if len(moving) else braking_ms[-1])
    return braking_ms, rest_ms


def _records(
    rows: NDArray[np.float64],
    sent_s: dict[int, float],
    stopped_s: list[float],
    planned_s: tuple[float, float],
    lost: int,
    swayed_s: tuple[float, float],
    servo_hz: float,
    inference_s: float,
) -> list[dict[str, Any]]:
    time_s, state, sequence = rows[:, 1], rows[:, 3].astype(int), rows[:, 5].astype(int)
    positions = rows[:, 6:10]
    applied_ms = []
    for number, left_s in sent_s.items():
        in_force = np.flatnonzero((sequence == number) & (time_s > left_s))
        if len(in_force):
            applied_ms.append(1e3 * (time_s[in_force[0]] - left_s))
    braking_ms, rest_ms = _braking_and_rest_ms(rows, stopped_s)
    busy = (time_s > min(sent_s.values())) & (time_s < swayed_s[1])
    jitter_ms = 1e3 * (time_s - rows[:, 2])[busy]
    planning = (time_s > planned_s[0] + 2 / servo_hz) & (time_s < planned_s[1])
    starved = int(np.sum(state[planning] != RUNNING))
    swaying = np.flatnonzero((time_s > swayed_s[0]) & (time_s < swayed_s[1]))
    bends = np.abs(np.diff(positions[swaying], 2, axis=0))
    step = KinematicArm().description.acceleration / servo_hz**2
    seams = np.flatnonzero(np.diff(sequence[swaying]) != 0)
    near = np.unique(np.clip(seams[:, None] + np.arange(-1, 3), 0, len(bends) - 1))
    jump = float((bends[near] / step).max()) if len(seams) else 0.0
    return [
        _figure("command → applied", applied_ms, "ms", "p99 < 5"),
        _figure("stop → braking", braking_ms, "ms", "< 50"),
        _figure(f"stop → at rest, from up to {REACH_M * PACE / 2:g} m/s", rest_ms, "ms", ""),
        _figure(f"servo jitter at {servo_hz:g} Hz", jitter_ms, "ms", "p99 < 2"),
        _single("camera frames lost", lost, "", "0"),
        _single(f"starved servo periods at {1e3 * inference_s:g} ms a plan", starved, "", "0"),
        _single("largest jump at a seam, of the acceleration limit's step", round(jump, 3), "1", "< 1"),
    ]


def _ms(seconds: list[float]) -> list[float]:
    return [1e3 * one for one in seconds]


def _figure(what: str, values: Any, unit: str, target: str) -> dict[str, Any]:
    if len(values) == 0:
        raise SailError(f"The benchmark has no figure for {what!r}: the machine is too busy; try again.")
    p50, p95, p99 = (float(f"{value:.4g}") for value in np.percentile(values, (50, 95, 99)))
    return {"what": what, "p50": p50, "p95": p95, "p99": p99, "unit": unit, "target": target}


def _single(what: str, value: float, unit: str, target: str) -> dict[str, Any]:
    return {"what": what, "p50": "", "p95": "", "p99": value, "unit": unit, "target": target}
