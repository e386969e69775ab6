"""Looks for values by hand; what is missed is remembered, so that it can be set without a race."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flask_redis_kit.cache import changes, log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.cache.flight import Call, Decode, Flights, Hit
from flask_redis_kit.cache.flow import Flow, run, run_together, without_compute
from flask_redis_kit.cache.identity import Namer
from flask_redis_kit.cache.misses import NEVER, MissMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.reading import Look
from flask_redis_kit.cache.running import tag
from flask_redis_kit.cache.serializer import Serializer, checked_codec, decoder
from flask_redis_kit.cache.shards import Shards
from flask_redis_kit.cache.signals import BY_HAND, report
from flask_redis_kit.cache.tags import member
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context

_raw = Namer("raw")


def several_keys(keys: Iterable[str], method: str) -> tuple[str, ...]:
    """The keys without repetitions; a single string would be taken for its letters."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        cure = f"write {method}([{keys!r:.100}])"
        raise TypeError(f"keys must be several strings, not {keys!r:.100}: {cure}.")
    return tuple(dict.fromkeys(keys))


def raw_call(key: object) -> Call:
    """The call that a key given by hand stands for."""
    if not isinstance(key, str):
        raise TypeError(f"A cache key must be a string, not {key!r}.")
    digest = _raw.digest({"key": key})
    return Call(digest, (member("k", digest.text),))


class Seen(NamedTuple):
    """What a look found: fresh, stale or nothing; and the log's state then."""

    call: Call
    hit: Hit | None
    epoch: Epoch | None


class Finder:
    """Finds values by hand of one application. Thread-safe."""

    def __init__(
        self,
        context: Context[CacheConfig],
        shards: Shards,
        flights: Flights,
        notices: Notices,
        misses: MissMemory,
        owner: object,
    ) -> None:
        self.context = context
        self._config = context.config
        self._shards = shards
        self._flights = flights
        self._notices = notices
        self._misses = misses
        self._owner = owner

    def get(
        self, key: str, default: object, *, stale: bool = False, codec: Serializer | None = None
    ) -> Any:
        """The value set under ``key``, or ``default``."""
        call, decode = raw_call(key), self._decode(codec)
        if not self._config.enabled:
            return default
        try:
            look = self._looking(call, decode)
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
        calls = {key: raw_call(key) for key in several_keys(keys, "get_many")}
        decode = self._decode(codec)
        if not calls or not self._config.enabled:
            return {}
        found: dict[str, Any] = {}
        missed: list[Seen] = []
        flows = [self._looking(call, decode) for call in calls.values()]
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

    def _decode(self, codec: Serializer | None) -> Decode:
        return decoder(self.context.codec if codec is None else checked_codec(codec))

    def _looking(self, call: Call, decode: Decode) -> Flow[Seen]:
        look: Look = yield self._flights.reading(call)
        found = yield from self._flights.look(call, decode, lambda: look)
        return Seen(call, found if isinstance(found, Hit) else None, look.epoch)

    def _accepted(self, seen: Seen, stale: bool) -> Hit | None:
        hit = seen.hit
        if hit is None or not (stale or hit.fresh_ms > 0):
            report(self, BY_HAND, "miss")
            return None
        report(self, BY_HAND, "hit" if hit.fresh_ms > 0 else "stale")
        tag(self._owner, hit.tags, old=hit.old)  # what is made of it hangs on them, too
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
