"""The cache of one application: cached calls, values by hand, invalidation."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from redis.exceptions import OutOfMemoryError

from flask_redis_kit.cache import entry, log
from flask_redis_kit.cache.claims import Claims
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.entry import Committed
from flask_redis_kit.cache.envelope import Epoch, pack_header
from flask_redis_kit.cache.errors import InvalidationError
from flask_redis_kit.cache.flight import Call, Flights, Hit, Miss
from flask_redis_kit.cache.flow import run, without_compute
from flask_redis_kit.cache.identity import Digest, Namer
from flask_redis_kit.cache.memory import MissMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.shards import FEATURE, Place, Shards
from flask_redis_kit.cache.tags import member
from flask_redis_kit.cache.ttl import milliseconds
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Command, Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context

_raw = Namer("raw")


def raw_call(key: object) -> Call:
    """The call that a key given by hand stands for."""
    if not isinstance(key, str):
        raise TypeError(f"A cache key must be a string, not {key!r}.")
    digest = _raw.digest({"key": key})
    return Call(digest, (member("k", digest.text),))


class Storing(NamedTuple):
    """A value that is to be stored: the Exchange, and what makes ``set``'s result of its value."""

    call: Call
    exchange: Exchange[Committed]
    done: Callable[[Committed], bool]


class CacheEngine:
    """The engine behind ``kit.cache`` and ``cache_result`` in one application. Thread-safe."""

    def __init__(self, context: Context[CacheConfig]) -> None:
        self.context = context
        self.config = context.config
        self.shards = Shards(context.wire, context.keys)
        self.notices = Notices()
        self.claims = Claims()
        self.views: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        """By cached function: whether it is a view of the application."""
        self.flights = Flights(context.config, self.shards, self.notices)
        self._misses = MissMemory()
        self._default_ttl_ms = milliseconds(context.config.default_ttl)

    @property
    def enabled(self) -> bool:
        """False: everything is computed, nothing is sent."""
        return self.config.enabled

    def ttl_ms(self, ttl_ms: int | None) -> int:
        """The given time to live, or the application's default."""
        return self._default_ttl_ms if ttl_ms is None else ttl_ms

    def encoded(self, value: object, about: str) -> bytes | None:
        """The bytes of a value; None, with one warning per ``about``, if it can't be stored."""
        try:
            payload = self.context.codec.encode(value)
        except CodecError as error:
            self.notices.once(("codec", about), "%s: its result is not cached. %s", about, error)
            return None
        if len(payload) > self.config.max_bytes:
            self.notices.once(
                ("size", about),
                "%s: a result of %d bytes is not cached: REDIS_CACHE_MAX_BYTES is %d.",
                about,
                len(payload),
                self.config.max_bytes,
            )
            return None
        return payload

    # values by hand

    def get(self, key: str, default: object) -> Any:
        """The value set under ``key``, or ``default``."""
        call = raw_call(key)
        if not self.enabled:
            return default
        context = self.context
        try:
            found = run(
                self.flights.look(call, context.codec.decode), context.send, without_compute
            )
            if isinstance(found, Hit):
                return found.value
            self._remember(call, found)
        except FAILURES as error:
            self.notices.failure("reading", error)
        return default

    def _remember(self, call: Call, miss: Miss) -> None:
        epoch = miss.epoch
        if epoch is None:
            epoch = self.context.send(log.init(self.shards.place(call.digest).log))
        if epoch is not None:
            self._misses.remember(self.context.batch(), call.digest.text, epoch)

    def set(self, key: str, value: object, ttl_ms: int | None, tags: Sequence[str]) -> bool:
        """Store a value; False if it was invalidated since the miss, or can't be stored now."""
        call, payload = self._checked(key, value, tags)
        if not self.enabled:
            return False
        batch = self.context.batch()
        epoch = self._misses.take(batch, call.digest.text)
        try:
            exchange = self._commit(call, epoch, payload, ttl_ms)
            done = None if exchange is None else self.context.send(exchange)
        except FAILURES as error:
            self.notices.failure("storing", error)
            return False
        return self._committed(call, done)

    def storing(
        self, key: str, value: object, ttl_ms: int | None, tags: Sequence[str]
    ) -> Storing | None:
        """``set`` as an Exchange that is not sent yet; None if it can't be stored now.

        One trip if ``get`` didn't miss it before. Raises the errors of a failing server.
        """
        call, payload = self._checked(key, value, tags)
        if not self.enabled:
            return None
        batch, digest = self.context.batch(), call.digest.text
        epoch = self._misses.take(batch, digest)
        if epoch is not None:  # it holds until the value is stored
            self._misses.remember(batch, digest, epoch)
        exchange = self._commit(call, epoch, payload, ttl_ms)
        if exchange is None:
            return None

        def done(committed: Committed) -> bool:
            self._misses.take(self.context.batch(), digest)
            return self._committed(call, committed)

        return Storing(call, exchange, done)

    def _checked(self, key: str, value: object, tags: Sequence[str]) -> tuple[Call, bytes]:
        call = raw_call(key)
        payload = self.context.codec.encode(value)
        if len(payload) > self.config.max_bytes:
            raise CodecError(
                f"The value for {key!r} has {len(payload)} bytes; REDIS_CACHE_MAX_BYTES is "
                f"{self.config.max_bytes}."
            )
        return Call(call.digest, (*call.tags, *(member("t", tag) for tag in tags))), payload

    def _committed(self, call: Call, done: Committed | None) -> bool:
        if done is not Committed.STORED:
            self._misses.refused(self.context.batch(), call.digest.text)
            return False
        self.flights.memory.learn(Call(call.digest, call.tags[:1]), call.tags)
        return True

    def _commit(
        self, call: Call, epoch: Epoch | None, payload: bytes, given_ms: int | None
    ) -> Exchange[Committed] | None:
        place = self.shards.place(call.digest)
        if epoch is None:
            epoch = self.context.send(log.init(place.log))
            if epoch is None:
                return None
        ttl_ms = self.ttl_ms(given_ms)
        header = pack_header(epoch, ttl_ms, 0, call.tags)
        token = secrets.token_hex(8)
        return entry.commit(place, token, header, payload, ttl_ms, allow_absent=True)

    # invalidation

    def delete(self, key: str) -> bool:
        """Invalidate one key; True if there was something stored."""
        exchange = self.deletion(key)
        return bool(self._send_all([exchange], (key,))[0]) if self.enabled else False

    def deletion(self, key: str) -> Exchange[bool]:
        """``delete`` as an Exchange."""
        call = raw_call(key)
        return self._forgetting(self.shards.place(call.digest), call.tags)

    def invalidate_call(self, digest: Digest, about: str) -> None:
        """Invalidate the value of one call, and of the routes that were this call."""
        if not self.enabled:
            return
        place = self.shards.place(digest)
        tags = (member("k", digest.text), member("c", digest.text))
        alone = self.shards.count == 1
        exchanges = [self._forgetting(place, tags)] if alone else self._bumps(tags)
        self._send_all(exchanges, (about,))

    def invalidate_tags(self, names: Sequence[str]) -> int:
        """Invalidate every value that has one of these tags; how many tags that were."""
        if not names or not self.enabled:
            return 0
        self._send_all(self.invalidations(names), tuple(names))
        return len(names)

    def invalidations(self, names: Sequence[str]) -> list[Exchange[bool]]:
        """``invalidate_tags`` as Exchanges, one for each shard."""
        return self._bumps([member("t", name) for name in names])

    def clear(self) -> None:
        """Make everything in this namespace a miss."""
        if self.enabled:
            self._send_all([self._dropping(key) for key in self.shards.logs()], ())

    def _forgetting(self, place: Place, tags: Sequence[bytes]) -> Exchange[bool]:
        bump = log.bump_command(place.log, self.config.log_limit, tags)
        unlink: Command = ("UNLINK", place.value)
        return Exchange(
            FEATURE, place.log, [bump, unlink], lambda replies: bool(replies[1]), idempotent=True
        )

    def _bumps(self, tags: Sequence[bytes]) -> list[Exchange[bool]]:
        limit = self.config.log_limit
        return [
            Exchange(FEATURE, key, [log.bump_command(key, limit, tags)], bool, idempotent=True)
            for key in self.shards.logs()
        ]

    def _dropping(self, key: str) -> Exchange[bool]:
        return Exchange(FEATURE, key, [log.drop_command(key)], bool, idempotent=True)

    def _send_all(self, exchanges: Sequence[Exchange[bool]], names: tuple[str, ...]) -> list[bool]:
        """Send invalidations. When memory is full a log is dropped instead of written."""
        outcomes = self.context.send_many(exchanges)
        full = [
            n for n, outcome in enumerate(outcomes) if isinstance(outcome.error, OutOfMemoryError)
        ]
        if full:
            dropping = [self._dropping(_log_of(exchanges[n])) for n in full]
            for n, outcome in zip(full, self.context.send_many(dropping), strict=True):
                outcomes[n] = outcome
        for outcome in outcomes:
            if isinstance(outcome.error, FAILURES):
                raise InvalidationError(
                    f"{', '.join(map(repr, names)) or 'The cache'} could not be invalidated, so "
                    f"old values may still be served: {outcome.error}",
                    tags=names,
                ) from outcome.error
        return [outcome.result() for outcome in outcomes]


def _log_of(exchange: Exchange[Any]) -> str:
    return exchange.key
