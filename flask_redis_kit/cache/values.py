"""Values by hand: get, compute, set without a race."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from flask_redis_kit.cache import changes, log
from flask_redis_kit.cache.changes import Counted, Put
from flask_redis_kit.cache.computation import Computation
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.finding import raw_call, several_keys
from flask_redis_kit.cache.flight import Call, Flights
from flask_redis_kit.cache.flow import Flow, computed
from flask_redis_kit.cache.invalidation import Invalidation
from flask_redis_kit.cache.misses import MissMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.packing import Packing
from flask_redis_kit.cache.payload import Payload, packed
from flask_redis_kit.cache.serializer import Serializer, checked_codec, decoder, encoded
from flask_redis_kit.cache.shards import Shards
from flask_redis_kit.cache.signals import BY_HAND, report
from flask_redis_kit.cache.tags import checked_tags, member
from flask_redis_kit.cache.ttl import Lifetime, milliseconds, seconds
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context


class Terms(NamedTuple):
    """How values are to be stored: for how long, tagged with what, encoded by what."""

    lifetime: Lifetime
    tags: tuple[bytes, ...]
    codec: Serializer


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
        misses: MissMemory,
        owner: object,
    ) -> None:
        self.context = context
        self._config = context.config
        self._shards = shards
        self._flights = flights
        self._invalidation = invalidation
        self._notices = notices
        self._packing = packing
        self._misses = misses
        self._owner = owner

    def terms(
        self, ttl: object, tags: object, grace: object = 0, codec: Serializer | None = None
    ) -> Terms:
        """What a caller wants, checked. ``TypeError`` or ``ConfigError``."""
        fresh_ms = milliseconds(self._config.default_ttl if ttl is None else ttl)
        lifetime = Lifetime(fresh_ms, round(seconds(grace, "grace", least=0) * 1000))
        names = checked_tags(tags, 'write tags=["products"]')
        members = tuple(member("t", name) for name in names)
        used = self.context.codec if codec is None else checked_codec(codec)
        return Terms(lifetime, members, used)

    def computing(self, key: str, terms: Terms, name: str) -> Flow[Any]:
        """The value, or what computing it gives, which is stored; ``name`` is that of who does."""
        call = raw_call(key)
        if not self._config.enabled:
            return computed()
        about = f"kit.cache.get_or_set(…, {name})"

        def pack(value: object, tags: tuple[bytes, ...]) -> Payload | None:
            packed = self._packing.packed
            return packed(value, about, terms.codec, subject=BY_HAND, tags=tags)

        tagged = Call(call.digest, (*call.tags, *terms.tags), BY_HAND)
        decode = decoder(terms.codec)
        work = Computation(self._owner, tagged, about, terms.lifetime, decode, pack)
        return work.flow(self._flights)

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
        if not isinstance(values, Mapping):
            raise TypeError(f"values must be a dict, not {values!r:.100}: set_many({{'a': 1}}).")
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
        for (key, (call, payload)), outcome in zip(ready.items(), outcomes, strict=True):
            if isinstance(outcome.error, FAILURES):
                report(self, BY_HAND, "refused", "failure")
                self._notices.failure("storing", outcome.error)
                stored[key] = False
            else:
                stored[key] = self._done(call, payload, outcome.result())
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
            return self._done(call, payload, put)

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

    def _done(self, call: Call, payload: Payload, put: Put) -> bool:
        if put is Put.STORED:
            self._flights.memory.learn(Call(call.digest, call.tags[:1]), call.tags)
            report(self, BY_HAND, "stored", size=len(payload.data))
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
        names = several_keys(keys, "delete_many")
        exchanges = [self.deletion(key) for key in names]
        if not exchanges or not self._config.enabled:
            return 0
        return sum(self._invalidation.send(exchanges, names))

    def deletion(self, key: str) -> Exchange[bool]:
        """``delete`` as an Exchange."""
        call = raw_call(key)
        return self._invalidation.forgetting(self._shards.place(call.digest), call.tags)
