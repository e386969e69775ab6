"""Exchanges that change one value by hand: put it, touch it, add to it; and ask for it.

Each is one round trip, and its check and change are one script. "There" means what ``get`` means:
neither past its time nor invalidated.
"""

from __future__ import annotations

import secrets
from enum import IntEnum
from typing import Literal

from flask_redis_kit.cache import log
from flask_redis_kit.cache.envelope import Epoch, pack_header
from flask_redis_kit.cache.payload import Payload
from flask_redis_kit.cache.shards import FEATURE, Place
from flask_redis_kit.cache.ttl import Lifetime
from flask_redis_kit.core.exchange import Command, Exchange, Reply
from flask_redis_kit.core.script import Arg, Script

_PACKAGE = "flask_redis_kit.cache"
_VALIDITY = "lua/validity.lua"
_put = Script(_PACKAGE, "lua/put.lua", prelude=_VALIDITY)
_touch = Script(_PACKAGE, "lua/touch.lua", prelude=_VALIDITY)
_count = Script(_PACKAGE, "lua/count.lua", prelude=_VALIDITY)
_has = Script(_PACKAGE, "lua/has.lua", prelude=_VALIDITY)

_TO_BE_FILLED_IN = Epoch(0.0, 0.0, 0.0)
LARGEST = 2**53 - 1
"""What a counter can hold: a script's numbers are exact up to here."""


class Put(IntEnum):
    """What became of a value that was to be put in its place."""

    STORED = 1
    INVALIDATED = 0
    EVICTED = -1
    THERE = 2


class Counted(IntEnum):
    """Why a number was not added to."""

    NO_NUMBER = 0
    TOO_LARGE = 1


def put(
    place: Place,
    epoch: Epoch | None,
    payload: Payload,
    lifetime: Lifetime,
    tags: tuple[bytes, ...],
    *,
    mode: Literal["set", "add"] = "set",
) -> Exchange[Put]:
    """Store a value as of ``epoch``, or (None) as of now, and end whoever is computing it.

    ``add`` is not sent again: it would find the value that it has stored itself.
    """
    header = pack_header(epoch or _TO_BE_FILLED_IN, lifetime, 0, tags, payload.flags)
    staging = place.staging(secrets.token_hex(8))
    moment = "now" if epoch is None else "then"
    keys = [place.value, staging, place.lease, place.log]
    commands: list[Command] = [
        ("SET", staging, header + payload.data, "PX", lifetime.total_ms),
        _put.call(keys, [len(header), moment, mode, -log.new_nonce()]),
    ]

    def parse(replies: list[Reply]) -> Put:
        return Put(replies[1])

    return Exchange(FEATURE, place.value, commands, parse, idempotent=mode == "set")


def touch(place: Place, fresh_ms: int) -> Exchange[bool]:
    """Let a value that is there be fresh for so long from now on; whether there was one."""
    call = _touch.call([place.value, place.log], [fresh_ms])
    return Exchange(FEATURE, place.value, [call], lambda replies: bool(replies[0]), idempotent=True)


def count(
    place: Place, amount: int, lifetime: Lifetime, tags: tuple[bytes, ...]
) -> Exchange[int | Counted]:
    """Add to a number; one that isn't there begins at 0, with this time and these tags.

    Never sent again: it would be added twice.
    """
    header = pack_header(_TO_BE_FILLED_IN, lifetime, 0, tags)
    arguments: list[Arg] = [amount, header, lifetime.total_ms, -log.new_nonce()]
    call = _count.call([place.value, place.log], arguments)

    def parse(replies: list[Reply]) -> int | Counted:
        reply = replies[0]
        return Counted(reply) if isinstance(reply, int) else int(reply)

    return Exchange(FEATURE, place.value, [call], parse)


def has(place: Place) -> Exchange[bool]:
    """Whether there is a value."""
    call = _has.call([place.value, place.log], [])
    return Exchange(FEATURE, place.value, [call], lambda replies: bool(replies[0]), read_only=True)
