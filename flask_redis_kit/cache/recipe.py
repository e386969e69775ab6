"""What a decorator has declared about one function, checked once; and its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask_redis_kit.cache import running
from flask_redis_kit.cache.binding import Binding
from flask_redis_kit.cache.claims import is_ambiguous
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call
from flask_redis_kit.cache.identity import Digest, Namer
from flask_redis_kit.cache.options import Options
from flask_redis_kit.cache.recent import RecentCalls
from flask_redis_kit.cache.tags import TagTemplates, member
from flask_redis_kit.cache.telling import Told, ask
from flask_redis_kit.cache.ttl import Lifetime, milliseconds
from flask_redis_kit.cache.variants import Variants
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.session_watch import count_as_read
from flask_redis_kit.core.views import current_request


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
        self.options = options
        self.about = f"{module}.{name}"
        self.subject = options.key_prefix or self.about
        """What is counted as one."""
        if options.key is not None and options.ignore:
            raise ConfigError(
                f"{self.about}: key= replaces all arguments, so ignore= means nothing: "
                "leave one of them out."
            )
        self.binding = Binding(function, options.ignore, self.about)
        self.variants = Variants(options.vary)
        self.tags = TagTemplates(
            options.tags, None if self.binding.flexible else frozenset(self.binding.names)
        )
        self._name(options.key_prefix, module, name)
        self._recent = RecentCalls(self.binding) if self._is_told_by_arguments() else None

    def _name(self, key_prefix: str | None, module: str, name: str) -> None:
        self._known_as = (key_prefix if key_prefix is not None else module, name)
        self._ambiguous = is_ambiguous(self.function)
        version = self.options.version
        kind = "prefix" if key_prefix is not None else "module"
        names = (kind, *self._known_as, *([] if version is None else [repr(version)]))
        self._calls = Namer("fn", *names)
        self.routes = Namer("route", *names)
        self.function_tag = member("f", ":".join(self._known_as))
        """What all values of the function are invalidated by."""
        prefixed = () if key_prefix is None else (member("p", key_prefix),)
        self._implicit = (self.function_tag, *prefixed)

    def _is_told_by_arguments(self) -> bool:
        """Whether the same scalar arguments are always the same call, with the same tags."""
        by_arguments = not self.options.vary and self.options.key is None
        return by_arguments and self.tags.names.isdisjoint(self.binding.ignored)

    def told(self) -> Told | None:
        """Call the functions in ``vary=``; None if there are none."""
        return ask(self.variants.factors) if self.variants.factors else None

    def is_told_apart(self, told: Told | None, read: frozenset[str] | None) -> bool | None:
        """Whether the key tells users apart as far as the session does, which was read.

        It does if a function in ``vary=`` has read the same keys of it (``read``), or has given
        what stands in it. None: they gave nothing, as for nobody, so that can't be seen.
        """
        if self.options.public or "cookie" in self.variants.names:
            return True
        if told is None:
            return False
        untold = told.untold(read)
        if untold is not None and not untold:
            return True
        return None if told.of_nobody else False

    def claim(self, engine: CacheEngine) -> None:
        """``ConfigError`` if another function of this application would share the values."""
        if self._ambiguous:
            engine.claims.check(self._known_as, self.function)

    def lifetime(self, engine: CacheEngine, result: object) -> Lifetime | None:
        """How long a result lives; None: it is not stored.

        Raises what the user's function of the result raises, and ``TypeError`` or ``ConfigError``
        if that is no time.
        """
        ttl: Any = self.options.ttl
        if callable(ttl):
            ttl = ttl(result)
            if _is_none(ttl):
                return None
        fresh_ms = engine.ttl_ms(None if ttl is None else milliseconds(ttl))
        return Lifetime(fresh_ms, round(self.options.grace * 1000))

    def of_view(self) -> Recipe:
        """This recipe for a method of a view class, whose objects tell no calls apart."""
        receiver = self.binding.receiver
        if receiver is None or receiver in self.binding.ignored or self.options.key is not None:
            return self
        return Recipe(self.function, replace(self.options, ignore=(receiver, *self.options.ignore)))

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of the parameters that have one."""
        return self.binding.defaults

    # keys

    def call(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], told: Told | None = None
    ) -> Call | None:
        """A call of the plain function; None if a header that it varies by is too long for a key.

        ``told`` is what the functions in ``vary=`` gave, if they were called already. ``TypeError``
        as the call would raise, or naming an argument without identity.
        """
        recent = self._recent
        if recent is not None and not kwargs:
            known = recent.find(args)
            if known is not None:
                return known
        if args and isinstance(args[0], type):
            self._check_class(args[0])
        arguments = self.binding.bound(args, kwargs)
        key = self._key(args, kwargs, arguments)
        base = self._calls.digest(key, self.about)
        if not self.options.vary:
            call = self.tagged(base, arguments)
        else:
            request = current_request()
            environ = {} if request is None else request.environ
            if "cookie" in self.variants.names and not self.options.public and running.is_any():
                # what its function has read of the session, this request does not read again if the
                # result is there; what is made of it may be one user's all the same
                count_as_read()
            if not self.variants.add_to(key, environ, told.results if told else None):
                return None
            digest = self._calls.digest(key, self.about)
            call = self.tagged(digest, arguments, member("c", base.text))
        if recent is not None and not kwargs:
            recent.learn(args, call)
        return call

    def _check_class(self, cls: type) -> None:
        """A class method gets its class; its ``invalidate`` does so only from ``__get__``."""
        name = getattr(self.function, "__name__", "")
        if isinstance(inspect.getattr_static(cls, name, None), classmethod):
            raise ConfigError(f"{self.about}: Put @cache_result above @classmethod.")

    def base(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Digest:
        """The digest of a call's arguments, whatever it varies by besides."""
        key = self._key(args, kwargs, self.binding.bound(args, kwargs))
        return self._calls.digest(key, self.about)

    def _key(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """What tells this call from others."""
        key = self.options.key
        return {"key()": key(*args, **kwargs)} if key else self.binding.told(arguments)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by parameter, defaults included. ``TypeError`` as the call would raise."""
        return self.binding.bound(args, kwargs)

    def tagged(self, digest: Digest, arguments: Mapping[str, Any], *more: bytes) -> Call:
        """A call with this digest, and the tags that follow from its arguments."""
        own = self.tags.render(self.binding.filled(arguments))
        tags = (*own, *self._implicit, member("k", digest.text), *more)
        return Call(digest, tags, self.subject)


def _is_none(ttl: Any) -> bool:
    """Whether a ``ttl`` says that nothing is stored; what is no time at all is refused later."""
    try:
        return bool((ttl.total_seconds() if isinstance(ttl, timedelta) else ttl) <= 0)
    except TypeError:
        return ttl is None


def _check_function(function: Any) -> None:
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"@cache_result() decorates functions, not {function!r}. With @property, put it below."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function.__qualname__} is a generator, whose values can be read only once. Cache a "
            "function that returns a list."
        )
