"""Stop an arm at once: one message to the port of stops, before anything else is said, to a server of any release.

The form of a stop is the same in every release: an envelope whose `kind` is "stop". Its version and schema are not
looked at, and nothing of it need be understood but that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import zmq

from hardware.client import ArmError, host_and_port, open_line
from hardware.clocks import now
from hardware.keys import ClientKeys
from hardware.messages import Message, MessageError, loose_envelope, pack

STOP_PORT = 2
"""How far the port of stops lies above the control port."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Hold what a server answered to a stop: its own words, and how long the answer took, in s."""

    detail: str
    took_s: float


def send_stop(address: str, reason: str, keys: ClientKeys | None = None, timeout_s: float = 2.0) -> Stopped:
    """Send a stop to the server whose control socket is at `address` and return its answer.

    Raises ArmError where `address` is none or no answer comes in time: the stop may have arrived all the same.
    """
    host, port = host_and_port(address)
    url = f"tcp://{host}:{port + STOP_PORT}"
    context: zmq.Context[Any] = zmq.Context()
    began_s = now()
    try:
        socket = open_line(context, url, keys)
        parts = pack(Message("stop", {"reason": reason}, (), "", 1, -1, began_s))
        socket.send_multipart(parts)
        spoken_again = False
        while (left_s := began_s + timeout_s - now()) > 0:
            if not socket.poll(max(1, round(1000 * left_s))):
                break
            try:
                envelope = loose_envelope(socket.recv_multipart())
            except MessageError:
                continue
            if envelope.get("kind") == "done":
                return Stopped(_text(envelope, "detail"), now() - began_s)
            if envelope.get("kind") == "refused" and not spoken_again:
                # A release that did not know yet that a stop has no version: say it again in its own.
                spoken_again = True
                socket.send_multipart(_in_its_words(parts, envelope))
    finally:
        context.destroy(0)
    raise ArmError(
        f"Nobody at {url} answered the stop within {timeout_s:g} s: press the arm's own emergency stop; then see that "
        "`sail arm serve` runs there, and that the keys fit."
    )


def _text(envelope: dict[Any, Any], name: str) -> str:
    body = envelope.get("body")
    return str(body.get(name, "")) if isinstance(body, dict) else ""


def _in_its_words(parts: Sequence[bytes], envelope: dict[Any, Any]) -> list[bytes]:
    """Return a message of ours with the version and the schema that an envelope of the other end bears."""
    ours = loose_envelope(parts)
    return [msgpack.packb(ours | {"v": envelope.get("v"), "schema": envelope.get("schema")}), *parts[1:]]
