"""What is stored of a value: compressed where it pays, never decompressed without a bound."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_kit.cache.payload import COMPRESSED, RAISED, THRESHOLD, Payload, packed, unpacked
from flask_redis_kit.core.errors import CodecError

LIMIT = 100_000


@given(
    data=st.one_of(st.binary(), st.binary(min_size=1).map(lambda data: data * 2000)),
    flags=st.sampled_from([0, RAISED]),
)
def test_a_payload_comes_back_as_it_was(data: bytes, flags: int) -> None:
    payload = packed(data, flags)
    assert payload.flags & RAISED == flags
    assert unpacked(memoryview(payload.data), payload.flags, 10_000_000) == data


def test_what_compression_makes_hardly_smaller_is_left_as_it_is() -> None:
    noise = random.Random(1).randbytes(THRESHOLD * 4)
    assert packed(noise) == Payload(noise, 0)
    assert packed(noise.hex().encode()).flags == 0, "it would save less than half"
    assert packed(b"x" * THRESHOLD) == Payload(b"x" * THRESHOLD, 0), "too small to be worth it"
    large = packed(b"x" * (THRESHOLD + 1))
    assert large.flags == COMPRESSED
    assert len(large.data) < 100


def test_a_bomb_is_not_decompressed() -> None:
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    with pytest.raises(CodecError, match="larger than REDIS_CACHE_MAX_BYTES, 100000, when"):
        unpacked(memoryview(bomb), COMPRESSED, LIMIT)
    exact = zlib.compress(b"\0" * LIMIT)
    assert len(unpacked(memoryview(exact), COMPRESSED, LIMIT)) == LIMIT
    with pytest.raises(CodecError, match="larger"):
        unpacked(memoryview(zlib.compress(b"\0" * (LIMIT + 1))), COMPRESSED, LIMIT)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data[:5],
        lambda data: data + b"x",
        lambda data: b"x" + data,
        lambda data: data[:-1] + bytes((data[-1] ^ 1,)),
    ],
)
def test_damaged_bytes_cannot_be_decompressed(damage: object) -> None:
    assert callable(damage)
    data = packed(b"abc" * 1000).data
    with pytest.raises(CodecError):
        unpacked(memoryview(damage(data)), COMPRESSED, LIMIT)
