"""The first part of a message, as far as a stop needs it: a msgpack map in which nothing but sizes was checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from robot.core.errors import SailError

PROTOCOL_VERSION = 2
MAX_HEADER_BYTES = 16_384
MAX_ARRAYS = 8
MAX_TEXT = 2_048
MAX_LIST = 64


class MessageError(SailError):
    """Say that bytes from the wire are no message of this protocol."""


def loose_envelope(parts: Sequence[bytes]) -> dict[Any, Any]:
    """Return the envelope of a message of any version, in which nothing has been checked but sizes.

    Raises MessageError where there is none.
    """
    if not 1 <= len(parts) <= 1 + MAX_ARRAYS:
        raise MessageError(f"A message has 1 to {1 + MAX_ARRAYS} parts, got {len(parts)}.")
    if len(parts[0]) > MAX_HEADER_BYTES:
        raise MessageError(f"An envelope takes at most {MAX_HEADER_BYTES} bytes, got {len(parts[0])}.")
    try:
        envelope = msgpack.unpackb(
            parts[0],
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_TEXT,
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=MAX_LIST,
            max_map_len=MAX_LIST,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MessageError(f"An envelope cannot be read ({type(error).__name__}).") from None
    if not isinstance(envelope, dict):
        raise MessageError("An envelope must be a map.")
    return envelope


def stop_in(parts: Sequence[bytes]) -> tuple[str, int] | None:
    """Return the reason of a stop, of whatever version, and the number to answer it by; None where it is no stop.

    A stop must be understood from clients of every release, so nothing but its kind is insisted on. Raises MessageError
    for what is no message.
    """
    envelope = loose_envelope(parts)
    if envelope.get("kind") != "stop":
        return None
    body, number = envelope.get("body"), envelope.get("seq")
    reason = body.get("reason") if isinstance(body, dict) else None
    return (reason if isinstance(reason, str) else ""), (number if isinstance(number, int) and is_int(number) else -1)


def is_int(value: object) -> bool:
    """Return whether a value is a whole number of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
