"""A function whose results are cached: how it is called, and what else can be done with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, cast, overload

from flask_redis_kit.cache import function, many, route
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Hit
from flask_redis_kit.cache.flow import Flow, computed, run, run_async
from flask_redis_kit.cache.pages import OUTSIDE, PAGES, Pages
from flask_redis_kit.cache.payload import RAISED
from flask_redis_kit.cache.recipe import Recipe
from flask_redis_kit.cache.running import tag
from flask_redis_kit.core.placement import note_outside
from flask_redis_kit.core.request import RequestBatch
from flask_redis_kit.core.views import PLAN, current_request

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
Binds = Literal["object", "class", "nothing"]
_FOR_USERS = ("cache_key", "cached_many", "invalidate", "invalidate_all", "refresh")
_OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")


class Cached(Generic[P, R]):
    """A function whose results are cached; called like the function itself.

    In a class it is a method: what hangs on it belongs to the object, as in
    ``shop.price.invalidate(7)``.
    """

    __slots__ = ("__dict__", "__weakref__", "_binds", "_locate", "_pages", "_recipe")

    def __init__(
        self, recipe: Recipe, locate: Callable[[], CacheEngine], binds: Binds = "object"
    ) -> None:
        functools.update_wrapper(cast("Any", self), recipe.function)
        self._locate = locate
        self._binds = binds
        self._follow(recipe)
        # in __dict__, so that functools.wraps() takes it along to decorators above this one
        own = {name: getattr(self, name) for name in _FOR_USERS}
        vars(self).update(own, uncached=recipe.function, **{PLAN: self._plan})
        note_outside(OUTSIDE, recipe.function, self)

    def _follow(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._pages = Pages(recipe)
        setattr(self, PAGES, self._pages)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of this call, from the cache or computed."""
        engine, compute = self._locate(), self._recipe.function
        if not engine.enabled:
            return cast("R", compute(*args, **kwargs))
        found, flow = self._found(engine, args, kwargs)
        if flow is None:
            return cast("R", found)
        return cast("R", run(flow, engine.context.send, lambda: compute(*args, **kwargs)))

    @property
    def uncached(self) -> Callable[P, R]:
        """The function itself."""
        return self._recipe.function

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key in Redis of this call's result. (A route's key depends on the URL, too.)"""
        call = self._recipe.call(args, kwargs)
        digest = self._recipe.base(args, kwargs) if call is None else call.digest
        return self._locate().shards.place(digest).value

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate this call's result, and the responses of a route with these arguments.

        In all variants (``vary=``). One round trip. Raises ``InvalidationError`` if the server
        can't be reached.
        """
        self._locate().invalidation.call(self._recipe.base(args, kwargs), self._recipe.about)

    def invalidate_all(self, *, soft: bool = False) -> None:
        """Invalidate all results of the function, and all responses of the route.

        ``soft``: they are stale instead, and in their grace period served while one caller computes
        the next. One round trip. Raises ``InvalidationError`` if the server can't be reached.
        """
        recipe = self._recipe
        self._locate().invalidation.members([recipe.function_tag], recipe.about, soft=soft)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute this call's result now, and store it. Three round trips.

        Until then others get what is stored. What is invalidated meanwhile isn't stored.
        """
        engine, compute = self._locate(), self._recipe.function
        if not engine.enabled:
            return cast("R", compute(*args, **kwargs))
        flow = self._refreshing(engine, args, kwargs)
        return cast("R", run(flow, engine.context.send, lambda: compute(*args, **kwargs)))

    @overload
    def cached_many(
        self: Cached[Any, Coroutine[Any, Any, T]], calls: Iterable[object], /
    ) -> Coroutine[Any, Any, list[T]]: ...

    @overload
    def cached_many(self: Cached[Any, T], calls: Iterable[object], /) -> list[T]: ...

    def cached_many(self, calls: Iterable[object], /) -> Any:
        """The results of many calls, in their order; all are looked up in one round trip.

        Each item is the arguments of one call: a tuple, keywords in a dict, or a single argument.
        What is missing is computed one after the other, as by a call: two more trips each.
        """
        return self._many(calls)

    def _many(self, calls: Iterable[object], *first: object) -> Any:
        engine, recipe, compute = self._locate(), self._recipe, self._recipe.function
        if not engine.enabled:
            given = map(many.arguments_of, calls)
            return [compute(*first, *args, **kwargs) for args, kwargs in given]
        return [
            run(
                many.flow_of(engine, recipe, one),
                engine.context.send,
                functools.partial(compute, *one.args, **one.kwargs),
            )
            for one in many.asked(engine, recipe, calls, *first)
        ]

    def _found(
        self, engine: CacheEngine, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Flow[Any] | None]:
        """A result that is there, and None; or how to come by it."""
        recipe = self._recipe
        if current_request() is not None:
            visit = route.arrive(engine, self._pages, self)
            if visit is not None:
                return visit.result(args, kwargs)
            if route.must_compute(engine, self._pages, self):
                return None, computed()
        told = recipe.told()
        call = recipe.call(args, kwargs, told)
        if call is None:
            return None, function.result(engine, recipe, None)
        found = function.glance(engine, recipe, call)
        if not isinstance(found, Hit):
            return None, function.result(engine, recipe, call, found, told=told)
        if found.flags & RAISED:
            return None, function.answer(engine, recipe, call, found, told)
        tag(engine, found.tags)
        return found.value, None

    def _refreshing(
        self, engine: CacheEngine, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Flow[Any]:
        recipe, told = self._recipe, self._recipe.told()
        call = recipe.call(args, kwargs, told)
        return function.result(engine, recipe, call, told=told, refresh=True)

    def _plan(self, batch: RequestBatch) -> None:
        route.plan(self._locate(), self._pages, self, batch)

    # as a method

    @overload
    def __get__(self, instance: None, owner: type, /) -> Cached[P, R]: ...

    @overload
    def __get__(
        self: Cached[Concatenate[Any, Q], T], instance: object, owner: type | None = None, /
    ) -> BoundCached[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None, /) -> Any:
        if self._binds == "class":
            return BoundCached(cast("Any", self), type(instance) if owner is None else owner)
        if instance is None or self._binds == "nothing":
            return self
        return BoundCached(cast("Any", self), instance)

    def __set_name__(self, owner: type, name: str) -> None:
        if hasattr(owner, "dispatch_request"):  # a View: its objects live for one request
            self._follow(self._recipe.of_view())

    def __reduce__(self) -> str:
        return self._recipe.function.__qualname__  # by its name, as functions are pickled

    def __repr__(self) -> str:
        return f"<cached {self._recipe.function!r}>"


class CachedAsync(Cached[P, R]):
    """A coroutine function whose results are cached."""

    __slots__ = ()

    def __init__(
        self, recipe: Recipe, locate: Callable[[], CacheEngine], binds: Binds = "object"
    ) -> None:
        super().__init__(recipe, locate, binds)
        # what makes inspect.iscoroutinefunction() true, by which Flask knows an async view
        function = recipe.function
        while isinstance(function, functools.partial):
            function = function.func
        for name in _OF_FUNCTIONS:
            setattr(self, name, getattr(function, name))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of this call, from the cache or computed."""
        return cast("R", self._result(args, kwargs))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute this call's result now, and store it. Three round trips."""
        return cast("R", self._result(args, kwargs, refresh=True))

    async def _result(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, refresh: bool = False
    ) -> Any:
        engine, compute = self._locate(), self._recipe.function
        if not engine.enabled:
            return await compute(*args, **kwargs)
        found, flow = None, None
        if not refresh:
            found, flow = self._found(engine, args, kwargs)
            if flow is None:
                return found
        flow = flow or self._refreshing(engine, args, kwargs)
        return await run_async(flow, engine.context.send, lambda: compute(*args, **kwargs))

    async def _many(self, calls: Iterable[object], *first: object) -> list[Any]:
        engine, recipe, compute = self._locate(), self._recipe, self._recipe.function
        if not engine.enabled:
            given = map(many.arguments_of, calls)
            return [await compute(*first, *args, **kwargs) for args, kwargs in given]
        return [
            await run_async(
                many.flow_of(engine, recipe, one),
                engine.context.send,
                functools.partial(compute, *one.args, **one.kwargs),
            )
            for one in many.asked(engine, recipe, calls, *first)
        ]


class BoundCached(Generic[P, R]):
    """A cached method of one object."""

    __slots__ = ("__self__", "_cached")

    def __init__(self, cached: Cached[Any, R], instance: object) -> None:
        self._cached = cached
        self.__self__ = instance

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of this call, from the cache or computed."""
        return self._cached(self.__self__, *args, **kwargs)

    @property
    def uncached(self) -> Callable[P, R]:
        """The method itself."""
        return functools.partial(self._cached.uncached, self.__self__)

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key in Redis of this call's result."""
        return self._cached.cache_key(self.__self__, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate this call's result, and the responses of a route with these arguments."""
        self._cached.invalidate(self.__self__, *args, **kwargs)

    def invalidate_all(self, *, soft: bool = False) -> None:
        """Invalidate all results of the method, of all objects."""
        self._cached.invalidate_all(soft=soft)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute this call's result now, and store it."""
        return self._cached.refresh(self.__self__, *args, **kwargs)

    @overload
    def cached_many(
        self: BoundCached[Any, Coroutine[Any, Any, T]], calls: Iterable[object], /
    ) -> Coroutine[Any, Any, list[T]]: ...

    @overload
    def cached_many(self: BoundCached[Any, T], calls: Iterable[object], /) -> list[T]: ...

    def cached_many(self, calls: Iterable[object], /) -> Any:
        """The results of many calls, in their order; all are looked up in one round trip."""
        return self._cached._many(calls, self.__self__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cached, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__self__, self._cached.uncached.__name__)  # as methods are

    def __repr__(self) -> str:
        return f"<bound {self._cached!r} of {self.__self__!r}>"
