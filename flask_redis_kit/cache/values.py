"""Values by hand: get, compute, set without a race."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flask_redis_kit.cache import entry, log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.entry import Committed
from flask_redis_kit.cache.envelope import Epoch, pack_header
from flask_redis_kit.cache.flight import Call, Flights, Hit, Miss
from flask_redis_kit.cache.flow import run, without_compute
from flask_redis_kit.cache.freshness import Lifetime
from flask_redis_kit.cache.identity import Namer
from flask_redis_kit.cache.invalidation import Invalidation
from flask_redis_kit.cache.memory import MissMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.payload import Payload, packed
from flask_redis_kit.cache.shards import Shards
from flask_redis_kit.cache.tags import member
from flask_redis_kit.cache.ttl import milliseconds
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Exchange
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


class Values:
    """The values by hand of one application. Thread-safe."""

    def __init__(
        self,
        context: Context[CacheConfig],
        shards: Shards,
        flights: Flights,
        invalidation: Invalidation,
        notices: Notices,
    ) -> None:
        self._context = context
        self._config = context.config
        self._shards = shards
        self._flights = flights
        self._invalidation = invalidation
        self._notices = notices
        self._misses = MissMemory()
        self._default_ttl_ms = milliseconds(context.config.default_ttl)

    def get(self, key: str, default: object) -> Any:
        """The value set under ``key``, or ``default``."""
        call = raw_call(key)
        if not self._config.enabled:
            return default
        context = self._context
        try:
            found = run(
                self._flights.look(call, context.codec.decode), context.send, without_compute
            )
            if isinstance(found, Hit):
                return found.value
            self._remember(call, found)
        except FAILURES as error:
            self._notices.failure("reading", error)
        return default

    def _remember(self, call: Call, miss: Miss) -> None:
        epoch = miss.epoch
        if epoch is None:
            epoch = self._context.send(log.init(self._shards.place(call.digest).log))
        if epoch is not None:
            self._misses.remember(self._context.batch(), call.digest.text, epoch)

    def set(self, key: str, value: object, ttl_ms: int | None, tags: Sequence[str]) -> bool:
        """Store a value; False if it was invalidated since the miss, or can't be stored now."""
        call, payload = self._checked(key, value, tags)
        if not self._config.enabled:
            return False
        batch = self._context.batch()
        epoch = self._misses.take(batch, call.digest.text)
        try:
            exchange = self._commit(call, epoch, payload, ttl_ms)
            done = None if exchange is None else self._context.send(exchange)
        except FAILURES as error:
            self._notices.failure("storing", error)
            return False
        return self._committed(call, done)

    def storing(
        self, key: str, value: object, ttl_ms: int | None, tags: Sequence[str]
    ) -> Storing | None:
        """``set`` as an Exchange that is not sent yet; None if it can't be stored now.

        One trip if ``get`` didn't miss it before. Raises the errors of a failing server.
        """
        call, payload = self._checked(key, value, tags)
        if not self._config.enabled:
            return None
        batch, digest = self._context.batch(), call.digest.text
        epoch = self._misses.take(batch, digest)
        if epoch is not None:  # it holds until the value is stored
            self._misses.remember(batch, digest, epoch)
        exchange = self._commit(call, epoch, payload, ttl_ms)
        if exchange is None:
            return None

        def done(committed: Committed) -> bool:
            self._misses.take(self._context.batch(), digest)
            return self._committed(call, committed)

        return Storing(call, exchange, done)

    def _checked(self, key: str, value: object, tags: Sequence[str]) -> tuple[Call, Payload]:
        call = raw_call(key)
        data = self._context.codec.encode(value)
        if len(data) > self._config.max_bytes:
            raise CodecError(
                f"The value for {key!r} has {len(data)} bytes; REDIS_CACHE_MAX_BYTES is "
                f"{self._config.max_bytes}."
            )
        return Call(call.digest, (*call.tags, *(member("t", tag) for tag in tags))), packed(data)

    def _committed(self, call: Call, done: Committed | None) -> bool:
        if done is not Committed.STORED:
            self._misses.refused(self._context.batch(), call.digest.text)
            return False
        self._flights.memory.learn(Call(call.digest, call.tags[:1]), call.tags)
        return True

    def _commit(
        self, call: Call, epoch: Epoch | None, payload: Payload, given_ms: int | None
    ) -> Exchange[Committed] | None:
        place = self._shards.place(call.digest)
        if epoch is None:
            epoch = self._context.send(log.init(place.log))
            if epoch is None:
                return None
        ttl_ms = self._default_ttl_ms if given_ms is None else given_ms
        header = pack_header(epoch, Lifetime(ttl_ms), 0, call.tags, payload.flags)
        token = secrets.token_hex(8)
        return entry.commit(place, token, header, payload.data, ttl_ms, allow_absent=True)

    def delete(self, key: str) -> bool:
        """Invalidate one key; True if there was something stored."""
        exchange = self.deletion(key)
        if not self._config.enabled:
            return False
        return bool(self._invalidation.send([exchange], (key,))[0])

    def deletion(self, key: str) -> Exchange[bool]:
        """``delete`` as an Exchange."""
        call = raw_call(key)
        return self._invalidation.forgetting(self._shards.place(call.digest), call.tags)
