"""What is stored: a header that Lua can read, then the value as the codec made it.

Header (big endian): magic ``FC``, version, flags (0 yet), nonce and seq of the log when the
computation began, fresh and total time in ms, compute time in ms, number of tags, then each tag
with its length in one byte.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

MAGIC = b"FC"
VERSION = 1
_FIXED = struct.Struct(">2sBBddddIB")  # commit.lua reads the same
_MAX_MS = 2**32 - 1


class Epoch(NamedTuple):
    """A moment of one log: which log (``nonce``), its clock (``seq``), and what it has forgotten.

    Values of before ``floor`` can't be checked any more.
    """

    nonce: float
    seq: float
    floor: float


class Envelope(NamedTuple):
    """A stored value's header, and where its payload starts. Times are ms."""

    nonce: float
    seq: float
    fresh_ms: float
    total_ms: float
    delta_ms: int
    tags: tuple[bytes, ...]
    start: int

    def valid(self, now: Epoch, scores: dict[bytes, float | None]) -> bool:
        """Whether nothing has been invalidated that it hangs on; ``scores`` of all its tags."""
        if self.nonce != now.nonce or not now.floor <= self.seq <= now.seq:
            return False
        for tag in self.tags:
            score = scores[tag]
            if score is not None and score > self.seq:
                return False
        return True


def pack_header(epoch: Epoch, ttl_ms: int, delta_ms: int, tags: tuple[bytes, ...]) -> bytes:
    """The header of a value computed since ``epoch``."""
    head = _FIXED.pack(
        MAGIC,
        VERSION,
        0,
        epoch.nonce,
        epoch.seq,
        ttl_ms,
        ttl_ms,
        min(delta_ms, _MAX_MS),
        len(tags),
    )
    return head + b"".join(bytes((len(tag),)) + tag for tag in tags)


def unpack(stored: bytes) -> Envelope:
    """Read the header of a stored value. ``ValueError`` if it isn't one of ours."""
    try:
        magic, version, flags, nonce, seq, fresh, total, delta, count = _FIXED.unpack_from(stored)
    except struct.error:
        raise ValueError("it is too short") from None
    if magic != MAGIC:
        raise ValueError("it is no value of the cache")
    if version != VERSION or flags:
        raise ValueError(f"it has version {version}, flags {flags}; known is {VERSION}")
    if not 0 <= total < math.inf:
        raise ValueError(f"it lives for {total} ms")
    at, size = _FIXED.size, len(stored)
    tags: list[bytes] = []
    for _ in range(count):
        end = at + 1 + stored[at] if at < size else size + 1
        if end > size:
            raise ValueError("it ends inside its tags")
        tags.append(stored[at + 1 : end])
        at = end
    return Envelope(nonce, seq, fresh, total, delta, tuple(tags), at)
