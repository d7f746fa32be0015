"""Messages: what is sent arrives as it was, and no bytes at all do any harm."""

from __future__ import annotations

import random

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.wire.messages import KINDS, PROTOCOL_VERSION, SCHEMA, Message, MessageError, MismatchError, pack, unpack

EXAMPLES = {"s": "text", "i": 7, "f": 0.25, "b": True}


def example(kind: str) -> Message:
    body = {
        name: [EXAMPLES[wanted[0]]] * 2 if wanted.endswith("*") else EXAMPLES[wanted[0]]
        for name, wanted in KINDS[kind].items()
    }
    arrays = (np.arange(6.0).reshape(2, 3), np.zeros((2, 0)), np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    return Message(kind, body, arrays, "session", 3, 2, 1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_survives_the_wire(kind: str) -> None:
    sent = example(kind)
    got = unpack(pack(sent))
    assert (got.kind, dict(got.body), got.session, got.sequence, got.answers, got.sent_s) == (
        kind,
        dict(sent.body),
        "session",
        3,
        2,
        1.5,
    )
    for one, other in zip(got.arrays, sent.arrays, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        assert one.flags.writeable


def test_what_arrived_shares_no_memory_with_the_bytes_it_came_in() -> None:
    parts = [bytearray(part) for part in pack(example("command"))]
    got = unpack(parts)  # type: ignore[arg-type]
    before = [array.copy() for array in got.arrays]
    for part, array in zip(parts[1:], got.arrays, strict=True):
        assert not np.shares_memory(array, np.frombuffer(part, np.uint8))
        part[:] = bytes(255 - byte for byte in part)
    for array, kept in zip(got.arrays, before, strict=True):
        np.testing.assert_array_equal(array, kept)


@given(values=st.lists(st.floats(allow_nan=True), max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_number_survives_in_an_array(values: list[float]) -> None:
    array = np.array(values, np.float64)
    (got,) = unpack(pack(Message("clock", {}, (array,)))).arrays
    np.testing.assert_array_equal(got, array)


def changed(**fields: object) -> list[bytes]:
    parts = pack(example("command"))
    envelope = msgpack.unpackb(parts[0]) | fields
    return [msgpack.packb(envelope), *parts[1:]]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "nonsense"},
        {"kind": 3},
        {"body": {}},
        {"body": {"token": "t", "sequence": 1, "seen_s": float("nan")}},
        {"body": {"token": "t", "sequence": 2**63, "seen_s": None}},
        {"body": {"token": "t", "sequence": True, "seen_s": None}},
        {"body": {"token": 1, "sequence": 1, "seen_s": None}},
        {"body": {"token": "t", "sequence": 1, "seen_s": None, "more": 1}},
        {"arrays": []},
        {"arrays": [["<f8", [2, 3]], ["<f8", [2, 0]], ["|O8", [2, 2, 3]]]},
        {"arrays": [["<f8", [2, 4]], ["<f8", [2, 0]], ["|u1", [2, 2, 3]]]},
        {"arrays": [["<f8", [-2, -3]], ["<f8", [2, 0]], ["|u1", [2, 2, 3]]]},
        {"arrays": [["<f8", [2**40, 2**40]], ["<f8", [2, 0]], ["|u1", [2, 2, 3]]]},
        {"arrays": 5},
        {"seq": "1"},
        {"t": float("inf")},
        {"session": None},
        {"more": 1},
    ],
)
def test_a_message_that_does_not_keep_to_its_kind_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(MessageError):
        unpack(changed(**fields))


@pytest.mark.parametrize(
    ("fields", "values"), [({"v": 99}, ("99", str(PROTOCOL_VERSION))), ({"schema": "x"}, ("'x'", SCHEMA))]
)
def test_another_version_is_refused_with_both_named(fields: dict[str, object], values: tuple[str, str]) -> None:
    with pytest.raises(MismatchError) as caught:
        unpack(changed(**fields))
    assert all(value in str(caught.value) for value in values)


def test_what_does_not_keep_to_its_kind_is_not_sent() -> None:
    with pytest.raises(ValueError, match="fields"):
        pack(Message("beat", {}))
    with pytest.raises(ValueError, match="arrays"):
        pack(Message("clock", {}, (np.zeros(2, np.int64),)))


def mutated(rng: random.Random) -> list[bytes]:
    """Return random bytes, or a message in which something was changed."""
    if rng.random() < 0.3:
        return [rng.randbytes(rng.randrange(60)) for _ in range(rng.randrange(4))]
    parts = [bytearray(part) for part in pack(example(rng.choice(list(KINDS))))]
    for _ in range(rng.randrange(1, 6)):
        part = rng.choice(parts)
        if part and rng.random() < 0.8:
            part[rng.randrange(len(part))] = rng.randrange(256)
        elif rng.random() < 0.5:
            del part[rng.randrange(len(part) + 1) :]
        else:
            parts.append(bytearray(rng.randbytes(5)))
    return [bytes(part) for part in parts]


def test_no_bytes_raise_anything_but_a_message_error() -> None:
    rng = random.Random(0)
    refused = 0
    for _ in range(15_000):
        try:
            unpack(mutated(rng))
        except MessageError:
            refused += 1
    assert refused > 10_000
    for hostile in (b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x81" * 16_000, b"\xc1"):
        with pytest.raises(MessageError):
            unpack([hostile])
