"""Hold connections to a server: `python -m tests.faults.crowd KIND COUNT PORT/TYPE…`; prints how many, once there are.

KIND is `silent`, which says nothing, or `idle`, which shakes hands as a socket of TYPE and says nothing more. What the
server cuts is opened again.
"""

from __future__ import annotations

import selectors
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.faults.zmtp import handshake

ROOT = Path(__file__).resolve().parents[2]
AGAIN_S = 0.3
SETTLED_S = 1.0


class Crowd:
    def __init__(self, count: int, places: list[tuple[int, bytes]]) -> None:
        self._count, self._places = count, places
        self._selector = selectors.DefaultSelector()
        self._number, self._again_s = 0, [0.0] * count
        self.inside = 0

    def run(self) -> None:
        said, grew_s, most = False, time.monotonic(), 0
        while True:
            while self._again_s and self._again_s[0] <= time.monotonic():
                self._again_s.pop(0)
                self._knock()
            for key, events in self._selector.select(0.05):
                self._go_on(key, events)
            if self.inside > most:
                most, grew_s = self.inside, time.monotonic()
            if not said and (self.inside == self._count or time.monotonic() - grew_s > SETTLED_S):
                said = True
                print(self.inside, flush=True)

    def _knock(self) -> None:
        port, greeting = self._places[self._number % len(self._places)]
        self._number += 1
        socket = sockets.socket()
        socket.setblocking(False)
        socket.connect_ex(("127.0.0.1", port))
        self._selector.register(socket, selectors.EVENT_WRITE, greeting)

    def _go_on(self, key: selectors.SelectorKey, events: int) -> None:
        socket = key.fileobj
        assert isinstance(socket, sockets.socket)
        try:
            if events & selectors.EVENT_WRITE:
                socket.sendall(key.data)
                socket.getpeername()
                self._selector.modify(socket, selectors.EVENT_READ, None)
                self.inside += 1
            elif not socket.recv(65_536):
                raise OSError
        except OSError:
            self.inside -= key.events == selectors.EVENT_READ
            self._selector.unregister(socket)
            socket.close()
            self._again_s.append(time.monotonic() + AGAIN_S)


@contextmanager
def crowd(kind: str, count: int, ports: Mapping[str, int]) -> Iterator[int]:
    """Lend so many connections, shared out among ports, and say how many there are; no process holds over 500."""
    places = [f"{port}/{'DEALER' if name in ('control', 'command', 'stop') else 'SUB'}" for name, port in ports.items()]
    shares = [min(500, count - first) for first in range(0, count, 500)]
    with ExitStack() as stack:
        processes = [stack.enter_context(_process([kind, str(share), *places])) for share in shares]
        yield sum(int(process.stdout.readline()) for process in processes if process.stdout is not None)


@contextmanager
def _process(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.faults.crowd", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def main() -> None:
    kind, count, *places = sys.argv[1:]
    parted = [place.split("/") for place in places]
    greetings = [(int(port), handshake(name) if kind == "idle" else b"") for port, name in parted]
    with suppress(KeyboardInterrupt):
        Crowd(int(count), greetings).run()


if __name__ == "__main__":
    main()
