"""Stop an arm at once: one message to the port of stops, before anything else is said, to a server of any release.

The form of a stop is the same in every release: an envelope whose `kind` is "stop". Its version and schema are not
looked at, and nothing of it need be understood but that. This module loads sockets and nothing else: whoever stops an
arm waits for no library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import zmq

from hardware.wire.clocks import now
from hardware.wire.envelope import PROTOCOL_VERSION, MessageError, loose_envelope
from hardware.wire.lines import ArmError, host_and_port, open_line

if TYPE_CHECKING:
    from hardware.wire.keys import ClientKeys

STOP_PORT = 2
"""How far the port of stops lies above the control port."""
LAST_PORT = 65_535
AGAIN_S = 0.15
"""A stop that was not answered by then is said again on a new line, since a server beset by others may lose one."""


class Stopped(NamedTuple):
    """Hold what a server answered to a stop: its own words, and how long the answer took, in s."""

    detail: str
    took_s: float


def send_stop(address: str, reason: str, keys: ClientKeys | None = None, timeout_s: float = 2.0) -> Stopped:
    """Send a stop to the server whose control socket is at `address`, again and again, and return its first answer.

    Raises ArmError where `address` is none or no answer comes in time: the stop may have arrived all the same.
    """
    host, port = host_and_port(address)
    if port + STOP_PORT > LAST_PORT:
        raise ArmError(f"{address!r} is no address of an arm: its control port is {LAST_PORT - STOP_PORT} at most.")
    url = f"tcp://{host}:{port + STOP_PORT}"
    context: zmq.Context[Any] = zmq.Context()
    began_s = now()
    lines, wait_s = _Lines(_stop(reason, began_s)), AGAIN_S
    try:
        while (left_s := began_s + timeout_s - now()) > 0:
            lines.add(open_line(context, url, keys))
            detail = lines.answer(min(wait_s, left_s))
            if detail is not None:
                return Stopped(detail, now() - began_s)
            wait_s *= 2
    finally:
        context.destroy(0)
    raise ArmError(
        f"Nobody at {url} answered the stop within {timeout_s:g} s: press the arm's own emergency stop; then see that "
        "`sail arm serve` runs there, and that the keys fit."
    )


def _stop(reason: str, sent_s: float) -> dict[str, Any]:
    ours = {"v": PROTOCOL_VERSION, "schema": "", "session": "", "seq": 1, "answers": -1, "t": sent_s}
    return {**ours, "kind": "stop", "body": {"reason": reason}, "arrays": []}


class _Lines:
    """Say a stop on several lines, and listen to all of them."""

    def __init__(self, stop: dict[str, Any]) -> None:
        self._stop = stop
        self._poller = zmq.Poller()
        self._refused: set[zmq.Socket[bytes]] = set()

    def add(self, line: zmq.Socket[bytes]) -> None:
        self._poller.register(line, zmq.POLLIN)
        line.send(msgpack.packb(self._stop))

    def answer(self, timeout_s: float) -> str | None:
        """Return the first answer's words, None where none comes in time."""
        until_s = now() + timeout_s
        while (left_s := until_s - now()) > 0:
            for line, _ in self._poller.poll(max(1, round(1000 * left_s))):
                try:
                    envelope = loose_envelope(line.recv_multipart(zmq.NOBLOCK))
                except (MessageError, zmq.ZMQError):
                    continue
                if envelope.get("kind") == "done":
                    return _text(envelope, "detail")
                if envelope.get("kind") == "refused" and line not in self._refused:
                    # A release that did not know yet that a stop has no version: say it again in its own.
                    self._refused.add(line)
                    theirs = {"v": envelope.get("v"), "schema": envelope.get("schema")}
                    line.send(msgpack.packb(self._stop | theirs))
        return None


def _text(envelope: dict[Any, Any], name: str) -> str:
    body = envelope.get("body")
    return str(body.get(name, "")) if isinstance(body, dict) else ""
