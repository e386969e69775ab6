"""Exchanges with one value: read it, lease its computation, commit it.

Algorithm: design/cache.md 4.2 (G). The lease is that of Nishtala et al., "Scaling Memcache at
Facebook", NSDI 2013.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from redis.exceptions import ResponseError

from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.cache.log import Scores, epoch_of, init_command, read_scores, scores_command
from flask_redis_kit.cache.shards import FEATURE, Place
from flask_redis_kit.core.exchange import Command, Exchange, Outcome, Reply
from flask_redis_kit.core.script import Script

_HEADER_MAX = 2048  # more than any header has

_commit = Script("flask_redis_kit.cache", "lua/commit.lua")
_release = Script("flask_redis_kit.cache", "lua/release.lua")


class Look(NamedTuple):
    """What a look at a value found.

    ``stored``  the envelope (of a leased look: its start), None if there is none.
    ``ttl_ms``  what is left of its time, as the server says.
    ``epoch``   the log's state then; None if there is no log.
    ``scores``  when the asked tags were invalidated last.
    ``leased``  of a poll: whether somebody is computing it; of a lease: whether it is ours.
    """

    stored: bytes | None
    ttl_ms: int
    epoch: Epoch | None
    scores: Scores
    leased: bool = False


class Committed(IntEnum):
    """What became of a value that was to be stored."""

    STORED = 1
    INVALIDATED = 0
    OTHER_LOG = -1
    LEASE_LOST = -2


class _Reading(Exchange[Look]):
    """A look at a value; a key of another type counts as a value that can't be read."""

    __slots__ = ("position",)

    position: int

    def outcome(self, replies: list[Reply]) -> Outcome[Look]:
        found = replies[self.position]
        if isinstance(found, ResponseError) and str(found).startswith("WRONGTYPE"):
            replies = [*replies]
            replies[self.position] = b""
        return super().outcome(replies)


def _reading(
    place: Place, commands: Sequence[Command], tags: Sequence[bytes], at: int, read_only: bool
) -> _Reading:
    """A look whose three replies start at ``at``; what comes before them is ``leased``."""

    def parse(replies: list[Reply]) -> Look:
        epoch, scores = read_scores(replies[at + 2], tags)
        return Look(replies[at], replies[at + 1], epoch, scores, bool(at and replies[0]))

    reading = _Reading(FEATURE, place.value, commands, parse, read_only=read_only)
    reading.position = at
    return reading


def read(place: Place, tags: Sequence[bytes]) -> Exchange[Look]:
    """READ: the value, its remaining time, and the state of its tags, in this order.

    One round trip of plain commands. As the tags are read after the value, a value that is valid
    by them was so during the call.
    """
    commands: list[Command] = [
        ("GET", place.value),
        ("PTTL", place.value),
        scores_command(place.log, tags),
    ]
    return _reading(place, commands, tags, 0, read_only=True)


def poll(place: Place, tags: Sequence[bytes]) -> Exchange[Look]:
    """READ, and before it: is somebody computing? If nobody is, what he stored is in this READ."""
    commands: list[Command] = [
        ("EXISTS", place.lease),
        ("GET", place.value),
        ("PTTL", place.value),
        scores_command(place.log, tags),
    ]
    return _reading(place, commands, tags, 1, read_only=True)


def lease(
    place: Place, tags: Sequence[bytes], token: str, lease_ms: int, *, make_log: bool
) -> Exchange[Look]:
    """LEASE: ask for the right to compute, then look again whether that is still needed.

    ``Look.leased`` tells whether it is ours. The second look has only the start of the envelope,
    enough for its validity: somebody may have stored it since the READ. ``make_log`` is for a
    shard without a log. One round trip; safe to repeat (``GET`` shows our own token).
    """
    commands: list[Command] = [("SET", place.lease, token, "NX", "GET", "PX", lease_ms)]
    commands += [init_command(place.log)] if make_log else []
    at = len(commands)
    commands += [
        ("GETRANGE", place.value, 0, _HEADER_MAX - 1),
        ("PTTL", place.value),
        scores_command(place.log, tags),
    ]
    ours = token.encode()

    def parse(replies: list[Reply]) -> Look:
        epoch, scores = read_scores(replies[at + 2], tags)
        if make_log:
            epoch = epoch_of(replies[1])
        won = replies[0] is None or replies[0] == ours
        return Look(replies[at] or None, replies[at + 1], epoch, scores, won)

    reading = _Reading(FEATURE, place.value, commands, parse, idempotent=True)
    reading.position = at
    return reading


def commit(
    place: Place,
    token: str,
    header: bytes,
    payload: bytes,
    total_ms: int,
    *,
    allow_absent: bool,
) -> Exchange[Committed]:
    """STORE: stage the value, and put it in its place if it is still valid. Ends the lease.

    ``allow_absent``: the lease has expired, or there was none. One round trip, the check atomic.
    Repeating it after it has run changes nothing.
    """
    staging = place.staging(token)
    keys = [place.value, staging, place.lease, place.log]
    commands: list[Command] = [
        ("SET", staging, header + payload, "PX", total_ms),
        _commit.call(keys, [token, len(header), int(allow_absent)]),
    ]
    return Exchange(
        FEATURE,
        place.value,
        commands,
        lambda replies: Committed(replies[1]),
        idempotent=True,
        deferrable=True,
    )


def release(place: Place, token: str) -> Exchange[bool]:
    """End a lease without storing: the next caller computes at once. One round trip, atomic."""
    return Exchange(
        FEATURE,
        place.value,
        [_release.call([place.lease], [token])],
        lambda replies: bool(replies[0]),
        idempotent=True,
        deferrable=True,
    )
