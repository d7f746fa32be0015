"""Doors that are shut, opened and made anew, and the doorkeeper who says when."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket as sockets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import zmq

from hardware.server import descriptors, doorkeeper, doors
from hardware.server.complaints import Complaints
from hardware.server.doorkeeper import Doorkeeper
from hardware.server.doors import Door, PublishingDoor, listeners
from robot.core.errors import SailError
from tests.faults.zmtp import frame, handshake
from tests.unit.hardware.serving import until


class Keeper(Doorkeeper):
    """A doorkeeper that is told what to say."""

    def __init__(self) -> None:
        super().__init__(Complaints())
        self.said = 0

    def renewals(self, door: Any) -> int:
        return self.said


Opened = tuple[Door, Keeper, zmq.Context[Any]]


@contextmanager
def opened(kind: type[Door] = Door, host: str = "127.0.0.1", **options: Any) -> Iterator[Opened]:
    context: zmq.Context[Any] = zmq.Context()
    keeper = Keeper()
    [listener] = listeners(host, 0, 1)
    door = kind(context, listener, keeper, **options)
    try:
        yield door, keeper, context
    finally:
        door.close()
        keeper.close()
        context.destroy(0)


def connected(context: zmq.Context[Any], door: Door, kind: int = zmq.DEALER) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{door.port}")
    return socket


def arrives(client: zmq.Socket[bytes], door: Door) -> None:
    """Assert that a message arrives; what is under way when a door begins anew is lost."""
    until(lambda: (client.send(b"again"), door.poll(100))[1])
    assert {parts[1] for parts in door.waiting()} == {b"again"}


def test_a_door_that_is_shut_keeps_those_inside_and_lets_nobody_in_until_it_is_opened() -> None:
    with opened(most_bytes=1000) as (door, keeper, context):
        inside = connected(context, door)
        inside.send(b"1")
        assert door.poll(5000) and door.waiting()[0][1] == b"1"
        keeper.shut = True
        door.tend()
        assert door.is_shut
        outside = connected(context, door)
        outside.send(b"2")
        assert not door.poll(200)
        inside.send(b"3")
        assert door.poll(5000)
        [[name, word]] = door.waiting()
        assert word == b"3"
        door.send([name, b"4"])
        assert inside.poll(5000) and inside.recv() == b"4"
        keeper.shut = False
        assert door.poll(5000) and door.waiting()[0][1] == b"2"
        assert not door.is_shut


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0"])
def test_a_door_on_any_address_is_shut_and_begins_anew(host: str) -> None:
    with opened(host=host, most_bytes=1000) as (door, keeper, context):
        client = context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.IPV6, 1)
        client.connect(f"tcp://{'[::1]' if ':' in host else '127.0.0.1'}:{door.port}")
        for keeper.said in range(3):
            keeper.shut = True
            door.tend()
            assert door.is_shut
            keeper.shut = False
            arrives(client, door)


def test_a_door_for_stops_stays_open() -> None:
    with opened(most_bytes=1000, shuts=False) as (door, keeper, context):
        keeper.shut = True
        door.tend()
        client = connected(context, door)
        client.send(b"1")
        assert door.poll(5000) and not door.is_shut


def test_a_door_that_begins_anew_puts_everybody_out_who_come_back_by_themselves() -> None:
    with opened(most_bytes=1000) as (door, keeper, context):
        client = connected(context, door)
        client.send(b"1")
        assert door.poll(5000)
        [[name, _]] = door.waiting()
        before, port = descriptors.open_descriptors(), door.port
        for keeper.said in range(1, 6):
            door.tend()
            assert door.renewed == keeper.said and door.port == port
        door.send([name, b"to nobody"])
        arrives(client, door)
        until(lambda: descriptors.open_descriptors() <= before)


def test_a_door_without_a_descriptor_to_begin_anew_with_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(most_bytes=1000) as (door, keeper, context):
        client = connected(context, door)

        def none_left(descriptor: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(doors.os, "dup", none_left)
            keeper.said = 1
            assert door.poll(50) == 0
            assert door.renewed == 0 and door.waiting() == []
            door.send([b"nobody", b"nothing"])
        arrives(client, door)
        assert door.renewed == 1


@pytest.mark.parametrize("shut", [False, True])
def test_whoever_subscribes_to_too_much_is_put_out_and_watchers_come_back(shut: bool) -> None:
    with opened(PublishingDoor) as (door, keeper, context):
        watcher = connected(context, door, zmq.SUB)
        watcher.setsockopt(zmq.SUBSCRIBE, b"")
        until(lambda: (door.tend(), door.send([b"news"]), watcher.poll(1))[2])
        enemy = connected(context, door, zmq.SUB)
        socket = door._socket
        for number in range(900):
            enemy.setsockopt(zmq.SUBSCRIBE, b"%050d" % number)
        # It must be inside before the door is shut.
        until(lambda: (door.tend(), door.send([b"news"]), door._subscribed_bytes or door._socket is not socket)[2])
        keeper.shut = shut
        until(lambda: (door.tend(), door.send([b"news"]), door._socket is not socket)[2])
        enemy.close(0)
        keeper.shut = False
        while watcher.poll(0):
            watcher.recv()
        until(lambda: (door.tend(), door.send([b"news"]), watcher.poll(1))[2])


def test_subscribing_to_everything_is_free_however_often() -> None:
    with opened(PublishingDoor) as (door, _, context):
        socket = door._socket
        for _ in range(300):
            watcher = connected(context, door, zmq.SUB)
            watcher.setsockopt(zmq.SUBSCRIBE, b"")
            until(lambda socket=watcher: (door.send([b"news"]), socket.poll(1))[1])
            watcher.close(0)
            door.tend()
        assert door._socket is socket and door._subscribed_bytes == 0


def test_what_a_subscriber_does_not_read_is_not_kept() -> None:
    with opened(PublishingDoor, most_sent=2) as (door, _, _context), sockets.socket() as idler:
        idler.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        idler.settimeout(0.5)
        idler.connect(("127.0.0.1", door.port))
        idler.sendall(handshake("SUB"))
        until(lambda: (door.tend(), len(idler.recv(1_000)))[1])
        idler.sendall(frame(b"\x01"))
        news = b"x" * 100_000
        for _ in range(200):
            door.tend()
            door.send([news])
            time.sleep(0.002)
        kept = 0
        with contextlib.suppress(TimeoutError):
            while got := idler.recv(1_000_000):
                kept += len(got)
        assert 100_000 < kept < 1_000_000


class Told:
    """A door as its keeper sees it."""

    def __init__(self, shuts: bool = True) -> None:
        self.shuts, self.renewed = shuts, 0
        self.within_s: float | None = None
        self.severed = 0

    def sever(self) -> None:
        self.severed += 1


@contextmanager
def kept(monkeypatch: pytest.MonkeyPatch, limit: int = 420) -> Iterator[tuple[Doorkeeper, dict[str, Any]]]:
    """Lend a keeper that sees a machine of our making: so many descriptors `open`, and `mib` of memory."""
    seen: dict[str, Any] = {"open": 20, "mib": 100.0, "now": 0.0}
    monkeypatch.setattr(doorkeeper, "raise_limit", lambda: limit)
    monkeypatch.setattr(doorkeeper, "open_descriptors", lambda: seen["open"])
    monkeypatch.setattr(doorkeeper, "now", lambda: seen["now"])
    monkeypatch.setattr(doorkeeper.Memory, "mib", property(lambda self: seen["mib"]))
    with contextlib.closing(Doorkeeper(Complaints())) as keeper:
        keeper.begin()
        yield keeper, seen


def look(keeper: Doorkeeper, seen: dict[str, Any], times: int = 1) -> None:
    for _ in range(times):
        seen["now"] += 0.06
        keeper.look()


def test_a_door_whose_clients_keep_it_is_freed_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept(monkeypatch) as (keeper, seen):
        kept_door, other = Told(), Told()
        keeper.doors += [kept_door, other]
        kept_door.within_s = seen["now"]
        look(keeper, seen)
        assert (kept_door.severed, other.severed) == (0, 0)
        look(keeper, seen)
        assert (kept_door.severed, other.severed) == (1, 0)


def test_only_the_connections_that_came_in_at_a_port_are_cut() -> None:
    before = descriptors.open_descriptors()
    with contextlib.ExitStack() as stack:
        ends = []
        for _ in range(2):
            listener = stack.enter_context(sockets.create_server(("127.0.0.1", 0)))
            ends.append((listener, stack.enter_context(sockets.create_connection(listener.getsockname()))))
            ends[-1] += (stack.enter_context(listener.accept()[0]),)
        (listener, client, theirs), (_, other_client, other_theirs) = ends
        opened = descriptors.open_descriptors()
        assert descriptors.cut_connections(listener.getsockname()[1]) == 1
        assert descriptors.open_descriptors() == opened
        client.settimeout(5.0)
        assert client.recv(1) == theirs.recv(1) == b""
        other_theirs.sendall(b"x")
        assert other_client.recv(1) == b"x"
        with sockets.create_connection(listener.getsockname()):
            pass
    assert descriptors.open_descriptors() == before


def test_doors_are_shut_when_descriptors_grow_scarce_and_cut_where_that_does_not_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with kept(monkeypatch) as (keeper, seen):
        door, stops = Told(), Told(shuts=False)
        keeper.doors += [door, stops]

        def told(now_open: int) -> tuple[bool, int, int]:
            seen["open"] = now_open
            look(keeper, seen)
            return keeper.shut, keeper.renewals(door), keeper.renewals(stops)

        assert told(219) == (False, 0, 0)
        assert told(221) == (True, 0, 0)
        assert told(369) == (True, 0, 0)
        assert told(371) == (True, 0, 1)  # it can only be the door of stops
        assert told(420) == (True, 1, 2)  # it was not
        assert told(171) == (True, 1, 2)
        assert told(169) == (False, 1, 2)


def test_a_process_that_may_open_too_little_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SailError, match="ulimit -n"), kept(monkeypatch, limit=80):
        pass


def test_memory_that_grows_puts_everybody_out_until_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept(monkeypatch) as (keeper, seen):
        door, stops = Told(), Told(shuts=False)
        keeper.doors += [door, stops]
        seen["mib"] = 350.0
        look(keeper, seen, 3)
        assert keeper.renewals(door) == 0
        seen["mib"] = 360.0
        look(keeper, seen, 5)
        assert keeper.renewals(door) == keeper.renewals(stops) == 1  # once, until they have
        door.renewed = stops.renewed = 1
        seen["mib"] = 120.0
        look(keeper, seen, 3)
        seen["mib"] = 370.0
        look(keeper, seen, 3)
        assert keeper.renewals(door) == 1
        seen["mib"] = 380.0
        look(keeper, seen)
        assert keeper.renewals(door) == 2


def test_descriptors_and_memory_are_counted() -> None:
    before = descriptors.open_descriptors()
    with sockets.socket(), sockets.socket():
        assert descriptors.open_descriptors() == before + 2
    memory = descriptors.Memory()
    before_mib = memory.mib
    much = bytearray(b"x" * 50_000_000)
    assert 40 < memory.mib - before_mib < 100
    del much
    memory.give_back()
    memory.close()
    assert memory.mib == 0.0


def test_ports_in_a_row_are_found_though_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    create, refusals = (
        sockets.create_server,
        itertools.chain([False, False, True, False, True], itertools.repeat(False)),
    )

    def refuses(address: tuple[str, int], **options: Any) -> sockets.socket:
        asked.append(address)
        if next(refusals):
            raise OSError(errno.EADDRINUSE, "Address already in use, said at length")
        return create(address, **options)

    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(doors.sockets, "create_server", refuses)
    found = listeners("127.0.0.1", 0, 3)
    ports = [listener.getsockname()[1] for listener in found]
    assert ports == [ports[0] + number for number in range(3)]
    assert len(asked) >= 8
    monkeypatch.undo()
    with pytest.raises(SailError, match=rf"Port {ports[1]} of 127.0.0.1 .*\(Address already in use\)"):
        found[0].close() or listeners("127.0.0.1", ports[0], 3)
    for listener in found:
        listener.close()
    with pytest.raises(SailError, match="Port 65536 of"):
        listeners("127.0.0.1", 65_536, 1)
