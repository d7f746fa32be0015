"""`sail arm stop`, the quick way: the stop is under way before anything is loaded that is not needed to send it.

From Enter on every tenth of a second counts, and configuration, tables and arrays take several to load. What the arm
does then is asked afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hardware.client.stopping import send_stop
from hardware.wire.lines import ArmError, host_and_port
from robot.cli.keys import keys_of
from robot.core.errors import SailError
from robot.core.text import tell

if TYPE_CHECKING:
    from hardware.wire.keys import ClientKeys

REASON = "`sail arm stop`"
LONGEST_WAIT_S = 600.0


class Asked(NamedTuple):
    """Hold the settings of `configs/arm_ask.yaml`, and whether to answer in JSON."""

    address: str
    key: str
    server_key: str
    timeout_s: float
    as_json: bool


def is_stop(words: Sequence[str]) -> bool:
    """Return whether the words after `sail` are a stop in plain form: pairs of known keys, and perhaps --json."""
    others = [word for word in words[1:] if word != "stop"]
    known = tuple(f"{name}=" for name in Asked._fields[:-1])
    return (
        words[:1] == ["arm"]
        and len(others) == len(words) - 2
        and all(word == "--json" or word.startswith(known) for word in others)
    )


def asked(words: Sequence[str]) -> Asked:
    """Return what such words ask for; raise SailError where a value cannot be."""
    values = {key.name: key.default for key in keys_of("arm_ask")[0]}
    values |= dict(word.split("=", 1) for word in words if "=" in word)
    plain = {name: _plain(value) for name, value in values.items()}
    return Asked(plain["address"], plain["key"], plain["server_key"], seconds(plain["timeout_s"]), "--json" in words)


def _plain(value: str) -> str:
    """Return a value as it is meant: without quotes, and empty for null."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return "" if value == "null" else value


def seconds(value: object) -> float:
    """Return a time to wait; raise SailError where it is none."""
    try:
        wanted_s = float(str(value))
    except ValueError:
        wanted_s = 0.0
    if not 0.0 < wanted_s <= LONGEST_WAIT_S:
        raise SailError(f"timeout_s must be a number of seconds, up to {LONGEST_WAIT_S:g}, got {str(value)!r}.")
    return wanted_s


def stop(asked: Asked) -> int:
    """Stop first, ask questions afterwards: what became of it is looked at once the server has it."""
    try:
        detail = send_stop(asked.address, REASON, keys_of_client(asked.key, asked.server_key), asked.timeout_s).detail
    except ArmError as unanswered:
        host_and_port(asked.address)
        detail = _stop_elsewhere(asked, unanswered)
    from robot.cli.screen import print_text

    (tell if asked.as_json else print_text)(f"The server has the stop: {detail}.")
    from robot.cli.arm import say_what_it_does

    return say_what_it_does(asked)


def _stop_elsewhere(asked: Asked, unanswered: ArmError) -> str:
    """Stop a server behind a forwarder, which may have its ports elsewhere: its answer to a hello says where."""
    from robot.cli.arm import asking

    try:
        with asking(asked) as client:
            client.stop(REASON)
    except ArmError:
        raise unanswered from None
    return "the arm comes to rest; clear it to go on"


def keys_of_client(key: str, server_key: str) -> ClientKeys | None:
    """Return the keys in two files, None where none are named; raise SailError where only one is."""
    if bool(key) != bool(server_key):
        raise SailError("A client with keys needs both: key=FILE.key_secret and server_key=FILE.key.")
    if not key:
        return None
    from hardware.wire.keys import client_keys

    return client_keys(Path(key), Path(server_key))
