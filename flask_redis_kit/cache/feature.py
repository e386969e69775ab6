"""The cache on its Flask side: ``kit.cache``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar, Unpack

from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.decorator import Cached, decorator
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.options import Declared, checked_options
from flask_redis_kit.cache.shards import KEYSPACE
from flask_redis_kit.cache.tags import TagsOf, checked_tags, several_tags
from flask_redis_kit.cache.transaction import CacheTransaction
from flask_redis_kit.cache.ttl import Ttl, TtlOf, milliseconds
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.transaction import Transaction

P = ParamSpec("P")
R = TypeVar("R")


class CacheFeature(Feature[CacheConfig, CacheEngine]):
    """``kit.cache``."""

    name: ClassVar[str] = "cache"
    config_class: ClassVar[type[CacheConfig]] = CacheConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = KEYSPACE

    def build(self, context: Context[CacheConfig]) -> CacheEngine:
        """Make the engine of one application. No I/O."""
        return CacheEngine(context)

    def transactional(self, tx: Transaction) -> CacheTransaction:
        """``tx.cache``."""
        return CacheTransaction(self.engine(), tx)

    def cache_result(
        self,
        key_prefix: str | None = None,
        ttl: Ttl | TtlOf | None = None,
        tags: Sequence[str | TagsOf] | TagsOf = (),
        **options: Unpack[Declared],
    ) -> Callable[[Callable[P, R]], Cached[P, R]]:
        """``cache_result`` for this kit: needs no application context at the call."""
        return decorator(self.engine, checked_options(key_prefix, ttl, tags, options))

    def get(self, key: str, default: object = None) -> Any:
        """The value stored under ``key`` by ``set``, or ``default``. One round trip.

        A miss remembers the moment, for a ``set`` of this key later in the same request (or
        context): what was invalidated in between is not stored. Never raises for a failing server.
        """
        return self.engine().values.get(key, default)

    def set(
        self, key: str, value: object, ttl: Ttl | None = None, tags: Sequence[str] = ()
    ) -> bool:
        """Store a value for ``ttl`` seconds (``REDIS_CACHE_DEFAULT_TTL``: 300) under ``key``.

        False if it was not stored: the key or one of the tags was invalidated since ``get`` missed
        it, or the server failed. One round trip after a ``get``, otherwise two. Raises
        ``CodecError`` for a value that can't be stored.
        """
        ttl_ms = None if ttl is None else milliseconds(ttl)
        names = checked_tags(tags, 'write tags=["products"]')
        return self.engine().values.set(key, value, ttl_ms, names)

    def delete(self, key: str) -> bool:
        """Invalidate ``key``, also for those who are computing it now; True if it was there.

        One round trip. Raises ``InvalidationError`` if the server can't be reached.
        """
        return self.engine().values.delete(key)

    def invalidate_tags(self, *tags: str) -> int:
        """Invalidate all values with any of these tags; returns how many different tags.

        What begins to read afterwards never sees an older value. One round trip whatever the
        number of values, atomic. Raises ``InvalidationError`` if the server can't be reached:
        repeat it then.
        """
        return self.engine().invalidation.tags(several_tags(tags))

    def clear(self) -> None:
        """Make everything in the application's namespace a miss. One round trip.

        Raises ``InvalidationError`` if the server can't be reached.
        """
        self.engine().invalidation.clear()
