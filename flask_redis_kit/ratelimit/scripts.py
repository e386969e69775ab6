"""The scripts of rate limits as Exchanges: one typed wrapper each."""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Sequence
from itertools import starmap
from typing import NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply, first
from flask_redis_kit.core.script import Arg, Script
from flask_redis_kit.ratelimit.limits import Claim

FEATURE = "ratelimit"
ACQUIRE = Script("flask_redis_kit.ratelimit", "lua/acquire.lua")
HANDBACK = Script("flask_redis_kit.ratelimit", "lua/handback.lua")
RENEW = Script("flask_redis_kit.ratelimit", "lua/renew.lua")


class Standing(NamedTuple):
    """How one limit stands; see the header of ``acquire.lua``."""

    remaining: int
    reset_us: int
    full_us: int
    retry_us: int
    born: int


class Verdict(NamedTuple):
    """The answer for all limits of one call, in their order; ``clock_us`` is the server's."""

    admitted: bool
    clock_us: int
    standings: tuple[Standing, ...]


class Held(NamedTuple):
    """What one claim of an admission holds: enough to hand it back exactly.

    ``ends_us``  when its units free by themselves, in microseconds of the server's clock; 0: the
                 reply was lost, so perhaps it holds nothing.
    ``born``     which buckets they are in.
    """

    claim: Claim
    ends_us: int
    born: int


def new_token() -> str:
    """A name for an admission that no other has: 8 characters, 48 random bits.

    Short, as each unit in a log is stored under it; from the system, as an application may seed
    Python's own generator alike in every worker.
    """
    return b2a_base64(os.urandom(6), newline=False).decode()


def letter_of(claim: Claim) -> str:
    """The kind of its key, as the scripts name it."""
    if claim.limit.kind == "concurrency":
        return "c"
    return "a" if claim.limit.algorithm == "auto" else "s"


def acquire(claims: Sequence[Claim], token: str) -> Exchange[Verdict]:
    """Count under all these limits or under none. One round trip, atomic; all keys in one slot.

    Never sent again after a lost reply: that would count twice.
    """
    return _call(claims, token)


def peek(claims: Sequence[Claim]) -> Exchange[Verdict]:
    """How these limits stand for their costs, counting nothing. One round trip."""
    return _call(claims, "")


def hand_back(held: Sequence[Held], token: str) -> Exchange[list[int]]:
    """Remove exactly what these claims of one admission hold, in one slot; the units per claim.

    One round trip, or none: it may ride with the last trip of a request.
    """
    args: list[Arg] = [token]
    for claim, ends_us, born in held:
        args += (letter_of(claim), claim.limit.window_us, claim.cost, ends_us, born)
    keys = [each.claim.key for each in held]
    return Exchange(
        FEATURE,
        keys[0],
        [HANDBACK.call(keys, args)],
        first,
        idempotent=all(letter_of(each.claim) != "a" for each in held),
        deferrable=True,
    )


def renew(claim: Claim, token: str) -> Exchange[bool]:
    """Make the lease of an admission last a whole lease from now; False if it had ended."""
    return Exchange(
        FEATURE,
        claim.key,
        [RENEW.call([claim.key], [token, claim.limit.window_us])],
        _is_one,
        idempotent=True,
    )


def clear(key: str) -> Exchange[bool]:
    """Forget what was counted under a key; True if there was anything. One round trip."""
    return Exchange(FEATURE, key, [("DEL", key)], _is_one, idempotent=True)


def _is_one(replies: list[Reply]) -> bool:
    return bool(first(replies))


def _call(claims: Sequence[Claim], token: str) -> Exchange[Verdict]:
    keys = [claim.key for claim in claims]
    if len(set(keys)) != len(keys):
        raise ValueError(f"Two limits of one call count in the same log: {sorted(keys)}.")
    args: list[Arg] = [token]
    for claim in claims:
        limit = claim.limit
        args += (letter_of(claim), limit.limit, limit.window_us, claim.cost, int(limit.shadow))
    return Exchange(FEATURE, keys[0], [ACQUIRE.call(keys, args)], _verdict, read_only=not token)


def _verdict(replies: list[Reply]) -> Verdict:
    admitted, clock, *numbers = replies[0]
    fields = iter(numbers)
    rows = zip(fields, fields, fields, fields, fields, strict=True)
    return Verdict(admitted == 1, clock, tuple(starmap(Standing, rows)))
