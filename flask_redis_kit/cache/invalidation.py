"""Invalidations: what was computed before is never served again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from redis.exceptions import OutOfMemoryError

from flask_redis_kit.cache import log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.errors import InvalidationError
from flask_redis_kit.cache.identity import Digest
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.overdue import MOST, Overdue
from flask_redis_kit.cache.shards import FEATURE, Place, Shards
from flask_redis_kit.cache.tags import member
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.exchange import Command, Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context

ROUNDS = 2
"""How often an invalidation goes to all shards, where there are several; see ``Invalidation``."""


class Invalidation:
    """Invalidates values of one application's cache: by tag, by key, all of them. Thread-safe.

    Each call is one round trip however many values it concerns, on Cluster two; unless it has
    reached every shard it raises ``InvalidationError``, or logs it
    (``REDIS_CACHE_ON_INVALIDATION_ERROR``). ``soft``: the values are stale from now on instead of
    invalid.

    Why two: shards hear of it a moment apart. Meanwhile a value can be computed, in a shard that
    has heard, of another cached one, in a shard that has not. Once all have heard nothing can be
    made of old values any more, and the second round invalidates what was.
    """

    def __init__(
        self,
        context: Context[CacheConfig],
        shards: Shards,
        notices: Notices,
        *,
        on_error: Literal["raise", "log"] | None = None,
    ) -> None:
        self._context = context
        self._config = context.config
        self._shards = shards
        self._notices = notices
        self._on_error = on_error or context.config.on_invalidation_error
        self._overdue = Overdue()

    def call(self, digest: Digest, about: str) -> None:
        """Invalidate the value of one call, and of the routes that were this call."""
        if not self._config.enabled:
            return
        place = self._shards.place(digest)
        tags = (member("k", digest.text), member("c", digest.text))
        alone = self._shards.count == 1
        self.send([self.forgetting(place, tags)] if alone else self.bumps(tags), (about,))

    def tags(self, names: Sequence[str], *, soft: bool = False) -> int:
        """Invalidate every value that has one of these tags; how many tags that were."""
        if not names or not self._config.enabled:
            return 0
        overdue = self._overdue.all()
        exchanges = self.of_tags(names, soft=soft)
        if len(overdue) > MOST:
            exchanges += self.of_all()
        elif overdue:
            exchanges += self.of_tags(tuple(overdue))
        if all(self.send(exchanges, tuple(names))):
            self._overdue.done(overdue)
        return len(names)

    def eventually(self, names: Sequence[str]) -> None:
        """As ``tags``, for who can do nothing about a failure any more.

        It is logged, and made up for together with the next ``tags`` of this process.
        """
        self._overdue.add(names)
        try:
            self.tags(names)
        except InvalidationError as error:
            self._notices.not_invalidated(error)

    def prefix(self, key_prefix: str, *, soft: bool = False) -> None:
        """Invalidate every value of the functions and routes with this ``key_prefix``."""
        if self._config.enabled:
            self.send(self.of_prefix(key_prefix, soft=soft), (f"{key_prefix}…",))

    def members(self, members: Sequence[bytes], about: str, *, soft: bool = False) -> None:
        """Invalidate every value that hangs on one of these members of the log."""
        if self._config.enabled:
            self.send(self.bumps(members, soft=soft), (about,))

    def clear(self) -> None:
        """Make everything in this namespace a miss."""
        if self._config.enabled:
            self.send(self.of_all(), ())

    # as Exchanges

    def of_tags(self, names: Sequence[str], *, soft: bool = False) -> list[Exchange[bool]]:
        """``tags`` as Exchanges, one for each shard."""
        return self.bumps([member("t", name) for name in names], soft=soft)

    def of_prefix(self, key_prefix: str, *, soft: bool = False) -> list[Exchange[bool]]:
        """``prefix`` as Exchanges, one for each shard."""
        return self.bumps([member("p", checked_prefix(key_prefix))], soft=soft)

    def of_all(self) -> list[Exchange[bool]]:
        """``clear`` as Exchanges, one for each shard."""
        return [_dropping(key) for key in self._shards.logs()]

    def bumps(self, tags: Sequence[bytes], *, soft: bool = False) -> list[Exchange[bool]]:
        """The invalidation of members of the log, in every shard."""
        limit = self._config.log_limit
        bump = partial(log.bump_command, limit=limit, tags=tags, soft=soft)
        return [
            Exchange(FEATURE, key, [bump(key)], bool, idempotent=True)
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
        """Send invalidations, those of several shards twice. Whether each did something."""
        done = self._send(exchanges, names)
        if len(exchanges) > 1 and self._shards.count > 1:
            for _ in range(ROUNDS - 1):
                self._send(exchanges, names)
        return done

    def _send(self, exchanges: Sequence[Exchange[bool]], names: tuple[str, ...]) -> list[bool]:
        """One round. When memory is full a log is dropped instead of written."""
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
                return self._failed(names, outcome.error, len(outcomes))
        return [outcome.result() for outcome in outcomes]

    def _failed(self, names: tuple[str, ...], cause: Exception, count: int) -> list[bool]:
        shown = ", ".join(f"{name!r:.60}" for name in names[:10]) or "The cache"
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        error = InvalidationError(
            f"{shown}{more} could not be invalidated, so old values may still be served: {cause}",
            tags=names,
        )
        if self._on_error == "raise":
            raise error from cause
        self._notices.not_invalidated(error)
        return [False] * count


def checked_prefix(key_prefix: object) -> str:
    """A prefix to invalidate by; ``TypeError`` or ``ConfigError`` if it is none."""
    if not isinstance(key_prefix, str):
        raise TypeError(f"A key_prefix must be a string, not {key_prefix!r}.")
    if not key_prefix:
        raise ConfigError("A key_prefix can't be empty: kit.cache.clear() invalidates everything.")
    return key_prefix


def _dropping(key: str) -> Exchange[bool]:
    return Exchange(FEATURE, key, [log.drop_command(key)], bool, idempotent=True)


def _log_of(exchange: Exchange[Any]) -> str:
    return exchange.key
