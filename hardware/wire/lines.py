"""Lines to an arm's server: addresses, sockets, keys. It loads next to nothing, so that a stop is under way at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import zmq

from hardware.wire.reasons import Code
from robot.core.errors import SailError

if TYPE_CHECKING:
    from hardware.wire.keys import ClientKeys


class ArmError(SailError):
    """Say that the server does not answer, or why it refused."""


class ArmRefusedError(ArmError):
    """Say why the server did not do what it was asked; `code` says so to programs."""

    def __init__(self, sentence: str, code: Code = Code.OTHER) -> None:
        super().__init__(sentence)
        self.code = code


class StoppedError(ArmError):
    """Say that the arm is in FAULT, where a person stopped it or something went wrong; `code` says which."""

    def __init__(self, sentence: str, code: Code = Code.FAULT) -> None:
        super().__init__(sentence)
        self.code = code

    @property
    def by_operator(self) -> bool:
        """Return whether somebody asked for the stop."""
        return self.code is Code.STOPPED


def host_and_port(address: str) -> tuple[str, int]:
    """Return the host, as it is written in an address, and the control port; raise ArmError for no address."""
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if host is None or not port or url.scheme != "tcp":
        raise ArmError(f"{address!r} is no address of an arm: write tcp://HOST:PORT.")
    return f"[{host}]" if ":" in host else host, port


def open_line(
    context: zmq.Context[Any], url: str, keys: ClientKeys | None, most_waiting: int = 16
) -> zmq.Socket[bytes]:
    """Return a DEALER socket to a server's socket; more than `most_waiting` messages do not wait to be sent.

    Raises ArmError where `url` is no address.
    """
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, int("[" in url))
    socket.setsockopt(zmq.MAXMSGSIZE, 1_048_576)
    socket.setsockopt(zmq.SNDHWM, most_waiting)
    secure(socket, keys)
    try:
        socket.connect(url)
    except zmq.ZMQError as error:
        socket.close(0)
        raise ArmError(f"{url!r} is no address of an arm ({error}): write tcp://HOST:PORT.") from None
    return socket


def secure(socket: zmq.Socket[bytes], keys: ClientKeys | None) -> None:
    """Give a socket a client's keys, where there are any."""
    if keys is not None:
        socket.curve_secretkey = keys.own.secret
        socket.curve_publickey = keys.own.public
        socket.curve_serverkey = keys.server
