"""``tx.cache``: invalidating and storing as a part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.tags import checked_tags, member, several_tags
from flask_redis_kit.cache.ttl import Ttl, milliseconds
from flask_redis_kit.cache.values import raw_call
from flask_redis_kit.core.errors import TransactionMisused
from flask_redis_kit.core.steps import Result
from flask_redis_kit.core.transaction import Transaction


class CacheTransaction:
    """What ``kit.cache`` invalidates and stores, together with all else in the block or not at all.

    On Cluster ``invalidate_tags`` raises ``CrossSlotError`` at the end of the block: the values
    with a tag, and what they are checked against, lie in several slots there.
    """

    def __init__(self, engine: CacheEngine, tx: Transaction) -> None:
        self._engine = engine
        self._tx = tx
        self._invalidated: set[bytes] = set()

    def invalidate_tags(self, *tags: str) -> Result[int]:
        """As ``kit.cache.invalidate_tags``."""
        names = several_tags(tags)
        name = f"cache.invalidate_tags({', '.join(map(repr, names))})"
        if not names or not self._engine.enabled:
            return self._tx.settled(0, name)
        self._invalidated |= {member("t", each) for each in names}
        exchanges = self._engine.invalidation.of_tags(names)
        return self._tx.add_all(self._engine.context.wire, exchanges, name, lambda _: len(names))

    def delete(self, key: str) -> Result[bool]:
        """As ``kit.cache.delete``."""
        exchange, name = self._engine.values.deletion(key), f"cache.delete({key!r})"
        if not self._engine.enabled:
            return self._tx.settled(False, name)
        self._invalidated |= set(raw_call(key).tags)
        return self._tx.add(self._engine.context.wire, exchange, name)

    def set(
        self, key: str, value: object, ttl: Ttl | None = None, tags: Sequence[str] = ()
    ) -> Result[bool]:
        """As ``kit.cache.set``, but a failing server raises.

        If ``get`` didn't miss the key before, the call takes one round trip by itself: the value is
        stored unless it was invalidated since then. What the block itself has invalidated can't be
        stored anew in it: ``TransactionMisused``.
        """
        name = f"cache.set({key!r})"
        ttl_ms = None if ttl is None else milliseconds(ttl)
        names = checked_tags(tags, 'write tags=["products"]')
        if self._invalidated & {*raw_call(key).tags, *(member("t", each) for each in names)}:
            raise TransactionMisused(
                f"{name}: the block has invalidated this key or one of its tags, so the value "
                "would never be served. Set it after the block."
            )
        storing = self._engine.values.storing(key, value, ttl_ms, names)
        if storing is None:
            return self._tx.settled(False, name)
        return self._tx.add_all(
            self._engine.context.wire,
            [storing.exchange],
            name,
            lambda values: storing.done(values[0]),
        )
