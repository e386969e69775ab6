"""What a value is stored as: the codec's bytes, compressed where that makes them smaller."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from flask_redis_kit.core.errors import CodecError

COMPRESSED = 1
RAISED = 2
"""The call raised: what is stored is its exception, not its value."""
KNOWN = COMPRESSED | RAISED

THRESHOLD = 2048
_LEVEL = 1  # 24 us for 16 kB of HTML, which becomes a sixteenth


class Payload(NamedTuple):
    """The bytes to store, and what they are (``COMPRESSED``, ``RAISED``)."""

    data: bytes
    flags: int = 0


def packed(data: bytes, flags: int = 0) -> Payload:
    """The payload of encoded bytes: compressed above 2 kB, if that makes them half as long.

    What saves less costs each hit more time than the network takes for it (at 1 Gbit/s).
    """
    if len(data) > THRESHOLD:
        smaller = zlib.compress(data, _LEVEL)
        if len(smaller) * 2 <= len(data):
            return Payload(smaller, flags | COMPRESSED)
    return Payload(data, flags)


def unpacked(data: memoryview, flags: int, limit: int) -> bytes:
    """The encoded bytes of a payload.

    ``CodecError`` if they are damaged, or would be more than ``limit`` bytes: what is stored may
    come from anybody who can write to the server.
    """
    if not flags & COMPRESSED:
        return bytes(data)
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise CodecError(f"It can't be decompressed: {error}.") from error
    if len(plain) > limit:
        raise CodecError(f"It is larger than REDIS_CACHE_MAX_BYTES, {limit}, when decompressed.")
    if not inflater.eof or inflater.unused_data:
        raise CodecError("It is cut off, or has something behind its compressed bytes.")
    return plain
