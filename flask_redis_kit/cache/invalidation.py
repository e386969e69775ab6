"""Invalidations: what was computed before is never served again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError

from flask_redis_kit.cache import log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.errors import InvalidationError
from flask_redis_kit.cache.identity import Digest
from flask_redis_kit.cache.shards import FEATURE, Place, Shards
from flask_redis_kit.cache.tags import member
from flask_redis_kit.core.exchange import Command, Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context


class Invalidation:
    """Invalidates values of one application's cache: by tag, by key, all of them. Thread-safe.

    Each call is one round trip however many values it concerns; it raises ``InvalidationError``
    unless it has reached every shard.
    """

    def __init__(self, context: Context[CacheConfig], shards: Shards) -> None:
        self._context = context
        self._config = context.config
        self._shards = shards

    def call(self, digest: Digest, about: str) -> None:
        """Invalidate the value of one call, and of the routes that were this call."""
        if not self._config.enabled:
            return
        place = self._shards.place(digest)
        tags = (member("k", digest.text), member("c", digest.text))
        alone = self._shards.count == 1
        self.send([self.forgetting(place, tags)] if alone else self.bumps(tags), (about,))

    def tags(self, names: Sequence[str]) -> int:
        """Invalidate every value that has one of these tags; how many tags that were."""
        if not names or not self._config.enabled:
            return 0
        self.send(self.of_tags(names), tuple(names))
        return len(names)

    def clear(self) -> None:
        """Make everything in this namespace a miss."""
        if self._config.enabled:
            self.send(self.of_all(), ())

    # as Exchanges

    def of_tags(self, names: Sequence[str]) -> list[Exchange[bool]]:
        """``tags`` as Exchanges, one for each shard."""
        return self.bumps([member("t", name) for name in names])

    def of_all(self) -> list[Exchange[bool]]:
        """``clear`` as Exchanges, one for each shard."""
        return [_dropping(key) for key in self._shards.logs()]

    def bumps(self, tags: Sequence[bytes]) -> list[Exchange[bool]]:
        """The invalidation of members of the log, in every shard."""
        limit = self._config.log_limit
        return [
            Exchange(FEATURE, key, [log.bump_command(key, limit, tags)], bool, idempotent=True)
            for key in self._shards.logs()
        ]

    def forgetting(self, place: Place, tags: Sequence[bytes]) -> Exchange[bool]:
        """The invalidation of one value, which is deleted as well; whether there was one."""
        bump = log.bump_command(place.log, self._config.log_limit, tags)
        unlink: Command = ("UNLINK", place.value)
        return Exchange(
            FEATURE, place.log, [bump, unlink], lambda replies: bool(replies[1]), idempotent=True
        )

    def send(self, exchanges: Sequence[Exchange[bool]], names: tuple[str, ...]) -> list[bool]:
        """Send invalidations. When memory is full a log is dropped instead of written."""
        outcomes = self._context.send_many(exchanges)
        full = [
            n for n, outcome in enumerate(outcomes) if isinstance(outcome.error, OutOfMemoryError)
        ]
        if full:
            dropping = [_dropping(_log_of(exchanges[n])) for n in full]
            for n, outcome in zip(full, self._context.send_many(dropping), strict=True):
                outcomes[n] = outcome
        for outcome in outcomes:
            if isinstance(outcome.error, FAILURES):
                raise InvalidationError(
                    f"{', '.join(map(repr, names)) or 'The cache'} could not be invalidated, so "
                    f"old values may still be served: {outcome.error}",
                    tags=names,
                ) from outcome.error
        return [outcome.result() for outcome in outcomes]


def _dropping(key: str) -> Exchange[bool]:
    return Exchange(FEATURE, key, [log.drop_command(key)], bool, idempotent=True)


def _log_of(exchange: Exchange[Any]) -> str:
    return exchange.key
