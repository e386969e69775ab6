"""The cache of one application: what its parts share."""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from flask_redis_kit.cache.claims import Claims
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.finding import Finder
from flask_redis_kit.cache.flight import Flights
from flask_redis_kit.cache.invalidation import Invalidation
from flask_redis_kit.cache.misses import MissMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.packing import Packing
from flask_redis_kit.cache.shards import Shards
from flask_redis_kit.cache.signals import report
from flask_redis_kit.cache.ttl import milliseconds
from flask_redis_kit.cache.values import Values
from flask_redis_kit.core.feature import Context


class CacheEngine:
    """The engine behind ``kit.cache`` and ``cache_result`` in one application. Thread-safe."""

    def __init__(self, context: Context[CacheConfig]) -> None:
        self.context = context
        self.config = context.config
        self.shards = Shards(context.wire, context.keys)
        self.notices = Notices(context.config.on_error)
        self.claims = Claims()
        self.views: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        """By cached function: whether it is a view of the application."""
        self.permitted: WeakSet[Any] = WeakSet()
        """Cached views that have said of a response that everyone may have it."""
        self.flights = Flights(context.config, self.shards, self.notices, partial(report, self))
        self.invalidation = Invalidation(context, self.shards, self.notices)
        self.packing = Packing(context, self.notices)
        misses = MissMemory()
        self.finder = Finder(context, self.shards, self.flights, self.notices, misses, self)
        self.values = Values(
            context,
            self.shards,
            self.flights,
            self.invalidation,
            self.notices,
            self.packing,
            misses,
            self,
        )
        self._default_ttl_ms = milliseconds(context.config.default_ttl)

    @property
    def enabled(self) -> bool:
        """False: everything is computed, nothing is sent."""
        return self.config.enabled

    def ttl_ms(self, ttl_ms: int | None) -> int:
        """The given time to live, or the application's default."""
        return self._default_ttl_ms if ttl_ms is None else ttl_ms
