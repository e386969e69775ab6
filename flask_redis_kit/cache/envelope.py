"""What is stored: a header that Lua can read, then the payload.

Header (big endian): magic; version and flags, four bits each; fresh and grace time; compute time;
nonce and seq of the log when the computation began; the number of tags, then each with its length
in one byte. It has 26 bytes and the tags, as small values are many. The tag of the value's own key
is not among them: the key says it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from flask_redis_kit.cache.payload import KNOWN
from flask_redis_kit.cache.tags import OWN
from flask_redis_kit.cache.ttl import Lifetime

MAGIC = 0xFC
VERSION = 2
KIND = VERSION << 4
"""The second byte, without flags."""
LONG = 4
"""Times are whole seconds, as one of them has 2**32 ms (49 days) or more."""
FIXED = struct.Struct(">BBIIHHBIHI")
"""Magic, version and flags, fresh and grace, compute time, nonce (7 bytes), seq (6): as in
validity.lua."""

_FLAGS = KNOWN | LONG
_MAX_32 = 2**32 - 1
_TENTHS = 0x8000
"""Of a compute time: tenths of a second, not ms, as it has half a minute or more."""


class Epoch(NamedTuple):
    """A moment of one log: which log (``nonce``), its clock (``seq``), and what it has forgotten.

    Values of before ``floor`` can't be checked any more; none of before ``soft``, the latest soft
    invalidation, is known to be fresh without a look at what was invalidated softly.
    """

    nonce: float
    seq: float
    floor: float
    soft: float = 0.0


class Envelope(NamedTuple):
    """A stored value's header, and where its payload starts. Times are ms."""

    flags: int
    nonce: int
    seq: int
    fresh_ms: int
    grace_ms: int
    delta_ms: int
    tags: tuple[bytes, ...]
    start: int

    def valid(self, now: Epoch, scores: Mapping[bytes, float | None]) -> bool:
        """Whether nothing has been invalidated that it hangs on; ``scores`` of all its tags."""
        if self.nonce != now.nonce or not now.floor <= self.seq <= now.seq:
            return False
        for tag in self.tags:
            score = scores[tag]
            if score is not None and score > self.seq:
                return False
        return True


def pack_header(
    epoch: Epoch, lifetime: Lifetime, delta_ms: int, tags: tuple[bytes, ...], flags: int = 0
) -> bytes:
    """The header of a value computed since ``epoch``; ``flags`` are those of its payload."""
    fresh, grace = lifetime
    if max(lifetime) > _MAX_32:
        fresh, grace, flags = -(-fresh // 1000), -(-grace // 1000), flags | LONG
    if delta_ms >= _TENTHS:
        delta_ms = _TENTHS | min(delta_ms // 100, _TENTHS - 1)
    nonce, seq = int(epoch.nonce), int(epoch.seq)
    head = FIXED.pack(
        *(MAGIC, KIND | flags, fresh, grace, delta_ms),
        *(nonce >> 40, nonce >> 32 & 0xFF, nonce & _MAX_32, seq >> 32, seq & _MAX_32),
    )
    return head + packed_tags(tags)


def packed_tags(tags: tuple[bytes, ...]) -> bytes:
    """Tags as they stand in a header: how many, then each."""
    written = [tag for tag in tags if not tag.startswith(OWN)]
    return bytes((len(written),)) + b"".join([bytes((len(tag),)) + tag for tag in written])


def unpack(stored: bytes, own: bytes) -> Envelope:
    """Read the header of a stored value; ``own`` is the tag of its key.

    ``ValueError`` if it isn't one of ours.
    """
    try:
        magic, kind, fresh, grace, delta, *moment = FIXED.unpack_from(stored)
        count = stored[FIXED.size]
    except (struct.error, IndexError):
        raise ValueError("it is too short") from None
    if magic != MAGIC:
        raise ValueError("it is no value of the cache")
    version, flags = kind >> 4, kind & 0x0F
    if version != VERSION or flags & ~_FLAGS:
        raise ValueError(f"it has version {version}, flags {flags}; known is {VERSION}")
    if flags & LONG:
        fresh, grace = fresh * 1000, grace * 1000
    if delta & _TENTHS:
        delta = (delta ^ _TENTHS) * 100
    at, size = FIXED.size + 1, len(stored)
    tags: list[bytes] = []
    for _ in range(count):
        end = at + 1 + stored[at] if at < size else size + 1
        if end > size:
            raise ValueError("it ends inside its tags")
        tags.append(stored[at + 1 : end])
        at = end
    return Envelope(flags & KNOWN, *moment_of(*moment), fresh, grace, delta, (own, *tags), at)


def moment_of(n2: int, n1: int, n0: int, s1: int, s0: int) -> tuple[int, int]:
    """Nonce and seq from the pieces that a header has of them."""
    return n2 << 40 | n1 << 32 | n0, s1 << 32 | s0
