"""The part of ``kit.cache`` for values that are set and read by hand."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flow import run, run_async
from flask_redis_kit.cache.serializer import Serializer
from flask_redis_kit.cache.ttl import Ttl
from flask_redis_kit.core.feature import Feature

T = TypeVar("T")


class ByHand(Feature[CacheConfig, CacheEngine]):
    """Values by hand: a key is any string, a value what the codec knows.

    A value is *there* while it is neither past its ``ttl`` nor invalidated: by ``delete``, by one
    of its tags, by ``clear``. What fails at the server is a miss, or not stored, unless
    ``REDIS_CACHE_ON_ERROR`` is "raise".

    ``ttl``    seconds or a timedelta; ``REDIS_CACHE_DEFAULT_TTL`` (300 s) if left out.
    ``tags``   at most 32 names to invalidate by.
    ``grace``  how much longer the value is kept for ``get(…, stale=True)`` and ``get_or_set``.
    ``codec``  an object with ``encode`` and ``decode`` instead of ``kit.codec``: the same one for
               setting and getting.
    """

    def get(
        self,
        key: str,
        default: object = None,
        *,
        stale: bool = False,
        codec: Serializer | None = None,
    ) -> Any:
        """The value of ``key``, or ``default`` if it isn't there. One round trip.

        A miss remembers the moment, for a ``set`` of this key later in the same request (or
        context): what was invalidated in between is not stored. ``stale``: take also a value in its
        grace period, or one that was invalidated softly.
        """
        return self.engine().finder.get(key, default, stale=stale, codec=codec)

    def get_many(self, keys: Iterable[str], *, codec: Serializer | None = None) -> dict[str, Any]:
        """The values that are there, by key, in the order of ``keys``.

        One round trip (on Cluster one of waiting, to all nodes at once). Misses are remembered as
        ``get`` does.
        """
        return self.engine().finder.get_many(keys, codec)

    def has(self, key: str) -> bool:
        """Whether the value is there. One round trip; the value is not sent, nothing remembered."""
        return self.engine().finder.has(key)

    def set(
        self,
        key: str,
        value: object,
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> bool:
        """Store a value. One round trip, atomic; readers see the old one or the new one.

        After a ``get`` that missed the key, the value is as of that moment: False if the key or one
        of the tags was invalidated since. Without one it is as of now. What is being computed for
        the key (``get_or_set``) is not stored afterwards. False also if the server failed. Raises
        ``CodecError`` for a value that can't be stored.
        """
        values = self.engine().values
        return values.set(key, value, values.terms(ttl, tags, grace, codec))

    def set_many(
        self,
        values: Mapping[str, object],
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> dict[str, bool]:
        """Store values as ``set`` does, in one round trip; by key whether each was stored.

        Each is stored atomically, not all together. If one can't be stored, ``CodecError`` names it
        and none is sent.
        """
        engine = self.engine().values
        return engine.set_many(values, engine.terms(ttl, tags, grace, codec))

    def add(
        self,
        key: str,
        value: object,
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> bool:
        """Store a value if none is there: of several callers one gets True. One round trip, atomic.

        It is as of now, or of a ``get`` that missed, as with ``set``. Not sent again when the
        reply is lost: then False, though it may have been stored.
        """
        values = self.engine().values
        return values.add(key, value, values.terms(ttl, tags, grace, codec))

    @overload
    def get_or_set(
        self,
        key: str,
        compute: Callable[[], Awaitable[T]],
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> Awaitable[T]: ...

    @overload
    def get_or_set(
        self,
        key: str,
        compute: Callable[[], T],
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> T: ...

    def get_or_set(
        self,
        key: str,
        compute: Callable[[], Any],
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        *,
        grace: Ttl = 0,
        codec: Serializer | None = None,
    ) -> Any:
        """The value; if it isn't there, what ``compute()`` returns, which is stored.

        As of many concurrent callers, in all processes, one computes, this is what ``get`` and
        ``set`` are not: single flight. In the grace period one caller computes and the others get
        the old value; so does who computes, if it raises. One round trip for a hit, three for a
        miss. With an ``async def`` it is to be awaited. What can't be stored is returned all the
        same, with one warning. For a function with arguments use ``@cache_result``.
        """
        if not callable(compute):
            raise TypeError(f"compute must be a function, not {compute!r}: lambda: {compute!r}.")
        engine = self.engine()
        terms = engine.values.terms(ttl, tags, grace, codec)
        name = getattr(compute, "__qualname__", type(compute).__qualname__)
        flow = engine.values.computing(key, terms, name)
        if inspect.iscoroutinefunction(compute):
            return run_async(flow, engine.context.send, compute)
        return run(flow, engine.context.send, lambda: _plain(compute()))

    def touch(self, key: str, ttl: Ttl) -> bool:
        """Let the value live for ``ttl`` from now on; False if it isn't there. One trip, atomic.

        Its grace period comes after that, as long as it was. It stays as old as it is: what
        invalidates it still does.
        """
        return self.engine().values.touch(key, ttl)

    def incr(
        self, key: str, amount: int = 1, ttl: Ttl | None = None, tags: Sequence[str] = ()
    ) -> int:
        """Add to a whole number and return the sum. One round trip, atomic; no increment is lost.

        If it isn't there it begins at 0, with this ``ttl`` and these ``tags``; else it keeps its
        own. It is a value like any other for ``get``, ``set`` and invalidations. ``TypeError`` if
        the value is no whole number, ``OverflowError`` beyond 2**53 - 1 either way; nothing is
        changed then. A failing server raises ``ServerError``, whatever ``REDIS_CACHE_ON_ERROR``
        says, as there is no number to go on with; it was perhaps counted if ``maybe_sent`` is true.
        For limits use ``kit.ratelimit``.
        """
        values = self.engine().values
        return values.count(key, amount, values.terms(ttl, tags))

    def decr(
        self, key: str, amount: int = 1, ttl: Ttl | None = None, tags: Sequence[str] = ()
    ) -> int:
        """Subtract, as ``incr`` adds; below 0, too."""
        return self.incr(key, -amount, ttl, tags)

    def delete(self, key: str) -> bool:
        """Invalidate ``key``, also for those who are computing it now; True if it was there.

        One round trip. Raises ``InvalidationError`` if the server can't be reached.
        """
        return self.engine().values.delete(key)

    def delete_many(self, keys: Iterable[str]) -> int:
        """Invalidate keys as ``delete`` does, in one round trip; how many of them were there."""
        return self.engine().values.delete_many(keys)


def _plain(result: Any) -> Any:
    """The result, if it isn't one that has to be awaited yet."""
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(
            "compute() made a coroutine: give get_or_set() the `async def` itself, or a "
            "functools.partial of it, not a lambda that calls it."
        )
    return result
