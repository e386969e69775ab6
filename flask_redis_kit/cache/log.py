"""Exchanges with the invalidation log of a shard."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.cache.shards import FEATURE
from flask_redis_kit.core.exchange import Command, Exchange, Reply, number
from flask_redis_kit.core.script import Arg, Script

STATE = (b"!n", b"!s", b"!f", b"!~")
STATES = len(STATE)
Scores = dict[bytes, float | None]

_init = Script("flask_redis_kit.cache", "lua/init.lua")
_bump = Script("flask_redis_kit.cache", "lua/bump.lua")


def new_nonce() -> int:
    """The identity of a log that may be made: 52 random bits, never 0."""
    return secrets.randbits(52) | 1


def epoch_of(state: Sequence[Reply]) -> Epoch | None:
    """The log's state from the scores of its own members; None if there is no log."""
    nonce, seq, floor, soft = state
    if nonce is None or seq is None or floor is None:
        return None
    return Epoch(-float(nonce), float(seq), -float(floor), 0.0 if soft is None else -float(soft))


def softened(tag: bytes) -> bytes:
    """The member of the log that says when a tag was invalidated softly."""
    return b"~" + tag


def scores_command(log: str, tags: Sequence[bytes]) -> tuple[Arg, ...]:
    """Asks for the log's state and when each of these tags was invalidated last."""
    return ("ZMSCORE", log, *STATE, *tags)


def read_scores(reply: Sequence[Reply], tags: Sequence[bytes]) -> tuple[Epoch | None, Scores]:
    """The reply to ``scores_command``."""
    scores = dict(zip(tags, map(number, reply[STATES:]), strict=True))
    return epoch_of(reply[:STATES]), scores


def scores(log: str, tags: Sequence[bytes]) -> Exchange[tuple[Epoch | None, Scores]]:
    """The log's state and its scores of ``tags``."""
    return Exchange(
        FEATURE,
        log,
        [scores_command(log, tags)],
        lambda replies: read_scores(replies[0], tags),
        read_only=True,
    )


def init_command(log: str) -> Command:
    """Makes the log if there is none; replies with its state."""
    return _init.call([log], [-new_nonce()])


def init(log: str) -> Exchange[Epoch | None]:
    """The log's state; made if there is none. One round trip, atomic."""
    return Exchange(
        FEATURE, log, [init_command(log)], lambda replies: epoch_of(replies[0]), idempotent=True
    )


def bump_command(log: str, limit: int, tags: Sequence[bytes], *, soft: bool = False) -> Command:
    """Invalidates tags: values that hang on them and were computed before are never valid again.

    ``soft``: they are stale instead, and may be served in their grace period. A second run only
    moves the log's clock on, which harms nothing.
    """
    return _bump.call([log], [-new_nonce(), limit, "soft" if soft else "hard", *tags])


def drop_command(log: str) -> Command:
    """Forgets the log: all values of its shard become misses. Allowed when memory is full."""
    return ("DEL", log)
