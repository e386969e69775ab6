"""The exact sliding window on sorted sets: ``lua/acquire.lua`` and the keys it works on.

The algorithm is a sliding log with conditional insertion: a refused request leaves no trace, so
refusals cost no memory and nobody is locked out by asking too often.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply, first
from flask_redis_kit.core.keys import KeyBuilder, KeySpec
from flask_redis_kit.core.script import Script

FEATURE = "ratelimit"
ACQUIRE = Script("flask_redis_kit.ratelimit", "lua/acquire.lua")
FORMAT = "s1"
"""The algorithm's letter and the version of its format: another algorithm has other keys."""

KEYSPACE = (
    KeySpec(
        "frk:{<ns>:<identity>}:limit:s1:<name>/<window>",
        "zset",
        "the window, from the last admitted request on",
        "the requests admitted to <name> within the window, for the hashed <identity>",
    ),
)

_MAX_NAME = 80

Ask = tuple[str, int, int, int]
"""What is asked of one log: its key, the limit, the window in microseconds, the cost in units."""


class Standing(NamedTuple):
    """How one limit stands; see the header of ``acquire.lua``."""

    remaining: int
    reset_us: int
    full_us: int
    retry_us: int

    @property
    def tightness(self) -> tuple[bool, int, float]:
        """Sorts standings by how much they restrict, as ``RateLimitResult.tightness`` does."""
        remaining, reset_us, _, retry_us = self
        if retry_us == 0:
            return (True, remaining, -reset_us)
        return (False, 0, -math.inf if retry_us < 0 else -retry_us)


class Verdict(NamedTuple):
    """The answer for all limits of one call, in their order."""

    admitted: bool
    standings: tuple[Standing, ...]


def log_key(keys: KeyBuilder, tag: str, name: str, window_us: int) -> str:
    """The key of the log of ``name`` for the identity hashed in ``tag``.

    The limit is no part of it: raising or lowering one keeps the usage.
    """
    return keys.key(tag, "limit", FORMAT, _log_name(name, window_us))


@lru_cache(maxsize=1024)
def _log_name(name: str, window_us: int) -> str:
    seconds, rest = divmod(window_us, 1_000_000)
    window = f"{window_us}us" if rest else str(seconds)
    return f"{_bounded(name)}/{window}"


def _bounded(name: str) -> str:
    data = name.encode("utf-8", "surrogatepass")
    plain = name.isascii() and name.isprintable() and not name.startswith("~")
    if plain and len(data) <= _MAX_NAME:
        return name
    return "~" + hashlib.blake2b(data, digest_size=16).hexdigest()


def acquire(asks: Sequence[Ask]) -> Exchange[Verdict]:
    """Count under all these limits or under none. One round trip, atomic.

    Never sent again after a lost reply: that would count twice.
    """
    return _call(asks, read_only=False)


def peek(asks: Sequence[Ask]) -> Exchange[Verdict]:
    """How these limits stand for one more unit, counting nothing. One round trip."""
    return _call([(key, limit, window, 0) for key, limit, window, _ in asks], read_only=True)


def clear(key: str) -> Exchange[bool]:
    """Forget what was counted in a log; True if there was anything. One round trip."""
    return Exchange(
        FEATURE, key, [("DEL", key)], lambda replies: bool(first(replies)), idempotent=True
    )


def _call(asks: Sequence[Ask], *, read_only: bool) -> Exchange[Verdict]:
    keys = [ask[0] for ask in asks]
    if len(set(keys)) != len(keys):
        raise ValueError(f"Two limits of one call count in the same log: {sorted(keys)}.")
    args = [number for ask in asks for number in ask[1:]]
    return Exchange(FEATURE, keys[0], [ACQUIRE.call(keys, args)], _verdict, read_only=read_only)


def _verdict(replies: list[Reply]) -> Verdict:
    admitted, *numbers = replies[0]
    fields = iter(numbers)
    rows = zip(fields, fields, fields, fields, strict=True)
    return Verdict(admitted == 1, tuple(map(Standing._make, rows)))
