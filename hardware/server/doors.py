"""The server's sockets, each behind a listening socket that outlives it.

A door can be shut: nobody new comes in, and those inside go on. It can be made anew: everybody is put out, what they
left behind is freed, and clients, whose sockets connect again by themselves, come back within a moment. The port stays
ours all the while. A doorkeeper says when; each door acts by itself, in the thread that uses it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import socket as sockets
import struct
import time
from collections.abc import Mapping, Sequence

import zmq

from hardware.server.descriptors import cut_connections
from hardware.server.doorkeeper import LOOK_S, Doorkeeper
from hardware.wire.clocks import now
from hardware.wire.keys import KeyPair
from robot.core.errors import SailError

HANDSHAKE_S = 2.0
"""A connection that has not said by then who it is, is cut."""
ALWAYS: Mapping[int, int] = {
    zmq.LINGER: 0,
    zmq.HANDSHAKE_IVL: round(1000 * HANDSHAKE_S),
    # A connection whose other end has gone without a word, as a laptop that was shut, is cut after half a minute.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 15,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
BACKLOG = 100
ATTACH_FILTER, DETACH_FILTER, RETURN = 26, 27, 0x06
"""Linux: let a small program choose the packets that a socket gets; this one returns none."""
DRAINED = 64
"""How many messages of a socket are read before others get their turn."""
SEND_BUFFER_BYTES = 131_072
"""The system's own grows to megabytes for every connection that does not read, and makes pictures late."""
MAX_SUBSCRIPTION_BYTES, MAX_SUBSCRIPTION_BYTES_WITH_KEYS = 64, 512
"""The handshake needs some 30 bytes, with keys some 280."""
SUBSCRIPTION_BUFFER_BYTES, SUBSCRIPTIONS_WAITING = 2_048, 2
"""Small, so that whoever subscribes without end does not outrun the thread that takes the subscriptions in; where only
1 may wait, ZeroMQ never gets to know whose keys are let in."""
MOST_SUBSCRIBED_BYTES, MOST_SUBSCRIPTIONS = 32_768, 1_000
"""In all, and in one turn. A client subscribes to everything, which takes none; ZeroMQ spends 50 bytes on each."""


class Door:
    """A ROUTER socket, of one thread, which asks it through `poll` at least every second."""

    kind = zmq.ROUTER
    options: Mapping[int, int] = {}

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listener: sockets.socket,
        keeper: Doorkeeper,
        keys: KeyPair | None = None,
        *,
        most_bytes: int,
        most_received: int = 64,
        most_sent: int = 64,
        shuts: bool = True,
    ) -> None:
        """Take a listening socket and open; a door that does not shut stays open when the others are shut.

        A message may have `most_bytes`; up to `most_received` and `most_sent` of a connection wait here.
        """
        self._context, self._listener, self._keeper, self._keys = context, listener, keeper, keys
        most: dict[int, int] = {zmq.MAXMSGSIZE: most_bytes, zmq.RCVHWM: most_received, zmq.SNDHWM: most_sent}
        self._options = {**ALWAYS, **self.options, **most}
        self.shuts, self.is_shut, self.renewed = shuts, False, 0
        self.within_s: float | None = None
        self._severed = False
        self._socket: zmq.Socket[bytes] | None = None
        # Connections inherit what their listening socket has.
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._open()
        keeper.doors.append(self)

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self._listener.getsockname()[1])

    def poll(self, timeout_ms: int) -> int:
        """Wait until something has come; return 0 where nothing has in time."""
        until_s = now() + timeout_ms / 1000
        while True:
            self.tend()
            left_s = min(max(until_s - now(), 0.0), LOOK_S)
            if self._socket is None:
                time.sleep(left_s)
            elif came := self._socket.poll(math.ceil(1000 * left_s)):
                return int(came)
            if now() >= until_s:
                return 0

    def waiting(self) -> list[list[bytes]]:
        """Return up to `DRAINED` of the messages that have come, oldest first."""
        messages: list[list[bytes]] = []
        with contextlib.suppress(zmq.ZMQError):
            while self._socket is not None and len(messages) < DRAINED:
                messages.append(self._socket.recv_multipart(zmq.NOBLOCK))
        return messages

    def send(self, parts: Sequence[bytes]) -> None:
        """Send a message, or drop it where there is no room for it or nobody to take it."""
        with contextlib.suppress(zmq.ZMQError):
            if self._socket is not None:
                self._socket.send_multipart(parts, zmq.NOBLOCK)

    def tend(self) -> None:
        """Do what the doorkeeper says: shut, open, begin anew."""
        wanted, shut = self._keeper.renewals(self), self.shuts and self._keeper.shut
        if self._socket is None or self.renewed < wanted:
            self._renew(wanted)
        if self.is_shut != shut:
            self._shut(shut)
        if self.is_shut:
            self._send_away()

    def sever(self) -> None:
        """Cut all connections, from whatever thread, and let nobody in until the door begins anew."""
        self._severed = True
        self._shut(True)
        cut_connections(self.port)

    def close(self) -> None:
        """Close it and let go of its port; closing twice is allowed."""
        self._put_out()
        self._listener.close()

    def _renew(self, wanted: int) -> None:
        """Put everybody out and open anew; without a descriptor for it, the next turn tries again."""
        self._put_out()
        with contextlib.suppress(zmq.ZMQError, OSError):
            self._open()
            self.renewed = wanted

    def _put_out(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close(0)

    def _open(self) -> None:
        socket: zmq.Socket[bytes] = self._context.socket(self.kind)
        try:
            for option, value in self._options.items():
                socket.setsockopt(option, value)
            socket.setsockopt(zmq.IPV6, int(self._listener.family == sockets.AF_INET6))
            if self._keys is not None:
                socket.curve_secretkey, socket.curve_publickey = self._keys.secret, self._keys.public
                socket.curve_server = True
            self._bind(socket)
        except BaseException:
            socket.close(0)
            raise
        self._socket = socket

    def _bind(self, socket: zmq.Socket[bytes]) -> None:
        """Let a socket take connections from a descriptor of its own, which ZeroMQ closes."""
        host, port = self._listener.getsockname()[:2]
        descriptor = os.dup(self._listener.fileno())
        try:
            socket.setsockopt(zmq.USE_FD, descriptor)
            socket.bind(f"tcp://{in_url(host)}:{port}")
        except BaseException:
            os.close(descriptor)
            raise

    def _shut(self, shut: bool) -> None:
        """Have the system hand on nothing that asks to come in, or hand it on again.

        To unbind the ZeroMQ socket would cut the connections that are there. Source: socket(7), SO_ATTACH_FILTER.
        """
        with contextlib.suppress(OSError):
            if shut:
                nothing = ctypes.create_string_buffer(struct.pack("=HBBI", RETURN, 0, 0, 0))
                program = struct.pack("HP", 1, ctypes.addressof(nothing))
                self._listener.setsockopt(sockets.SOL_SOCKET, ATTACH_FILTER, program)
            else:
                self._listener.setsockopt(sockets.SOL_SOCKET, DETACH_FILTER, 0)
            self.is_shut = shut

    def _send_away(self) -> None:
        """Close what has come in and waits to be taken: ZeroMQ asks for it without a pause if it may not have it."""
        with contextlib.suppress(OSError):
            while True:
                self._listener.accept()[0].close()


class PublishingDoor(Door):
    """An XPUB socket: it is told of every subscription, and begins anew when they come to more than clients need.

    ZeroMQ takes subscriptions in while it sends, in the sender's thread and as fast as they come, and keeps them until
    whoever made them has gone.
    """

    kind = zmq.XPUB
    options: Mapping[int, int] = {zmq.XPUB_VERBOSE: 1}

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listener: sockets.socket,
        keeper: Doorkeeper,
        keys: KeyPair | None = None,
        *,
        most_sent: int = 64,
    ) -> None:
        """Take a listening socket and open; of messages that wait for a slow subscriber, `most_sent` are kept."""
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, SUBSCRIPTION_BUFFER_BYTES)
        self._subscribed_bytes = 0
        super().__init__(
            context,
            listener,
            keeper,
            keys,
            most_bytes=MAX_SUBSCRIPTION_BYTES if keys is None else MAX_SUBSCRIPTION_BYTES_WITH_KEYS,
            most_received=SUBSCRIPTIONS_WAITING,
            most_sent=most_sent,
        )

    def send(self, parts: Sequence[bytes]) -> None:
        """Send a message to those who take it; ZeroMQ first takes in all that was subscribed to."""
        self.within_s = now()
        super().send(parts)
        self.within_s = None
        if self._severed:
            # To look through millions of subscriptions for those of each connection that was cut is left to ZeroMQ.
            self._renew(self.renewed)

    def tend(self) -> None:
        """Count what was subscribed to, beside what every door does."""
        self.within_s = now()
        self._take_in()
        self.within_s = None
        super().tend()

    def _take_in(self) -> None:
        for _ in range(MOST_SUBSCRIPTIONS):
            told = self._told()
            if told is None:
                break
            # A byte says that it is a subscription; the rest is what was subscribed to.
            self._subscribed_bytes += max(len(told) - 1, 0)
            if self._severed or self._subscribed_bytes > MOST_SUBSCRIBED_BYTES:
                break
        else:
            told = b""
        if told is not None or self._severed:
            self._renew(self.renewed)

    def _told(self) -> bytes | None:
        if self._socket is not None:
            with contextlib.suppress(zmq.ZMQError):
                return self._socket.recv(zmq.NOBLOCK)
        return None

    def _open(self) -> None:
        self._subscribed_bytes, self._severed = 0, False
        super()._open()


def in_url(host: str) -> str:
    """Return an IP address as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def listeners(host: str, port: int, count: int) -> list[sockets.socket]:
    """Return sockets that listen on ports in a row, from `port` on or, where that is 0, from any that are free."""
    for _ in range(100):
        found: list[sockets.socket] = []
        try:
            for number in range(count):
                first = found[0].getsockname()[1] if found else port
                found.append(_listener(host, first + number if first else 0))
            return found
        except OSError as error:
            for listener in found:
                listener.close()
            if port:
                why = os.strerror(error.errno or 0)
                raise SailError(
                    f"Port {port + len(found)} of {host} cannot be served on ({why}): choose another with port=…"
                ) from None
    raise SailError(f"There are no {count} free ports in a row at {host}: choose the first with port=…")


def _listener(host: str, port: int) -> sockets.socket:
    if not 0 <= port <= 65_535:
        raise OSError(errno.EADDRNOTAVAIL, "there is no such port")
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    listener = sockets.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener
