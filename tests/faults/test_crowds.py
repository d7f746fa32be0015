"""However many connect, and whatever they leave half said: a stop gets in, and the server stays small."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from socket import socket

import numpy as np
import pytest

from hardware.client.client import ArmClient
from hardware.client.stopping import send_stop
from hardware.server.doorkeeper import MOST_GROWTH_MIB
from hardware.server.doors import MAX_SUBSCRIPTION_BYTES
from hardware.server.servo_record import STATES, read_record
from hardware.wire.clocks import now
from hardware.wire.keys import ClientKeys
from hardware.wire.states import State
from robot.core.errors import SailError
from robot.speed.stops import enter_stop
from tests.faults.arms import on_every_arm
from tests.faults.crowd import crowd
from tests.faults.driving import ServerProcess, check_record, server_of, sway
from tests.faults.serve import make_all_keys
from tests.faults.zmtp import connected, frame
from tests.unit.hardware.serving import until

MOST_TAKEN_MIB = 140
"""What may come in between two looks at it; 40,000 subscriptions that are all kept take 169 MiB."""
with_and_without_keys = pytest.mark.parametrize("keyed", [False, True], ids=["no keys", "keys"])


def ports_of(client: ArmClient, server: ServerProcess) -> dict[str, int]:
    welcome = client.welcome
    ports = {"control": server.port, "command": welcome.command_port, "stop": welcome.stop_port}
    return {**ports, "state": welcome.state_port, **welcome.camera_ports}


def watches(server: ServerProcess, keys: ClientKeys | None) -> bool:
    """Return whether a new client gets in, and states and pictures come to it."""
    with contextlib.suppress(SailError), ArmClient(server.address, keys=keys, timeout_s=1.0) as client:
        camera = next(iter(client.welcome.cameras))
        return bool(until(lambda: client.report is not None and client.frame(camera) is not None))
    return False


def check_stops(server: ServerProcess, keys: ClientKeys | None) -> None:
    """Assert that stops get in at once, and that no processor is kept busy; a busy machine may take a few turns."""
    until(lambda: stops_at_once(server, keys), 60)
    until(lambda: is_idle(server), 60)


def stops_at_once(server: ServerProcess, keys: ClientKeys | None) -> bool:
    with contextlib.suppress(SailError):
        return bool(np.median([send_stop(server.address, "a person", keys).took_s for _ in range(9)]) < 0.05)
    return False


def is_idle(server: ServerProcess) -> bool:
    spent_s, began_s = server.processor_s(), time.monotonic()
    time.sleep(1.0)
    return (server.processor_s() - spent_s) / (time.monotonic() - began_s) < 0.7


def stop_beside(arm: str, folder: Path, kind: str, count: int, keyed: bool, limit: int = 0, most: int = 99) -> None:
    """Stop the arm beside a crowd at each port in turn, up to so many of them, and at all of them together."""
    keys = make_all_keys(folder / "keys") if keyed else None
    with server_of(arm, folder, limit=limit, keys=folder / "keys" if keyed else None) as server:
        with ArmClient(server.address, keys=keys, timeout_s=10.0) as client:
            ports = ports_of(client, server)
            description = client.welcome.description
        turns = [{name: ports[name]} for name in list(ports)[:most]]
        for some in [*turns, ports]:
            with crowd(kind, count, some) as held:
                assert held > count // 5 or limit
                check_stops(server, keys)
            until(lambda: watches(server, keys), 60)
        with ArmClient(server.address, keys=keys, timeout_s=10.0) as client:
            assert client.status()["state"] == State.FAULT
            client.clear()
            client.acquire()
            client.arm()
    check_record(server.record, description)


@pytest.mark.slow
@on_every_arm
@with_and_without_keys
def test_a_stop_gets_in_beside_two_thousand_connections_that_say_nothing(arm: str, keyed: bool, tmp_path: Path) -> None:
    stop_beside(arm, tmp_path, "silent", 2_000, keyed, 1024, most=99 if arm == "kinematic" and not keyed else 0)


@pytest.mark.slow
def test_a_stop_gets_in_beside_two_thousand_connections_where_the_system_allows_them(tmp_path: Path) -> None:
    stop_beside("kinematic", tmp_path, "silent", 2_000, False, 0)


@pytest.mark.slow
@on_every_arm
def test_a_stop_gets_in_beside_two_thousand_clients_that_shook_hands_and_say_nothing(arm: str, tmp_path: Path) -> None:
    stop_beside(arm, tmp_path, "idle", 2_000, False, 1024, most=99 if arm == "kinematic" else 0)


@on_every_arm
@pytest.mark.parametrize("keyed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["no keys", "keys"])
def test_a_stop_gets_in_though_connections_take_every_descriptor(arm: str, keyed: bool, tmp_path: Path) -> None:
    stop_beside(arm, tmp_path, "silent", 400, keyed, 256, most=3)


@pytest.mark.slow
@on_every_arm
def test_a_stop_gets_in_though_idle_clients_take_every_descriptor(arm: str, tmp_path: Path) -> None:
    stop_beside(arm, tmp_path, "idle", 400, False, 256, most=3)


@on_every_arm
def test_an_arm_brakes_soon_after_enter(arm: str, tmp_path: Path) -> None:
    """Bounded as a busy machine can keep to; `sail bench arm` measures it."""
    with server_of(arm, tmp_path) as server, ArmClient(server.address, timeout_s=10.0) as client:
        took_s = []
        client.acquire()
        for _ in range(3):
            client.arm()
            client.home()
            description = client.welcome.description
            client.submit(*sway(client.welcome, description.home, now(), now(), 3.0))
            client.wait(lambda report: report.state is State.RUNNING, 20, "run")
            entered_s = enter_stop(server.address)
            rows = read_record(server.record)
            braking = (rows[:, 1] > entered_s) & (rows[:, 3] == STATES.index(State.FAULT))
            took_s.append(float(rows[braking][0, 1]) - entered_s)
            until(lambda: client.status()["at_rest"])
            client.clear()
        assert min(took_s) < 0.3, took_s
    check_record(server.record, description)


def connected_at_last(port: int, kind: str) -> socket:
    """Return a connection that has shaken hands; a door that just begins anew cuts some that have not yet."""
    for _ in range(20):
        with contextlib.suppress(OSError):
            return connected(port, kind)
        time.sleep(0.05)
    return connected(port, kind)


def flood(server: ServerProcess, port: int, kind: str, chunks: Iterable[bytes], connections: int) -> float:
    """Send bytes over connections in turn, anew over those that are cut; return the most memory seen, in MiB."""
    lines = [connected_at_last(port, kind) for _ in range(connections)]
    most_mib = 0.0
    for number, chunk in enumerate(chunks):
        place = number % connections
        try:
            lines[place].sendall(chunk)
        except OSError:
            lines[place].close()
            lines[place] = connected_at_last(port, kind)
        if number % 10 == 0:
            most_mib = max(most_mib, server.memory_mib())
    time.sleep(0.1)
    most_mib = max(most_mib, server.memory_mib())
    for line in lines:
        line.close()
    return most_mib


def subscriptions(count: int, length: int) -> Iterator[bytes]:
    """Yield subscriptions to different things of so many bytes, twenty at a time."""
    for first in range(0, count, 20):
        names = (b"%d" % number for number in range(first, first + 20))
        yield b"".join(frame(b"\x01" + name[::-1].ljust(length, b"x")) for name in names)


def frames_and_states(client: ArmClient) -> tuple[int, int]:
    frame = client.frame(next(iter(client.welcome.cameras)))
    return frame.number if frame else 0, client.report.tick if client.report else 0


def watch_beside_subscriptions(arm: str, folder: Path, count: int) -> None:
    """Assert that subscriptions cost the server little, and that who watches goes on seeing and holding the arm."""
    with server_of(arm, folder) as server, ArmClient(server.address, timeout_s=10.0) as client:
        client.acquire()
        client.arm()
        until(lambda: min(frames_and_states(client)) > 0)
        before_mib = server.memory_mib()
        for port in (client.welcome.state_port, *client.welcome.camera_ports.values()):
            for connections in (1, 50):
                for length in (MAX_SUBSCRIPTION_BYTES - 1, 1_000):
                    most_mib = flood(server, port, "SUB", subscriptions(count, length), connections)
                    assert most_mib - before_mib < MOST_TAKEN_MIB
                    status = client.status()
                    assert status["healthy"] and status["state"] == State.HOLDING, status["reason"]
            seen = frames_and_states(client)
            until(lambda seen=seen: all(new > old for new, old in zip(frames_and_states(client), seen, strict=True)))
        description = client.welcome.description
    check_record(server.record, description)


@pytest.mark.slow
@on_every_arm
def test_forty_thousand_subscriptions_cost_no_memory_and_watchers_go_on(arm: str, tmp_path: Path) -> None:
    watch_beside_subscriptions(arm, tmp_path, 40_000)


@on_every_arm
def test_a_few_thousand_subscriptions_cost_no_memory_and_watchers_go_on(arm: str, tmp_path: Path) -> None:
    watch_beside_subscriptions(arm, tmp_path, 8_000)


@on_every_arm
@pytest.mark.parametrize(
    ("part", "connections"),
    [
        pytest.param(b"x" * 30_000, 1, marks=pytest.mark.slow, id="large"),
        pytest.param(b"x" * 30_000, 40, marks=pytest.mark.slow, id="many large"),
        pytest.param(b"", 1, id="empty"),
    ],
)
def test_messages_without_an_end_are_freed(arm: str, part: bytes, connections: int, tmp_path: Path) -> None:
    """ZeroMQ keeps the parts of a message, without a bound, until the last has come."""
    chunk = frame(part, more=True) * (500_000 // (len(part) + 64))
    with server_of(arm, tmp_path) as server, ArmClient(server.address, timeout_s=10.0) as client:
        before_mib = server.memory_mib()
        for port in (server.port, client.welcome.command_port, client.welcome.stop_port):
            most_mib = flood(server, port, "DEALER", [chunk] * 2_000, connections)
            # A gigabyte is sent; a busy machine sees a little later that there is too much of it.
            assert most_mib - before_mib < MOST_GROWTH_MIB + 450
        assert send_stop(server.address, "a person").took_s < 1.0
        assert client.status()["state"] == State.FAULT
