"""Whatever the wire, the client or the server does, the arm keeps to its limits, comes to hold in time, and lives on.

The invariants are checked on what each server recorded at its servo, period by period.
"""

from __future__ import annotations

import contextlib
import random
import socket as sockets
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from hardware.client.client import ArmClient, ArmRefusedError, StoppedError
from hardware.client.remote import RemoteRobot, StaleError
from hardware.server.servo_record import STATES
from hardware.wire.clocks import now
from hardware.wire.commands import Decision
from hardware.wire.messages import KINDS, Message, pack
from hardware.wire.reasons import Code
from hardware.wire.states import State
from robot.core.data import Action
from robot.core.errors import SailError
from tests.faults.arms import on_every_arm
from tests.faults.driving import (
    ServerProcess,
    check_record,
    driving,
    fill,
    periods_in_motion,
    seconds_to_brake,
    server_of,
    sway,
    unread_pipe,
)
from tests.faults.serve import SETTINGS
from tests.faults.wire import FAULTS, faulty_wire
from tests.unit.hardware.serving import until


def is_in(client: ArmClient, *states: State) -> bool:
    return client.status()["state"] in states


@on_every_arm
def test_a_client_that_is_killed_leaves_an_arm_that_holds(arm: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server, ArmClient(server.address, timeout_s=10.0) as watcher:
        with driving(server.address) as client:
            until(lambda: is_in(watcher, State.RUNNING))
            time.sleep(0.5)
            client.kill()
            killed_s = now()
            until(lambda: is_in(watcher, State.DISARMED) and watcher.status()["at_rest"])
        description = watcher.welcome.description
        rows = check_record(server.record, description)
        silent = np.isin(rows[:, 3], [STATES.index(State.DEGRADED), STATES.index(State.DISARMED)])
        first = np.flatnonzero(silent & (rows[:, 1] > killed_s))[0]
        # The last period that went on was due before the silence was as long as is allowed; its deadline counts, since
        # a busy machine may be late.
        assert rows[first - 1, 2] - killed_s < SETTINGS.silence_s + 0.01
        periods = periods_in_motion(rows[first:], description.size)
        assert periods <= seconds_to_brake(description) * SETTINGS.servo_hz + 2
        # Another client may take over, from rest.
        watcher.acquire()
        watcher.arm()
        assert is_in(watcher, State.HOLDING)
    check_record(server.record, description)


@on_every_arm
def test_a_server_that_is_killed_is_started_again_and_trusts_nobody(arm: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server:
        robot = RemoteRobot(server.address, timeout_s=1.0, state_age_s=0.5, camera_age_s=0.5)
        try:
            robot.reset(0)
            description = robot.client.welcome.description
            times_s, positions = sway(robot.client.welcome, description.home, now(), now(), 3.0)
            assert robot.submit(times_s, positions).decision is not Decision.REJECT
            time.sleep(0.3)
            server.kill()
            check_record(server.record, description)
            with pytest.raises(StaleError):
                observe_on(robot)
            server.start()
            until(lambda: not robot.client.held)
            # The client says hello by itself and sees the arm again, which nobody arms.
            until(lambda: (report := robot.client.report) and report.state is State.DISARMED)
            observe_again(robot)
            with pytest.raises(ArmRefusedError) as refused:
                robot.client.arm()
            assert refused.value.code is Code.NO_LEASE
            with ArmClient(server.address, timeout_s=10.0) as fresh:
                assert is_in(fresh, State.DISARMED)
                fresh.acquire()
                fresh.arm()
                fresh.home()
        finally:
            robot.close()
    check_record(server.record, description)


def act_on(robot: RemoteRobot, action: Action) -> None:
    while True:
        robot.act(action)


def observe_again(robot: RemoteRobot) -> None:
    until(lambda: max(robot.ages().values()) < 0.4)
    robot.observe()


def observe_on(robot: RemoteRobot) -> None:
    while True:
        robot.observe()


@on_every_arm
@pytest.mark.parametrize(
    "fault", [name if name == "corrupt" else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_a_bad_wire_leaves_every_limit_kept_and_the_server_well(arm: str, fault: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server, faulty_wire(server.address) as wire:
        client = ArmClient(wire.address, timeout_s=0.3)
        try:
            description = client.welcome.description
            began_s, accepted = now(), 0
            wire.mangle = FAULTS[fault]
            # Three seconds, and longer where the machine is busy and nothing has come through yet.
            while now() - began_s < 3.0 or (not accepted and now() - began_s < 20.0):
                with contextlib.suppress(SailError):
                    if not client.held:
                        client.acquire()
                    if client.status()["state"] in (State.DISARMED, State.FAULT):
                        client.clear()
                        client.arm()
                    times_s, positions = sway(client.welcome, description.home, began_s, now(), 1.0)
                    accepted += client.submit(times_s, positions, now()).decision is not Decision.REJECT
                time.sleep(0.03)
            wire.mangle = None
        finally:
            client.close()
        with ArmClient(server.address, timeout_s=10.0) as direct:
            status = direct.status()
            assert status["healthy"]
            assert accepted > 0
            assert (status["garbage"] > 0) == (fault == "corrupt")
            until(lambda: direct.status()["at_rest"])
    check_record(server.record, description)


@on_every_arm
def test_a_command_that_nobody_can_mean_moves_nothing(arm: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server, ArmClient(server.address, timeout_s=10.0) as client:
        client.acquire()
        client.arm()
        description = client.welcome.description
        moved = 0
        for absurd in (1e300, -1e300, 1e12, np.inf, np.nan):
            points = np.stack([until(lambda: client.report).sent, np.full(description.size, absurd)])
            for times_s in (now() + np.array([0.2, 0.4]), np.array([-1e300, now() + 0.4]), np.array([now(), 1e300])):
                result = client.submit(times_s, points)
                moved += result.decision is not Decision.REJECT
                assert result.reasons[0].code in (Code.MALFORMED, Code.TOO_FAR), result
        assert moved == 0 and is_in(client, State.HOLDING)
        # And what can be meant is carried out as before.
        assert client.submit(*sway(client.welcome, description.home, now(), now(), 1.0)).decision is not Decision.REJECT
    rows = check_record(server.record, description)
    assert np.all(np.isfinite(rows[:, 6 : 6 + 2 * description.size]))


@on_every_arm
def test_a_log_that_nobody_reads_keeps_no_stop_waiting(arm: str, tmp_path: Path) -> None:
    with unread_pipe() as stderr:
        server = ServerProcess(arm, tmp_path, stderr=stderr)
        fill(stderr)
        try:
            with ArmClient(server.address, timeout_s=10.0) as client:
                client.acquire()
                client.arm()
                description = client.welcome.description
                enemy, lines = zmq.Context(), []
                for number in range(40):
                    line = enemy.socket(zmq.DEALER)
                    line.setsockopt(zmq.LINGER, 0)
                    line.connect(f"tcp://127.0.0.1:{server.port + number % 3}")
                    line.send_multipart([b"garbage"])
                    lines.append(line)
                client.submit(*sway(client.welcome, description.home, now(), now(), 3.0))
                until(lambda: is_in(client, State.RUNNING))
                time.sleep(0.3)
                stopped_s = now()
                client.stop("a person")
                until(lambda: is_in(client, State.FAULT) and client.status()["at_rest"])
                assert client.status()["garbage"] > 0
                enemy.destroy(0)
        finally:
            server.kill()
    rows = check_record(server.record, description)
    braking = np.flatnonzero((rows[:, 3] == STATES.index(State.FAULT)) & (rows[:, 1] > stopped_s))
    assert rows[braking[0], 2] - stopped_s < 0.5
    assert periods_in_motion(rows[braking], description.size) <= seconds_to_brake(description) * SETTINGS.servo_hz + 2


@on_every_arm
@pytest.mark.parametrize("name", ["stopped-1", "[/x]", "past FAULT", "\x1b[2Jcoming to rest"])
def test_what_a_client_calls_itself_decides_nothing(arm: str, name: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server, ArmClient(server.address, name=name, timeout_s=10.0) as holder:
        holder.acquire()
        robot = RemoteRobot(server.address, timeout_s=5.0, state_age_s=0.5, camera_age_s=0.5)
        try:
            with pytest.raises(ArmRefusedError) as refused:
                robot.reset(0)
            assert refused.value.code is Code.HELD
            holder.release()
            robot.reset(0)
            holder.stop()
            spec = robot.spec.action
            with pytest.raises(StoppedError) as stopped:
                act_on(robot, Action(np.zeros(spec.size, np.float32)))
            assert stopped.value.by_operator
        finally:
            robot.close()


@on_every_arm
def test_a_planner_of_800_ms_starves_no_servo_period(arm: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server, ArmClient(server.address, timeout_s=10.0) as client:
        client.acquire()
        client.arm()
        description = client.welcome.description
        began_s = now()
        for number in range(4):
            seen_s = now()
            if number:
                time.sleep(0.8)
            # A plan of what was seen 0.8 s ago: its first waypoints are past by now.
            times_s, positions = sway(client.welcome, description.home, began_s, seen_s, 2.4)
            assert client.submit(times_s, positions, seen_s).decision is not Decision.REJECT
        ended_s = now()
    rows = check_record(server.record, description)
    during = (rows[:, 1] > began_s + 0.1) & (rows[:, 1] < ended_s)
    assert {STATES[int(state)] for state in rows[during, 3]} == {State.RUNNING}


@on_every_arm
def test_a_message_that_is_too_large_is_dropped_with_its_sender(arm: str, tmp_path: Path) -> None:
    with server_of(arm, tmp_path) as server, ArmClient(server.address, timeout_s=10.0) as client:
        client.acquire()
        client.arm()
        before = server.memory_mib()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        kept = []
        for port in (server.port, client.welcome.command_port, client.welcome.stop_port):
            large = context.socket(zmq.DEALER)
            kept.append(large)
            large.setsockopt(zmq.LINGER, 0)
            large.connect(f"tcp://127.0.0.1:{port}")
            for _ in range(5):
                large.send(b"x" * 20_000_000)
            time.sleep(0.3)
        context.destroy(0)
        # Bytes that are not even ZeroMQ's.
        with sockets.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: arm\r\n\r\n" * 1000)
        assert is_in(client, State.HOLDING, State.DEGRADED)
        assert server.memory_mib() - before < 60
        description = client.welcome.description
    check_record(server.record, description)


def hostile(rng: random.Random, session: str, token: str) -> list[bytes]:
    """Return random bytes, a message of ours with bytes changed, or one that is well formed and means harm."""
    choice = rng.random()
    if choice < 0.3:
        return [rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 5))]
    kind = rng.choice(list(KINDS))
    examples = {"s": token, "i": rng.choice([0, -1, 2**62]), "f": rng.choice([0.0, 1e308, -1e308]), "b": True}
    body = {
        name: [examples[wanted[0]]] if wanted.endswith("*") else examples[wanted[0]]
        for name, wanted in KINDS[kind].items()
    }
    shape = (rng.randrange(4), rng.randrange(9))
    values = np.full(shape, rng.choice([np.nan, np.inf, 1e300, -1e300, 0.0]))
    parts = pack(Message(kind, body, (np.sort(rng_floats(rng, shape[0])), values), session, rng.randrange(2**40)))
    if choice < 0.8:
        changed = [bytearray(part) for part in parts]
        for _ in range(rng.randrange(1, 8)):
            part = rng.choice(changed)
            if part:
                part[rng.randrange(len(part))] = rng.randrange(256)
        parts = [bytes(part) for part in changed]
    return parts


def rng_floats(rng: random.Random, count: int) -> np.ndarray:
    return now() + np.array([rng.uniform(-1, 5) for _ in range(count)])


@pytest.mark.slow
@on_every_arm
def test_two_hundred_thousand_hostile_messages_do_no_harm(arm: str, tmp_path: Path) -> None:
    bombard(arm, tmp_path, 200_000)


@on_every_arm
def test_a_few_thousand_hostile_messages_do_no_harm(arm: str, tmp_path: Path) -> None:
    bombard(arm, tmp_path, 4_000)


def bombard(arm: str, folder: Path, count: int) -> None:
    rng = random.Random(0)
    with server_of(arm, folder) as server, ArmClient(server.address, timeout_s=20.0) as client:
        client.acquire()
        client.arm()
        description, session, token = client.welcome.description, client.welcome.session, client._token
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        ports = (server.port, client.welcome.command_port, client.welcome.stop_port)
        enemies = []
        for port in ports:
            enemy = context.socket(zmq.DEALER)
            enemy.setsockopt(zmq.LINGER, 0)
            enemy.setsockopt(zmq.SNDTIMEO, 20_000)
            enemy.connect(f"tcp://127.0.0.1:{port}")
            enemies.append(enemy)
        began_s, began_mib = now(), 0.0
        for number in range(count):
            enemies[rng.randrange(3)].send_multipart(hostile(rng, session, token))
            if number == count // 10:
                began_mib = server.memory_mib()
            if number % 200 == 0:
                # The holder goes on driving, as far as it is let.
                with contextlib.suppress(SailError):
                    if not client.held:
                        client.acquire()
                    if client.status()["state"] in (State.DISARMED, State.FAULT):
                        client.clear()
                        client.arm()
                        token = client._token
                    client.submit(*sway(client.welcome, description.home, began_s, now(), 1.0), now())
        until(lambda: not any(enemy.poll(0, zmq.POLLOUT) == 0 for enemy in enemies), 60)
        context.destroy(0)
        time.sleep(0.5)
        status = client.status()
        assert status["healthy"] and status["garbage"] > count // 10
        assert server.memory_mib() - began_mib < 60
        assert server.log.stat().st_size < 100_000
    check_record(server.record, description)
