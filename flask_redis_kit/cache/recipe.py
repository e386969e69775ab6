"""What a decorator has declared about one function, checked once; and its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from flask_redis_kit.cache.claims import is_ambiguous
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call, Hit
from flask_redis_kit.cache.flow import COMPUTE, Flow
from flask_redis_kit.cache.freshness import Lifetime
from flask_redis_kit.cache.identity import Digest, Namer
from flask_redis_kit.cache.options import Options
from flask_redis_kit.cache.tags import TagTemplates, member
from flask_redis_kit.cache.ttl import milliseconds
from flask_redis_kit.core.session_watch import SessionWatch

_SESSION = (
    "%s: its result is not cached, as it reads the session and so may be one user's. Give it what "
    "it needs, such as the user's id, as an argument; if it is the same for everyone, say "
    "@cache_result(public=True)."
)


class Recipe:
    """How the results of one function are keyed, tagged and kept.

    A function is known by its module and qualified name; with a ``key_prefix`` by that and its
    qualified name, so that its values survive a move to another module.
    """

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        _check_function(function)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        module = getattr(function, "__module__", "")
        self.function = function
        self.about = f"{module}.{name}"
        self.options = options
        self.public = options.public
        key_prefix = options.key_prefix
        ttl = options.ttl
        self._ttl_ms = None if ttl is None or callable(ttl) else milliseconds(ttl)
        self._signature = inspect.signature(function)
        self._flexible = self._named(Parameter.VAR_KEYWORD)
        self.defaults = {
            each.name: each.default
            for each in self._signature.parameters.values()
            if each.default is not Parameter.empty
        }
        names = None if self._flexible else frozenset(self._signature.parameters)
        self._templates = TagTemplates([tag for tag in options.tags if isinstance(tag, str)], names)
        known_as = (key_prefix if key_prefix is not None else module, name)
        self._known_as = known_as
        self._ambiguous = is_ambiguous(function)
        self._calls = Namer("fn", "prefix" if key_prefix is not None else "module", *known_as)
        self.routes = Namer("route", "prefix" if key_prefix is not None else "module", *known_as)
        self.function_tag = member("f", ":".join(known_as))
        """On this hang all its results."""
        implicit = [self.function_tag]
        if key_prefix is not None:
            implicit.append(member("p", key_prefix))
        self._implicit = tuple(implicit)

    def _named(self, kind: Any) -> str | None:
        found = (each.name for each in self._signature.parameters.values() if each.kind is kind)
        return next(found, None)

    def claim(self, engine: CacheEngine) -> None:
        """``ConfigError`` if another function of this application would share the values."""
        if self._ambiguous:
            engine.claims.check(self._known_as, self.function)

    def lifetime(self, engine: CacheEngine) -> Lifetime:
        """How long a result lives in this application."""
        return Lifetime(engine.ttl_ms(self._ttl_ms))

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by parameter, defaults included. ``TypeError`` as the call would raise."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def digest(self, arguments: Mapping[str, Any]) -> Digest:
        """The digest of a call; ``TypeError`` names an argument without identity."""
        return self._calls.digest(arguments, self.about)

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """A call of the plain function."""
        arguments = self.bound(args, kwargs)
        return self.tagged(self.digest(arguments), arguments)

    def tagged(self, digest: Digest, arguments: Mapping[str, Any], *more: bytes) -> Call:
        """A call with this digest, and the tags that follow from its arguments."""
        if self._flexible:
            arguments = {**arguments, **arguments.get(self._flexible, {})}
        own = self._templates.render(arguments)
        return Call(digest, (*own, *self._implicit, member("k", digest.text), *more))


def _check_function(function: Any) -> None:
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"@cache_result() decorates functions, not {function!r}. With @classmethod, "
            "@staticmethod or @property, put it below them."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__qualname__} is a generator, whose values can be read only once. Cache a "
            "function that returns a list."
        )


def plain(
    engine: CacheEngine, recipe: Recipe, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Flow[Any]:
    """A call of a plain function: its result from the cache, or computed and stored.

    A result for which the session was read is not stored: it may be one user's.
    One round trip for a hit, three for a miss.
    """
    flights = engine.flights
    recipe.claim(engine)
    found = yield from flights.obtain(recipe.call(args, kwargs), engine.context.codec.decode)
    if isinstance(found, Hit):
        return found.value
    watch = SessionWatch()
    try:
        value = yield COMPUTE
    except BaseException:
        watch.end()
        yield from flights.close(found, None, recipe.lifetime(engine))
        raise
    payload = None
    if watch.end() and not recipe.public:
        engine.notices.once(("session", recipe.about), _SESSION, recipe.about)
    elif found.token is not None:
        payload = engine.encoded(value, recipe.about)
    yield from flights.close(found, payload, recipe.lifetime(engine))
    return value
