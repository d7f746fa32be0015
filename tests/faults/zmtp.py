"""Just enough of ZMTP, without keys, to say what no ZeroMQ socket would. Source: https://rfc.zeromq.org/spec/23."""

from __future__ import annotations

import socket as sockets
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def frame(body: bytes, more: bool = False, command: bool = False) -> bytes:
    """Return a frame; after one with `more` the message goes on."""
    flags = more | (4 if command else 0)
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def handshake(kind: str) -> bytes:
    """Return what a socket of a type, such as DEALER, says first."""
    return GREETING + frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind.encode(), command=True)


def connected(port: int, kind: str) -> sockets.socket:
    """Return a connection that has shaken hands; ZeroMQ cuts one that says more before both have."""
    socket = sockets.create_connection(("127.0.0.1", port), timeout=5.0)
    try:
        socket.sendall(handshake(kind))
        _received(socket, len(GREETING))
        _received(socket, _received(socket, 2)[1])
    except OSError:
        socket.close()
        raise
    return socket


def _received(socket: sockets.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = socket.recv(count - len(got))
        if not more:
            raise ConnectionResetError("The server cut the connection.")
        got += more
    return got
