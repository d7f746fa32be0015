"""A wire between client and server that delays, drops, repeats, mixes up or corrupts what it carries."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import zmq

from hardware.wire.messages import Message, MessageError, pack, unpack

Parts = list[bytes]
Mangle = Callable[[random.Random, Parts], list[tuple[float, Parts]]]
"""Returns what is delivered in place of a message, and how many seconds later each is."""


def corrupted(rng: random.Random, parts: Parts) -> Parts:
    changed = [bytearray(part) for part in parts]
    part = rng.choice(changed)
    for _ in range(rng.randrange(1, 4)):
        if part:
            part[rng.randrange(len(part))] = rng.randrange(256)
    return [bytes(part) for part in changed]


FAULTS: Mapping[str, Mangle] = {
    "delay": lambda rng, parts: [(rng.uniform(0.0, 0.08), parts)],
    "drop": lambda rng, parts: [] if rng.random() < 0.15 else [(0.0, parts)],
    "duplicate": lambda rng, parts: [(0.0, parts), (0.0, parts), (rng.uniform(0.0, 0.05), parts)],
    "reorder": lambda rng, parts: [(0.06 if rng.random() < 0.4 else 0.0, parts)],
    "corrupt": lambda rng, parts: [(0.0, corrupted(rng, parts) if rng.random() < 0.15 else parts)],
}


class FaultyWire(threading.Thread):
    """Forward every socket of a server; `address` is where clients find it. It is honest until `mangle` is set."""

    def __init__(self, address: str, seed: int = 0) -> None:
        super().__init__(daemon=True)
        self._host, self._context = urlsplit(address).hostname, zmq.Context()
        self._rng = random.Random(seed)
        self._poller = zmq.Poller()
        self._ending = threading.Event()
        self._later: list[tuple[float, int, zmq.Socket[bytes], Parts]] = []
        self._numbers = itertools.count()
        self._forwarded: dict[int, int] = {}
        self._fronts: dict[zmq.Socket[bytes], int] = {}
        self._backs: dict[zmq.Socket[bytes], tuple[zmq.Socket[bytes], Parts]] = {}
        self._clients: dict[tuple[int, bytes], zmq.Socket[bytes]] = {}
        self.mangle: Mangle | None = None
        self.address = f"tcp://127.0.0.1:{self._front(urlsplit(address).port or 0)}"

    def end(self) -> None:
        self._ending.set()
        self.join(20)
        self._context.destroy(0)

    def run(self) -> None:
        while not self._ending.is_set():
            for socket, _ in self._poller.poll(2):
                for _ in range(100):
                    try:
                        parts = socket.recv_multipart(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    self._forward(socket, parts)
            while self._later and self._later[0][0] <= time.monotonic():
                _, _, target, parts = heapq.heappop(self._later)
                self._deliver(target, parts)

    def _forward(self, socket: zmq.Socket[bytes], parts: Parts) -> None:
        if socket in self._fronts:
            port = self._fronts[socket]
            back = self._clients.get((port, parts[0]))
            if back is None:
                back = self._socket(zmq.DEALER)
                back.connect(f"tcp://{self._host}:{port}")
                self._clients[port, parts[0]] = back
                self._backs[back] = socket, [parts[0]]
                self._poller.register(back, zmq.POLLIN)
            self._send(back, [], parts[1:])
        else:
            front, address = self._backs[socket]
            self._send(front, address, self._with_our_ports(parts))

    def _send(self, target: zmq.Socket[bytes], address: Parts, parts: Parts) -> None:
        fates = [(0.0, parts)] if self.mangle is None else self.mangle(self._rng, parts)
        for delay_s, changed in fates:
            if delay_s == 0.0:
                self._deliver(target, [*address, *changed])
            else:
                due_s = time.monotonic() + delay_s
                heapq.heappush(self._later, (due_s, next(self._numbers), target, [*address, *changed]))

    def _deliver(self, target: zmq.Socket[bytes], parts: Parts) -> None:
        try:
            target.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError:
            return

    def _with_our_ports(self, parts: Parts) -> Parts:
        """Return a welcome in which our own ports stand for the server's; other messages as they are."""
        try:
            message = unpack(parts)
        except MessageError:
            return parts
        if message.kind != "welcome":
            return parts
        body = dict(message.body)
        for name in ("command_port", "stop_port"):
            body[name] = self._front(body[name])
        body["state_port"] = self._published(body["state_port"])
        body["camera_ports"] = [self._published(port) for port in body["camera_ports"]]
        ours: Message = replace(message, body=body)
        return pack(ours)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        return socket

    def _front(self, port: int) -> int:
        if port not in self._forwarded:
            socket = self._socket(zmq.ROUTER)
            self._forwarded[port] = socket.bind_to_random_port("tcp://127.0.0.1")
            self._fronts[socket] = port
            self._poller.register(socket, zmq.POLLIN)
        return self._forwarded[port]

    def _published(self, port: int) -> int:
        if port not in self._forwarded:
            front, back = self._socket(zmq.PUB), self._socket(zmq.SUB)
            self._forwarded[port] = front.bind_to_random_port("tcp://127.0.0.1")
            back.setsockopt(zmq.SUBSCRIBE, b"")
            back.connect(f"tcp://{self._host}:{port}")
            self._backs[back] = front, []
            self._poller.register(back, zmq.POLLIN)
        return self._forwarded[port]


@contextmanager
def faulty_wire(address: str) -> Iterator[FaultyWire]:
    wire = FaultyWire(address)
    wire.start()
    try:
        yield wire
    finally:
        wire.end()
