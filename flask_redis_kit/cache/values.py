"""Values by hand: get, compute, set without a race."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from flask_redis_kit.cache import changes, log
from flask_redis_kit.cache.changes import Counted, Put
from flask_redis_kit.cache.computation import computation
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.cache.flight import Call, Flights, Hit
from flask_redis_kit.cache.flow import Flow, computed, run, without_compute
from flask_redis_kit.cache.freshness import Lifetime
from flask_redis_kit.cache.identity import Namer
from flask_redis_kit.cache.invalidation import Invalidation
from flask_redis_kit.cache.misses import NEVER, MissMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.packing import Packing
from flask_redis_kit.cache.payload import Payload, packed
from flask_redis_kit.cache.reading import Look
from flask_redis_kit.cache.serializer import Serializer, decoder, encoded
from flask_redis_kit.cache.shards import Shards
from flask_redis_kit.cache.signals import BY_HAND, report
from flask_redis_kit.cache.tags import checked_tags, member
from flask_redis_kit.cache.together import run_together
from flask_redis_kit.cache.ttl import milliseconds, seconds
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


class Terms(NamedTuple):
    """How values are to be stored: for how long, tagged with what, encoded by what."""

    lifetime: Lifetime
    tags: tuple[bytes, ...]
    codec: Serializer


class Seen(NamedTuple):
    """What a look found: fresh, stale or nothing; and the log's state then."""

    call: Call
    hit: Hit | None
    epoch: Epoch | None


class Storing(NamedTuple):
    """A value that is to be stored: the Exchange, and what makes ``set``'s result of its value."""

    call: Call
    exchange: Exchange[Put]
    done: Callable[[Put], bool]


class Values:
    """The values by hand of one application. Thread-safe."""

    def __init__(
        self,
        context: Context[CacheConfig],
        shards: Shards,
        flights: Flights,
        invalidation: Invalidation,
        notices: Notices,
        packing: Packing,
    ) -> None:
        self.context = context
        self._config = context.config
        self._shards = shards
        self._flights = flights
        self._invalidation = invalidation
        self._notices = notices
        self._packing = packing
        self._misses = MissMemory()

    def terms(
        self, ttl: object, tags: object, grace: object = 0, codec: Serializer | None = None
    ) -> Terms:
        """What a caller wants, checked. ``TypeError`` or ``ConfigError``."""
        fresh_ms = milliseconds(self._config.default_ttl if ttl is None else ttl)
        lifetime = Lifetime(fresh_ms, round(seconds(grace, "grace", least=0) * 1000))
        names = checked_tags(tags, 'write tags=["products"]')
        members = tuple(member("t", name) for name in names)
        return Terms(lifetime, members, self.context.codec if codec is None else codec)

    # reading

    def get(
        self, key: str, default: object, *, stale: bool = False, codec: Serializer | None = None
    ) -> Any:
        """The value set under ``key``, or ``default``."""
        call = raw_call(key)
        if not self._config.enabled:
            return default
        try:
            look = self._looking(call, codec)
            seen = run(look, self.context.send, without_compute)
            hit = self._accepted(seen, stale)
            if hit is not None:
                return hit.value
            self._remember([seen])
        except FAILURES as error:
            self._failed([call], error)
        return default

    def get_many(self, keys: Iterable[str], codec: Serializer | None = None) -> dict[str, Any]:
        """The values that are there, by key."""
        calls = {key: raw_call(key) for key in keys}
        if not calls or not self._config.enabled:
            return {}
        found: dict[str, Any] = {}
        missed: list[Seen] = []
        flows = [self._looking(call, codec) for call in calls.values()]
        outcomes = run_together(flows, self.context.send_many)
        try:
            for key, outcome in zip(calls, outcomes, strict=True):
                if isinstance(outcome.error, FAILURES):
                    self._failed([calls[key]], outcome.error)
                    continue
                seen = outcome.result()
                hit = self._accepted(seen, stale=False)
                if hit is None:
                    missed.append(seen)
                else:
                    found[key] = hit.value
            self._remember(missed)
        except FAILURES as error:
            self._failed([seen.call for seen in missed], error)
        return found

    def has(self, key: str) -> bool:
        """Whether ``get`` would find it."""
        place = self._shards.place(raw_call(key).digest)
        if not self._config.enabled:
            return False
        try:
            return self.context.send(changes.has(place))
        except FAILURES as error:
            self._notices.failure("reading", error)
            return False

    def _looking(self, call: Call, codec: Serializer | None) -> Flow[Seen]:
        decode = decoder(self.context.codec if codec is None else codec)
        look: Look = yield self._flights.reading(call)
        found = yield from self._flights.look(call, decode, lambda: look)
        return Seen(call, found if isinstance(found, Hit) else None, look.epoch)

    def _accepted(self, seen: Seen, stale: bool) -> Hit | None:
        hit = seen.hit
        if hit is None or not (stale or hit.fresh_ms > 0):
            report(self, BY_HAND, "miss")
            return None
        report(self, BY_HAND, "hit" if hit.fresh_ms > 0 else "stale")
        return hit

    def _remember(self, missed: Sequence[Seen]) -> None:
        """The moment of these misses; a shard without a log gets one."""
        batch = self.context.batch()
        logs: dict[str, Epoch | None] = {}
        for call, _, epoch in missed:
            if epoch is None:
                shard = self._shards.place(call.digest).log
                if shard not in logs:
                    logs[shard] = self.context.send(log.init(shard))
            known = logs[shard] if epoch is None else epoch
            if known is not None:
                self._misses.remember(batch, call.digest.text, known)

    def _failed(self, calls: Iterable[Call], error: Exception) -> None:
        """A look failed, so nobody knows as of when the value is that ``set`` brings next."""
        batch = self.context.batch()
        for call in calls:
            self._misses.remember(batch, call.digest.text, NEVER)
        self._notices.failure("reading", error)

    def computing(self, key: str, terms: Terms) -> Flow[Any]:
        """The value, or what computing it gives, which is stored."""
        call = raw_call(key)
        if not self._config.enabled:
            return computed()
        tagged = Call(call.digest, (*call.tags, *terms.tags), BY_HAND)

        def pack(value: object) -> tuple[Payload | None, tuple[bytes, ...]]:
            about = f"kit.cache.get_or_set({key!r:.100})"
            return self._packing.packed(value, about, terms.codec, subject=BY_HAND), ()

        return computation(self._flights, tagged, decoder(terms.codec), terms.lifetime, pack)

    # storing

    def set(self, key: str, value: object, terms: Terms) -> bool:
        """Store a value; False if it was invalidated since the miss, or can't be stored now."""
        return self.set_many({key: value}, terms)[key]

    def add(self, key: str, value: object, terms: Terms) -> bool:
        """Store a value if there is none."""
        return self._put({key: value}, terms, "add")[key]

    def set_many(self, values: Mapping[str, object], terms: Terms) -> dict[str, bool]:
        """Store values; by key whether each was stored."""
        return self._put(values, terms, "set")

    def _put(
        self, values: Mapping[str, object], terms: Terms, mode: Literal["set", "add"]
    ) -> dict[str, bool]:
        ready = {key: self._checked(key, value, terms) for key, value in values.items()}
        if not ready or not self._config.enabled:
            return dict.fromkeys(ready, False)
        batch = self.context.batch()
        exchanges = [
            changes.put(
                self._shards.place(call.digest),
                self._misses.take(batch, call.digest.text),
                payload,
                terms.lifetime,
                call.tags,
                mode=mode,
            )
            for call, payload in ready.values()
        ]
        outcomes = self.context.send_many(exchanges)
        stored: dict[str, bool] = {}
        for (key, (call, _)), outcome in zip(ready.items(), outcomes, strict=True):
            if isinstance(outcome.error, FAILURES):
                self._notices.failure("storing", outcome.error)
                stored[key] = False
            else:
                stored[key] = self._done(call, outcome.result())
        return stored

    def storing(self, key: str, value: object, terms: Terms) -> Storing | None:
        """``set`` as an Exchange that is not sent yet; None if nothing is to be sent.

        One trip if ``get`` didn't miss it before; two if there is no log either. Raises the errors
        of a failing server.
        """
        call, payload = self._checked(key, value, terms)
        if not self._config.enabled:
            return None
        batch, digest = self.context.batch(), call.digest.text
        place = self._shards.place(call.digest)
        epoch = self._misses.take(batch, digest)
        if epoch is not None:  # it holds until the value is stored
            self._misses.remember(batch, digest, epoch)
        else:
            epoch, _ = self.context.send(log.scores(place.log, ()))
            epoch = epoch or self.context.send(log.init(place.log))

        def done(put: Put) -> bool:
            self._misses.take(self.context.batch(), digest)
            return self._done(call, put)

        exchange = changes.put(place, epoch, payload, terms.lifetime, call.tags)
        return Storing(call, exchange, done)

    def _checked(self, key: str, value: object, terms: Terms) -> tuple[Call, Payload]:
        call = raw_call(key)
        try:
            data = encoded(value, terms.codec)
        except CodecError as error:
            report(self, BY_HAND, "refused", "encoding")
            raise CodecError(f"The value for {key!r:.100} can't be stored. {error}") from error
        if len(data) > self._config.max_bytes:
            report(self, BY_HAND, "refused", "size")
            raise CodecError(
                f"The value for {key!r:.100} has {len(data)} bytes; REDIS_CACHE_MAX_BYTES is "
                f"{self._config.max_bytes}."
            )
        return Call(call.digest, (*call.tags, *terms.tags)), packed(data)

    def _done(self, call: Call, put: Put) -> bool:
        if put is Put.STORED:
            self._flights.memory.learn(Call(call.digest, call.tags[:1]), call.tags)
            report(self, BY_HAND, "stored")
            return True
        self._misses.refused(self.context.batch(), call.digest.text)
        if put is not Put.THERE:
            report(self, BY_HAND, "refused", "invalidated")
        return False

    # changing

    def touch(self, key: str, ttl: object) -> bool:
        """Let a value live for ``ttl`` from now on; False if there is none."""
        place = self._shards.place(raw_call(key).digest)
        fresh_ms = milliseconds(ttl)
        if not self._config.enabled:
            return False
        try:
            return self.context.send(changes.touch(place, fresh_ms))
        except FAILURES as error:
            self._notices.failure("storing", error)
            return False

    def count(self, key: str, amount: int, terms: Terms) -> int:
        """Add to a number; the sum. Raises the errors of a failing server."""
        call = raw_call(key)
        if isinstance(amount, bool) or not isinstance(amount, int):
            raise TypeError(f"The amount must be a whole number, not {amount!r}.")
        if abs(amount) > changes.LARGEST:
            raise OverflowError(f"{amount} is more than a counter can hold: {changes.LARGEST}.")
        if not self._config.enabled:
            return amount
        tags = (*call.tags, *terms.tags)
        place = self._shards.place(call.digest)
        counted = self.context.send(changes.count(place, amount, terms.lifetime, tags))
        if counted is Counted.NO_NUMBER:
            raise TypeError(f"The value of {key!r:.100} is no whole number, so nothing was added.")
        if counted is Counted.TOO_LARGE:
            raise OverflowError(
                f"{key!r:.100} would exceed what a counter can hold, {changes.LARGEST} either way, "
                "so nothing was added."
            )
        self._flights.memory.learn(Call(call.digest, call.tags), tags)
        return int(counted)

    # deleting

    def delete(self, key: str) -> bool:
        """Invalidate one key; True if there was something stored."""
        return bool(self.delete_many([key]))

    def delete_many(self, keys: Iterable[str]) -> int:
        """Invalidate keys; how many of them had something stored."""
        names = tuple(dict.fromkeys(keys))
        exchanges = [self.deletion(key) for key in names]
        if not exchanges or not self._config.enabled:
            return 0
        return sum(self._invalidation.send(exchanges, names))

    def deletion(self, key: str) -> Exchange[bool]:
        """``delete`` as an Exchange."""
        call = raw_call(key)
        return self._invalidation.forgetting(self._shards.place(call.digest), call.tags)
