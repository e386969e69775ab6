"""The scripts of rate limits as Exchanges: one typed wrapper each."""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Sequence
from itertools import starmap
from typing import NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply, first
from flask_redis_kit.core.script import Arg, RepeatedCall, Script, ScriptCall
from flask_redis_kit.ratelimit.limits import Claim

FEATURE = "ratelimit"
ACQUIRE = Script("flask_redis_kit.ratelimit", "lua/acquire.lua")
HANDBACK = Script("flask_redis_kit.ratelimit", "lua/handback.lua")
RENEW = Script("flask_redis_kit.ratelimit", "lua/renew.lua")


FIRST, EACH = 2, 5
"""Where in the reply of ``acquire.lua`` the numbers of the first limit begin; how many each has."""


class Standing(NamedTuple):
    """How one limit stands; see the header of ``acquire.lua``."""

    remaining: int
    reset_us: int
    full_us: int
    retry_us: int
    born: int


class Verdict:
    """The answer for all limits of one call, in their order.

    ``numbers``  as the script gave them: see the header of ``acquire.lua``.
    """

    __slots__ = ("numbers",)

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    @property
    def admitted(self) -> bool:
        """No limit refused that may; if it was asked to count, it has."""
        return self.numbers[0] == 1

    @property
    def clock_us(self) -> int:
        """The server's time."""
        return self.numbers[1]

    @property
    def all_fit(self) -> bool:
        """Every limit had room, shadows too."""
        return not any(self.numbers[FIRST + 3 :: EACH])

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How each limit stands."""
        fields = iter(self.numbers[FIRST:])
        rows = zip(fields, fields, fields, fields, fields, strict=True)
        return tuple(starmap(Standing, rows))


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
    return counting(claims, ACQUIRE.call(*_arguments(claims, token)))


def repeated(claims: Sequence[Claim]) -> RepeatedCall:
    """The call of ``acquire`` for claims that are asked often; only the token is missing."""
    keys, (_, *args) = _arguments(claims, "")
    return ACQUIRE.repeated(keys, args)


def counting(claims: Sequence[Claim], call: ScriptCall) -> Exchange[Verdict]:
    """What ``acquire`` sends, of its call."""
    return Exchange(FEATURE, claims[0].key, (call,), _verdict)


def peek(claims: Sequence[Claim]) -> Exchange[Verdict]:
    """How these limits stand for their costs, counting nothing. One round trip."""
    call = ACQUIRE.call(*_arguments(claims, ""))
    return Exchange(FEATURE, claims[0].key, (call,), _verdict, read_only=True)


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


def _arguments(claims: Sequence[Claim], token: str) -> tuple[list[str], list[Arg]]:
    """The keys and arguments of ``acquire.lua``."""
    keys = [claim.key for claim in claims]
    if len(set(keys)) != len(keys):
        raise ValueError(f"Two limits of one call count in the same log: {sorted(keys)}.")
    args: list[Arg] = [token]
    for claim in claims:
        limit = claim.limit
        args += (letter_of(claim), limit.limit, limit.window_us, claim.cost, int(limit.shadow))
    return keys, args


def _verdict(replies: list[Reply]) -> Verdict:
    return Verdict(replies[0])
