"""``tx.cache``: invalidating and storing as a part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.finding import raw_call
from flask_redis_kit.cache.serializer import Serializer
from flask_redis_kit.cache.tags import member, several_tags
from flask_redis_kit.cache.ttl import Ttl
from flask_redis_kit.core.errors import TransactionMisused
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.steps import Result
from flask_redis_kit.core.transaction import Transaction


class CacheTransaction:
    """What ``kit.cache`` invalidates and stores, together with all else in the block or not at all.

    A failing server raises, whatever the settings say. On Cluster ``invalidate_tags``,
    ``invalidate_prefix`` and ``clear`` raise ``CrossSlotError`` at the end of the block: values,
    and what they are checked against, lie in several slots there.
    """

    def __init__(self, engine: CacheEngine, tx: Transaction) -> None:
        self._engine = engine
        self._tx = tx
        self._invalidated: set[bytes] = set()
        self._cleared = False

    def invalidate_tags(self, *tags: str, soft: bool = False) -> Result[int]:
        """As ``kit.cache.invalidate_tags``."""
        names = several_tags(tags)
        name = f"cache.invalidate_tags({', '.join(map(repr, names))})"
        if not names or not self._engine.enabled:
            return self._tx.settled(0, name)
        self._invalidated |= {member("t", each) for each in names}
        exchanges = self._engine.invalidation.of_tags(names, soft=soft)
        return self._tx.add_all(self._engine.context.wire, exchanges, name, lambda _: len(names))

    def invalidate_prefix(self, key_prefix: str, *, soft: bool = False) -> Result[None]:
        """As ``kit.cache.invalidate_prefix``."""
        exchanges = self._engine.invalidation.of_prefix(key_prefix, soft=soft)
        return self._all(exchanges, f"cache.invalidate_prefix({key_prefix!r})")

    def clear(self) -> Result[None]:
        """As ``kit.cache.clear``."""
        self._cleared = self._engine.enabled
        return self._all(self._engine.invalidation.of_all(), "cache.clear()")

    def _all(self, exchanges: Sequence[Exchange[Any]], name: str) -> Result[None]:
        if not self._engine.enabled:
            return self._tx.settled(None, name)
        return self._tx.add_all(self._engine.context.wire, exchanges, name, lambda _: None)

    def delete(self, key: str) -> Result[bool]:
        """As ``kit.cache.delete``."""
        exchange, name = self._engine.values.deletion(key), f"cache.delete({key!r})"
        if not self._engine.enabled:
            return self._tx.settled(False, name)
        self._invalidated |= set(raw_call(key).tags)
        return self._tx.add(self._engine.context.wire, exchange, name)

    def set(
        self,
        key: str,
        value: object,
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> Result[bool]:
        """As ``kit.cache.set``, but a failing server raises.

        If ``get`` didn't miss the key before, the call takes one round trip by itself: the value is
        stored unless it was invalidated since then. What the block itself has invalidated can't be
        stored anew in it: ``TransactionMisused``.
        """
        name = f"cache.set({key!r})"
        values = self._engine.values
        terms = values.terms(ttl, tags, grace, codec)
        if self._cleared or self._invalidated & {*raw_call(key).tags, *terms.tags}:
            raise TransactionMisused(
                f"{name}: the block has invalidated this key or one of its tags, so the value "
                "would never be served. Set it after the block."
            )
        storing = values.storing(key, value, terms)
        if storing is None:
            return self._tx.settled(False, name)
        return self._tx.add_all(
            self._engine.context.wire,
            [storing.exchange],
            name,
            lambda put: storing.done(put[0]),
        )
