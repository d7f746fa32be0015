"""What travels on the wire: a msgpack envelope, then raw arrays, one part each. Never pickle.

A message is a multipart ZeroMQ message. Its first part is a msgpack map, the envelope:

    v        int    protocol version
    schema   str    hash of the kinds of message below; both ends must have the same
    session  str    which run of the server this is for; empty in a hello
    seq      int    number of this message, counted by its sender
    answers  int    `seq` of the request that this answers, or −1
    t        float  when it was sent, seconds on the sender's monotonic clock
    kind     str    one of `KINDS`
    body     map    the fields of that kind, all of them and no others
    arrays   list   [dtype, shape] of each further part: raw C-ordered little-endian values

Whatever arrives is hostile until `unpack` has checked it: sizes first, then types, then the fields of its kind.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from hardware.wire.envelope import MAX_ARRAYS, MAX_LIST, MAX_TEXT, PROTOCOL_VERSION, loose_envelope
from hardware.wire.envelope import MAX_HEADER_BYTES as MAX_HEADER_BYTES
from hardware.wire.envelope import MessageError as MessageError
from hardware.wire.envelope import is_int as _is_int

DTYPES: Mapping[str, np.dtype[Any]] = {name: np.dtype(name) for name in ("<f8", "<f4", "|u1")}

# s: text, i: whole number, f: finite number, b: true or false; `?` allows none, `*` stands for a list.
KINDS: Mapping[str, Mapping[str, str]] = {
    # Requests on the control socket.
    "hello": {"client": "s", "robot": "s", "calibration": "s"},
    "clock": {},
    "beat": {"token": "s"},
    "lease": {"client": "s"},
    "release": {"token": "s"},
    "arm": {"token": "s"},
    "disarm": {"token": "s"},
    "home": {"token": "s"},
    "reset": {"token": "s", "seed": "i"},
    "clear": {},
    "status": {},
    # On the socket for stops, and on the control socket too.
    "stop": {"reason": "s"},
    # On the socket for commands; arrays: times_s float64 (N,), positions float64 (N, J).
    "command": {"token": "s", "sequence": "i", "seen_s": "f?"},
    # Answers. `welcome` has arrays: limits float64 (8, J), matrices float64 (C, 3, 4) and intrinsics float64 (C, 4);
    # NaN where unknown, and a rate that is unknown is 0.
    "welcome": {
        "robot": "s",
        "calibration": "s",
        "joint_names": "s*",
        "units": "s*",
        "servo_hz": "f",
        "state_hz": "f",
        "silence_s": "f",
        "lease_s": "f",
        "camera_names": "s*",
        "camera_heights": "i*",
        "camera_widths": "i*",
        "camera_rates_hz": "f*",
        "camera_ports": "i*",
        "command_port": "i",
        "stop_port": "i",
        "state_port": "i",
        "can_reset": "b",
    },
    "time": {"received_s": "f"},
    "beating": {"received_s": "f", "held": "b", "state": "s"},
    "leased": {"token": "s"},
    "done": {"state": "s", "detail": "s"},
    # Beside each sentence its code, one of `hardware.wire.reasons.Code`: programs look at that alone.
    "refused": {"reason": "s", "code": "s"},
    # Arrays: the positions in force, float64 (M, J), past ones dropped.
    "ruling": {"sequence": "i", "verdict": "s", "reasons": "s*", "codes": "s*", "dropped": "i"},
    # Array: float64 (J,), where the joints are, NaN where unknown.
    "report": {
        "state": "s",
        "reason": "s",
        "code": "s",
        "holder": "s",
        "time_s": "f",
        "at_rest": "b",
        "at_home": "b",
        "healthy": "b",
        "ticks": "i",
        "late_ticks": "i",
        "passed": "i",
        "clamped": "i",
        "rejected": "i",
        "garbage": "i",
        "faults": "i",
        "camera_ages_s": "f*",
        "camera_rates_hz": "f*",
        "camera_lost": "i*",
        "camera_problems": "s*",
    },
    # Published. Arrays of `state`: float64 (J,) measured position, its velocity (or empty), asked, sent. `succeeded` is
    # a simulated scene's ground truth since its last reset, none where nobody knows.
    "state": {
        "state": "s",
        "reason": "s",
        "code": "s",
        "time_s": "f",
        "measured_s": "f",
        "holder": "s",
        "sequence": "i",
        "applied": "i",
        "applied_s": "f",
        "at_rest": "b",
        "at_home": "b",
        "tick": "i",
        "succeeded": "b?",
    },
    # One array: uint8 (H, W, 3) where the encoding is `raw`, else uint8 (bytes,) of a JPEG file.
    "image": {"camera": "s", "captured_s": "f", "number": "i", "encoding": "s"},
}

SCHEMA = hashlib.sha256(
    json.dumps(
        [PROTOCOL_VERSION, {kind: dict(sorted(fields.items())) for kind, fields in sorted(KINDS.items())}]
    ).encode()
).hexdigest()[:16]


class MismatchError(MessageError):
    """Say that the other end speaks another version of the protocol, naming both."""


@dataclass(frozen=True, slots=True)
class Message:
    """Hold one message; the module's docstring says what the fields are."""

    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
    arrays: tuple[NDArray[Any], ...] = ()
    session: str = ""
    sequence: int = 0
    answers: int = -1
    sent_s: float = 0.0


def pack(message: Message) -> list[bytes]:
    """Return the parts of a message; raise ValueError where it does not keep to its kind."""
    _check_fields(message.kind, message.body)
    arrays = [np.ascontiguousarray(array) for array in message.arrays]
    if any(array.dtype.str not in DTYPES for array in arrays) or len(arrays) > MAX_ARRAYS:
        raise ValueError(f"A message takes up to {MAX_ARRAYS} arrays of {', '.join(DTYPES)}.")
    envelope = {
        "v": PROTOCOL_VERSION,
        "schema": SCHEMA,
        "session": message.session,
        "seq": message.sequence,
        "answers": message.answers,
        "t": message.sent_s,
        "kind": message.kind,
        "body": dict(message.body),
        "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
    }
    header: bytes = msgpack.packb(envelope)
    return [header, *(array.tobytes() for array in arrays)]


def unpack(parts: Sequence[bytes]) -> Message:
    """Return the message that some bytes are; the arrays are copies that nothing else holds.

    Raises MismatchError where the other end speaks another version, MessageError for anything else that is amiss.
    """
    envelope = loose_envelope(parts)
    _check_version(envelope)
    kind, body, session = envelope.get("kind"), envelope.get("body"), envelope.get("session")
    sequence, answers, sent_s = envelope.get("seq"), envelope.get("answers"), envelope.get("t")
    if not isinstance(kind, str) or not isinstance(body, dict) or not isinstance(session, str):
        raise MessageError("An envelope needs a kind, a body and a session.")
    if not _is_int(sequence) or not _is_int(answers) or not _is_number(sent_s) or len(envelope) != 9:
        raise MessageError("An envelope needs seq, answers, t and arrays, and nothing else.")
    try:
        _check_fields(kind, body)
    except ValueError as error:
        raise MessageError(str(error)) from None
    arrays = _read_arrays(envelope.get("arrays"), parts[1:])
    return Message(kind, body, arrays, session, sequence, answers, float(sent_s))  # type: ignore[arg-type]


def _check_version(envelope: Mapping[Any, Any]) -> None:
    version, schema = envelope.get("v"), envelope.get("schema")
    if version != PROTOCOL_VERSION:
        said = repr(version)[:40]
        raise MismatchError(f"The other end speaks protocol version {said}, this one {PROTOCOL_VERSION}: update one.")
    if schema != SCHEMA:
        said = repr(schema)[:40]
        raise MismatchError(
            f"The other end has schema hash {said}, this one {SCHEMA!r}: install the same release on both."
        )


def _is_number(value: object) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _fits(value: object, kind: str) -> bool:
    if kind.endswith("*"):
        return isinstance(value, list) and len(value) <= MAX_LIST and all(_fits(one, kind[0]) for one in value)
    if kind.endswith("?") and value is None:
        return True
    if kind[0] == "s":
        return isinstance(value, str) and len(value) <= MAX_TEXT
    if kind[0] == "b":
        return isinstance(value, bool)
    return _is_int(value) if kind[0] == "i" else _is_number(value)


def _check_fields(kind: str, body: Mapping[Any, Any]) -> None:
    """Raise ValueError unless a body has the fields of its kind, each of its type."""
    fields = KINDS.get(kind)
    if fields is None:
        raise ValueError(f"There is no message of kind {kind[:40]!r}.")
    if body.keys() != fields.keys():
        raise ValueError(f"A message of kind {kind!r} has the fields {', '.join(fields) or '(none)'}, and no others.")
    for name, wanted in fields.items():
        if not _fits(body[name], wanted):
            raise ValueError(f"Field {name!r} of a message of kind {kind!r} is not of type {wanted!r}.")


def _read_arrays(described: object, parts: Sequence[bytes]) -> tuple[NDArray[Any], ...]:
    if not isinstance(described, list) or len(described) != len(parts):
        raise MessageError(f"The envelope does not describe the {len(parts)} arrays that follow it.")
    arrays = []
    for about, part in zip(described, parts, strict=True):
        if not isinstance(about, list) or len(about) != 2 or not isinstance(about[0], str) or about[0] not in DTYPES:
            raise MessageError(f"An array is described by one of {', '.join(DTYPES)} and its shape.")
        dtype, shape = DTYPES[about[0]], about[1]
        if not isinstance(shape, list) or len(shape) > 4 or not all(_is_int(n) and 0 <= n < 2**31 for n in shape):
            raise MessageError("The shape of an array is a list of up to four sizes.")
        if math.prod(shape) * dtype.itemsize != len(part):
            raise MessageError(f"An array of shape {shape} and {about[0]} does not take {len(part)} bytes.")
        arrays.append(np.frombuffer(part, dtype).reshape(shape).copy())
    return tuple(arrays)
