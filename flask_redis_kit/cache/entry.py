"""Exchanges with one value: is it being computed, lease its computation, commit it.

Algorithm: design/cache.md 4.2 (G). The lease is that of Nishtala et al., "Scaling Memcache at
Facebook", NSDI 2013.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Literal, TypeAlias

from flask_redis_kit.cache.log import STATES, init_command, scores_command
from flask_redis_kit.cache.reading import Asked, Look, Reading, read_commands
from flask_redis_kit.cache.shards import FEATURE, Place
from flask_redis_kit.core.exchange import Command, Exchange, Reply
from flask_redis_kit.core.script import Script

__all__ = ["Committed", "How", "Look", "commit", "lease", "poll", "release"]

_HEADER_MAX = 2048  # more than any header has

_commit = Script("flask_redis_kit.cache", "lua/commit.lua", prelude="lua/validity.lua")
_release = Script("flask_redis_kit.cache", "lua/release.lua")

How: TypeAlias = Literal["ask", "make", "seize"]
"""Ask for a lease; also make the log, which isn't there; or take the lease from who has it."""


Needed: TypeAlias = Literal["held", "unless", "absent"]
"""Of the lease at the end: it is held; or it has expired, and nobody has stored since; or, of one
that was seized, it has expired."""


class Committed(IntEnum):
    """What became of a value that was to be stored."""

    STORED = 1
    INVALIDATED = 0
    OTHER_LOG = -1
    LEASE_LOST = -2


def poll(place: Place, asked: Asked) -> Reading:
    """READ, and before it: is somebody computing? If nobody is, what he stored is in this READ."""
    commands: list[Command] = [("EXISTS", place.lease), *read_commands(place, asked)]

    def parse(replies: list[Reply]) -> Look:
        return Look(replies[1], replies[2], replies[3], asked, bool(replies[0]))

    return Reading(FEATURE, place.value, commands, parse, read_only=True)


def lease(place: Place, asked: Asked, token: str, lease_ms: int, how: How) -> Reading:
    """LEASE: ask for the right to compute, then look again whether that is still needed.

    ``Look.leased`` tells whether it is ours. The second look has only the start of the envelope,
    enough for its validity: somebody may have stored it since the READ. One round trip; safe to
    repeat (``GET`` shows our own token).
    """
    condition = () if how == "seize" else ("NX",)
    commands: list[Command] = [("SET", place.lease, token, *condition, "GET", "PX", lease_ms)]
    commands += [init_command(place.log)] if how != "ask" else []
    commands += [
        ("GETRANGE", place.value, 0, _HEADER_MAX - 1),
        ("PTTL", place.value),
        scores_command(place.log, asked.members),
    ]
    free = (None, token.encode())

    def parse(replies: list[Reply]) -> Look:
        stored, ttl_ms, state = replies[-3:]
        if how != "ask":
            state = [*replies[1], *state[STATES:]]
        return Look(stored or None, ttl_ms, state, asked, how == "seize" or replies[0] in free)

    return Reading(FEATURE, place.value, commands, parse, idempotent=True)


def commit(
    place: Place,
    token: str,
    header: bytes,
    payload: bytes,
    total_ms: int,
    *,
    lease: Needed,
    done: Callable[[Committed], None] | None = None,
) -> Exchange[Committed]:
    """STORE: stage the value, and put it in its place if it is still valid. Ends the lease.

    ``lease`` says whether it must be held yet. One round trip, the check atomic. Repeating it after
    it has run changes nothing. ``done`` is told what became of it.
    """
    staging = place.staging(token)
    keys = [place.value, staging, place.lease, place.log]
    commands: list[Command] = [
        ("SET", staging, header + payload, "PX", total_ms),
        _commit.call(keys, [token, len(header), lease]),
    ]

    def parse(replies: list[Reply]) -> Committed:
        committed = Committed(replies[1])
        if done is not None:
            done(committed)
        return committed

    return Exchange(FEATURE, place.value, commands, parse, idempotent=True, deferrable=True)


def release(
    place: Place, token: str, keep_ms: int = 0, done: Callable[[bool], None] | None = None
) -> Exchange[bool]:
    """End a lease without storing: the next caller computes at once, or after ``keep_ms``.

    One round trip, atomic. ``done`` is told whether it was ours yet.
    """

    def parse(replies: list[Reply]) -> bool:
        held = bool(replies[0])
        if done is not None:
            done(held)
        return held

    call = _release.call([place.lease], [token, keep_ms])
    return Exchange(FEATURE, place.value, [call], parse, idempotent=True, deferrable=True)
