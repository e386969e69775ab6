"""What is stored: a header that Lua can read, then the payload.

Header (big endian): magic ``FC``, version, flags (those of the payload), nonce and seq of the log
when the computation began, fresh and total time in ms, compute time in ms, number of tags, then
each tag with its length in one byte.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import NamedTuple

from flask_redis_kit.cache.payload import KNOWN
from flask_redis_kit.cache.ttl import Lifetime

MAGIC = b"FC"
VERSION = 1
HEAD = MAGIC + bytes((VERSION,))
FIXED = struct.Struct(">3sBddddIB")
"""Head, flags, nonce, seq, fresh and total ms, compute ms, number of tags: as in commit.lua."""

_MAX_MS = 2**32 - 1


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
    nonce: float
    seq: float
    fresh_ms: float
    total_ms: float
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
    head = FIXED.pack(
        HEAD,
        flags,
        epoch.nonce,
        epoch.seq,
        lifetime.fresh_ms,
        lifetime.total_ms,
        min(delta_ms, _MAX_MS),
        len(tags),
    )
    return head + packed_tags(tags)


def packed_tags(tags: tuple[bytes, ...]) -> bytes:
    """Tags as they stand in a header."""
    return b"".join([bytes((len(tag),)) + tag for tag in tags])


def unpack(stored: bytes) -> Envelope:
    """Read the header of a stored value. ``ValueError`` if it isn't one of ours."""
    try:
        head, flags, nonce, seq, fresh, total, delta, count = FIXED.unpack_from(stored)
    except struct.error:
        raise ValueError("it is too short") from None
    if head[:2] != MAGIC:
        raise ValueError("it is no value of the cache")
    if head != HEAD or flags & ~KNOWN:
        raise ValueError(f"it has version {head[2]}, flags {flags}; known is {VERSION}")
    if not 0 <= fresh <= total < math.inf:
        raise ValueError(f"it is fresh for {fresh} of {total} ms")
    at, size = FIXED.size, len(stored)
    tags: list[bytes] = []
    for _ in range(count):
        end = at + 1 + stored[at] if at < size else size + 1
        if end > size:
            raise ValueError("it ends inside its tags")
        tags.append(stored[at + 1 : end])
        at = end
    return Envelope(flags, nonce, seq, fresh, total, delta, tuple(tags), at)
