"""A wire that takes its time: every byte between client and server arrives later, as on a bad radio link."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

NEAR = "127.0.0.2"
"""Where clients find the slow end; the server's own end is at 127.0.0.1, with the same ports."""


@contextmanager
def slow_wire(address: str, delay_s: float, ports: int = 8) -> Iterator[str]:
    """Lend the address of a server at the end of a wire that delays by `delay_s` each way, connecting included."""
    first = urlsplit(address).port or 0
    wire = SlowWire(range(first, first + ports), delay_s)
    thread = threading.Thread(target=lambda: asyncio.run(wire.run()), daemon=True)
    thread.start()
    assert wire.ready.wait(20)
    try:
        yield f"tcp://{NEAR}:{first}"
    finally:
        wire.end()
        thread.join(20)


class SlowWire:
    def __init__(self, ports: range, delay_s: float) -> None:
        self._ports, self._delay_s = ports, delay_s
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.ready = threading.Event()

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ending.set)

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        servers = [await asyncio.start_server(self._forward(port), NEAR, port) for port in self._ports]
        self.ready.set()
        await self._ending.wait()
        for server in servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(2 * self._delay_s + 0.05)

    def _forward(self, port: int):  # type: ignore[no-untyped-def]
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            await asyncio.sleep(2 * self._delay_s)  # what the handshake of TCP takes
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
                self._writers.append(far_writer)
                await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

        return accept

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                loop.call_later(self._delay_s, self._write, writer, data)
        loop.call_later(self._delay_s, writer.close)

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)
