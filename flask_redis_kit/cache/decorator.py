"""``@cache_result``: the decorator, and what hangs on a decorated function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast

from flask_redis_kit.cache import route
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flow import Flow, computed, run, run_async
from flask_redis_kit.cache.options import Declared, Options, checked_options
from flask_redis_kit.cache.pages import PAGES, Pages
from flask_redis_kit.cache.recipe import Recipe, plain
from flask_redis_kit.cache.tags import TagsOf
from flask_redis_kit.cache.ttl import Ttl, TtlOf
from flask_redis_kit.core.feature import current_state
from flask_redis_kit.core.request import PLAN, RequestBatch

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


def cache_result(
    key_prefix: str | None = None,
    ttl: Ttl | TtlOf | None = None,
    tags: Sequence[str | TagsOf] | TagsOf = (),
    **options: Unpack[Declared],
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
    return decorator(_current_engine, checked_options(key_prefix, ttl, tags, options))


def _current_engine() -> CacheEngine:
    engine: CacheEngine = current_state().engine_named("cache")
    return engine


def decorator(
    locate: Callable[[], CacheEngine], options: Options
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    """The decorator with these options, for the application that ``locate`` finds."""

    def decorate(function: Callable[P, R]) -> Cached[P, R]:
        recipe = Recipe(function, options)
        asynchronous = inspect.iscoroutinefunction(function)
        pages = Pages(recipe)
        wrapper = (_async_wrapper if asynchronous else _wrapper)(pages, locate)
        return cast("Cached[P, R]", _dressed(wrapper, pages, locate))

    return decorate


def _wrapper(pages: Pages, locate: Callable[[], CacheEngine]) -> Callable[..., Any]:
    function = pages.recipe.function

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        engine = locate()
        if not engine.enabled:
            return function(*args, **kwargs)
        flow = _flow(engine, pages, wrapper, args, kwargs)
        return run(flow, engine.context.send, lambda: function(*args, **kwargs))

    return wrapper


def _async_wrapper(pages: Pages, locate: Callable[[], CacheEngine]) -> Callable[..., Any]:
    function = pages.recipe.function

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        engine = locate()
        if not engine.enabled:
            return await function(*args, **kwargs)
        flow = _flow(engine, pages, wrapper, args, kwargs)
        return await run_async(flow, engine.context.send, lambda: function(*args, **kwargs))

    return wrapper


def _flow(
    engine: CacheEngine,
    pages: Pages,
    wrapper: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Flow[Any]:
    visit = route.arrive(engine, pages, wrapper)
    if visit is not None:
        return visit.flow(args, kwargs)
    if route.must_compute(engine, pages, wrapper):
        return computed()
    return plain(engine, pages.recipe, args, kwargs)


def _dressed(
    wrapper: Callable[..., Any], pages: Pages, locate: Callable[[], CacheEngine]
) -> Callable[..., Any]:
    """The wrapper with what hangs on it: the plan for routes, and the functions for users."""
    recipe = pages.recipe

    def cache_key(*args: Any, **kwargs: Any) -> str:
        digest = recipe.digest(recipe.bound(args, kwargs))
        return locate().shards.place(digest).value

    def invalidate(*args: Any, **kwargs: Any) -> None:
        locate().invalidate_call(recipe.digest(recipe.bound(args, kwargs)), recipe.about)

    def plan(batch: RequestBatch) -> None:
        try:
            route.plan(locate(), pages, wrapper, batch)
        except Exception:  # noqa: BLE001  # a plan only saves a trip; the view's place will tell
            return

    for name, attribute in (
        ("cache_key", cache_key),
        ("invalidate", invalidate),
        ("uncached", recipe.function),
        (PLAN, plan),
        (PAGES, pages),
    ):
        setattr(wrapper, name, attribute)
    return wrapper
