"""The cache on its Flask side: the feature, and the decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar, cast

from flask_redis_kit.cache import route
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flow import Flow, computed, run, run_async
from flask_redis_kit.cache.recipe import Recipe, checked_prefix, plain
from flask_redis_kit.cache.shards import KEYSPACE
from flask_redis_kit.cache.tags import checked_tags, several_tags
from flask_redis_kit.cache.transaction import CacheTransaction
from flask_redis_kit.cache.ttl import Ttl, milliseconds
from flask_redis_kit.core.feature import Context, Feature, current_state
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.request import PLAN, RequestBatch
from flask_redis_kit.core.transaction import Transaction

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Cached(Protocol[P, R_co]):
    """A function whose results are cached; called like the function itself."""

    @property
    def uncached(self) -> Callable[P, R_co]:
        """The function itself."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The result of this call, from the cache or computed."""

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key in Redis of this call's result. (A route's key depends on the URL, too.)"""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate this call's result, and the responses of a route with these arguments.

        One round trip. Raises ``InvalidationError`` if the server can't be reached.
        """


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
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
        public: bool = False,
    ) -> Callable[[Callable[P, R]], Cached[P, R]]:
        """``cache_result`` for this kit: needs no application context at the call."""
        return _decorator(self.engine, key_prefix, ttl, tags, public)

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


def cache_result(
    key_prefix: str | None = None,
    ttl: Ttl | None = None,
    tags: Sequence[str] = (),
    public: bool = False,
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    """Cache the results of a function, or the responses of a view, in the current application.

    ``key_prefix``  a name for the function's values that outlives a move to another module.
    ``ttl``         seconds or a timedelta; ``REDIS_CACHE_DEFAULT_TTL`` (300 s) if left out.
    ``tags``        at most 32 names to invalidate by; ``{parameter}`` is filled in.
    ``public``      the result is the same for everyone although the session is read, or the request
                    of a view has an ``Authorization`` header.

    Works on functions and views, blocking and ``async def``. Arguments are told apart by exact
    type and value; one without identity raises ``TypeError`` naming it. Concurrent calls compute
    once, in all processes together. A hit costs one round trip, a miss three; when the server
    fails, everything is computed. Bad arguments raise ``TypeError`` or ``ConfigError`` here.
    """
    return _decorator(_current_engine, key_prefix, ttl, tags, public)


def _current_engine() -> CacheEngine:
    engine: CacheEngine = current_state().engine_named("cache")
    return engine


def _decorator(
    locate: Callable[[], CacheEngine],
    key_prefix: str | None,
    ttl: object,
    tags: object,
    public: bool,
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    prefix = checked_prefix(key_prefix)
    if not isinstance(public, bool):
        raise TypeError(f"public must be True or False, not {public!r}.")

    def decorate(function: Callable[P, R]) -> Cached[P, R]:
        recipe = Recipe(function, key_prefix=prefix, ttl=ttl, tags=tags, public=public)
        asynchronous = inspect.iscoroutinefunction(function)
        wrapper = (_async_wrapper if asynchronous else _wrapper)(recipe, locate)
        return cast("Cached[P, R]", _dressed(wrapper, recipe, locate))

    return decorate


def _wrapper(recipe: Recipe, locate: Callable[[], CacheEngine]) -> Callable[..., Any]:
    function = recipe.function

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        engine = locate()
        if not engine.enabled:
            return function(*args, **kwargs)
        flow = _flow(engine, recipe, wrapper, args, kwargs)
        return run(flow, engine.context.send, lambda: function(*args, **kwargs))

    return wrapper


def _async_wrapper(recipe: Recipe, locate: Callable[[], CacheEngine]) -> Callable[..., Any]:
    function = recipe.function

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        engine = locate()
        if not engine.enabled:
            return await function(*args, **kwargs)
        flow = _flow(engine, recipe, wrapper, args, kwargs)
        return await run_async(flow, engine.context.send, lambda: function(*args, **kwargs))

    return wrapper


def _flow(
    engine: CacheEngine,
    recipe: Recipe,
    wrapper: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Flow[Any]:
    visit = route.arrive(engine, recipe, wrapper)
    if visit is not None:
        return visit.flow(args, kwargs)
    if route.must_compute(engine, recipe, wrapper):
        return computed()
    return plain(engine, recipe, args, kwargs)


def _dressed(
    wrapper: Callable[..., Any], recipe: Recipe, locate: Callable[[], CacheEngine]
) -> Callable[..., Any]:
    """The wrapper with what hangs on it: the plan for routes, and the functions for users."""

    def cache_key(*args: Any, **kwargs: Any) -> str:
        digest = recipe.digest(recipe.bound(args, kwargs))
        return locate().shards.place(digest).value

    def invalidate(*args: Any, **kwargs: Any) -> None:
        locate().invalidate_call(recipe.digest(recipe.bound(args, kwargs)), recipe.about)

    def plan(batch: RequestBatch) -> None:
        try:
            route.plan(locate(), recipe, wrapper, batch)
        except Exception:  # noqa: BLE001  # a plan only saves a trip; the view's place will tell
            return

    for name, attribute in (
        ("cache_key", cache_key),
        ("invalidate", invalidate),
        ("uncached", recipe.function),
        (PLAN, plan),
    ):
        setattr(wrapper, name, attribute)
    return wrapper
