"""``@cache_result``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, Unpack

from flask_redis_kit.cache.cached import Binds, Cached, CachedAsync
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.options import Declared, Options, checked_options
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.cache.tags import TagsOf
from flask_redis_kit.cache.ttl import Ttl, TtlOf
from flask_redis_kit.core.feature import current_state

P = ParamSpec("P")
R = TypeVar("R")


def cache_result(
    key_prefix: str | None = None,
    ttl: Ttl | TtlOf | None = None,
    tags: Sequence[str | TagsOf] | TagsOf = (),
    **options: Unpack[Declared],
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    """Cache the results of a function, or the responses of a view, in the current application.

    ``key_prefix``  a name for the function's values that outlives a move to another module.
    ``ttl``         seconds, a timedelta, or a function that makes it of the result (None: it is not
                    stored); ``REDIS_CACHE_DEFAULT_TTL`` (300 s) if left out.
    ``tags``        at most 32 names to invalidate by; ``{parameter}`` is filled in; a function
                    makes one or several of the result. See ``kit.cache.tag``, too.
    ``grace``       so much longer than its ``ttl`` a value is served, while one caller computes the
                    next one, or if that raises.
    ``vary``        what results depend on besides the arguments: names of request headers, and
                    functions without arguments, such as ``lambda: current_user.id``.
    ``key``         makes the arguments' part of the key from the arguments: ``key(*args, **kw)``.
    ``ignore``      parameters that tell no calls apart, such as ``("self", "db")``.
    ``version``     a part of the key, to be changed with what the function returns.
    ``when``        whether to store a result: ``when(result)``.
    ``exceptions``  classes of exceptions that are kept like results and raised again.
    ``wait``        seconds to wait for another caller's computation before one's own.
    ``codec``       an object with ``encode`` and ``decode`` in place of the application's codec.
    ``public``      the result is the same for everyone although the session is read, or the request
                    of a view has an ``Authorization`` header.
    ``methods``     of a route: the HTTP methods served from the cache, ``("GET", "HEAD")``.
    ``query``       of a route: the query parameters that count; all but tracking ones if left out.
    ``body_key``    of a route: the request's body is a part of the key.

    Works on functions, methods and views, blocking and ``async def``. Arguments are told apart by
    exact type and value; one without identity raises ``TypeError`` naming it. Concurrent calls
    compute once, in all processes together. A hit costs one round trip, a miss three; when the
    server fails, everything is computed. Bad options raise ``TypeError`` or ``ConfigError`` here.
    """
    return decorator(_current_engine, checked_options(key_prefix, ttl, tags, options))


def _current_engine() -> CacheEngine:
    engine: CacheEngine = current_state().engine_named("cache")
    return engine


def decorator(
    locate: Callable[[], CacheEngine], options: Options
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    """The decorator with these options, for the application that ``locate`` finds."""

    def decorate(function: Callable[P, R]) -> Cached[P, R]:
        plain, binds = _unwrapped(function)
        kind = CachedAsync if inspect.iscoroutinefunction(plain) else Cached
        return kind(Recipe(plain, options), locate, binds)

    return decorate


def _unwrapped(function: Any) -> tuple[Callable[..., Any], Binds]:
    """The function, and what it gets as its first argument when it stands in a class."""
    if isinstance(function, classmethod):
        return function.__func__, "class"
    if isinstance(function, staticmethod):
        return function.__func__, "nothing"
    return function, "object"
