"""What ``@cache_result(…)`` was told, checked where it stands."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, TypeAlias, TypedDict, TypeVar

from flask_redis_kit.cache.serializer import Serializer, checked_codec
from flask_redis_kit.cache.tags import TagsOf, checked_tags_or_callables
from flask_redis_kit.cache.ttl import Ttl, TtlOf, seconds
from flask_redis_kit.core.errors import ConfigError

T = TypeVar("T")
Factor: TypeAlias = Callable[[], object]
"""Tells what a result depends on besides the arguments, such as the current user's id."""
_HEADER = re.compile(r"[0-9A-Za-z-]+")
"""Of what a header's name may hold, WSGI can't tell the rest apart; and it is meant for code."""
SAFE_METHODS = frozenset({"GET", "HEAD"})
_ELSEWHERE = {
    "args_to_ignore": "ignore",
    "condition": "when",
    "expire": "ttl",
    "make_cache_key": "key",
    "query_string": "query",
    "response_filter": "when",
    "source_check": "version",
    "timeout": "ttl",
    "unless": "when",
}
"""What options are called in Flask-Caching and cashews, and what comes nearest to them here."""


class Declared(TypedDict, total=False):
    """The options of ``cache_result`` that go by name; see there."""

    grace: Ttl
    vary: str | Factor | Sequence[str | Factor]
    key: Callable[..., object]
    when: Callable[[Any], bool]
    version: int | str
    ignore: Sequence[str]
    wait: Ttl
    public: bool
    exceptions: type[Exception] | tuple[type[Exception], ...]
    methods: Sequence[str]
    query: Sequence[str]
    body_key: bool
    codec: Serializer


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one decorator, each checked. Times are seconds.

    ``ttl``         a time, a callable of the result, or None: the application's default.
    ``grace``       how long beyond its ``ttl`` a value may be served while one caller renews it.
    ``tags``        templates, and callables of the result.
    ``vary``        names of request headers, and callables without arguments.
    ``key``         makes the arguments' part of the key from the call's arguments.
    ``when``        whether a result is stored.
    ``version``     a part of the key: a new one is a new set of values.
    ``ignore``      parameters that are no part of the key.
    ``wait``        how long to wait for another one's computation; None: as configured.
    ``public``      the result is the same for everyone, whatever was read of the session.
    ``exceptions``  exactly these classes are kept like results.
    ``methods``     of a route: the HTTP methods served from the cache.
    ``query``       of a route: the query parameters in the key; None: all but tracking ones.
    ``body_key``    of a route: whether the request's body is in the key.
    ``codec``       what encodes the results; None: the application's codec.
    """

    key_prefix: str | None = None
    ttl: float | TtlOf | None = None
    grace: float = 0.0
    tags: tuple[str | TagsOf, ...] = ()
    vary: tuple[str | Factor, ...] = ()
    key: Callable[..., object] | None = None
    when: Callable[[Any], bool] | None = None
    version: int | str | None = None
    ignore: tuple[str, ...] = ()
    wait: float | None = None
    public: bool = False
    exceptions: tuple[type[Exception], ...] = ()
    methods: frozenset[str] = SAFE_METHODS
    query: tuple[str, ...] | None = None
    body_key: bool = False
    codec: Serializer | None = None


def checked_options(key_prefix: object, ttl: object, tags: object, declared: Declared) -> Options:
    """The options of one decorator. ``TypeError`` or ``ConfigError`` with the cure."""
    given: dict[str, Any] = dict(declared)
    for name in given.keys() - Declared.__annotations__.keys():
        raise TypeError(f"cache_result() has no option {name!r}.{_nearest(name)}")
    checked = {
        name: check(given[name]) for name, check in _CHECKS.items() if given.get(name) is not None
    }
    options = Options(
        key_prefix=_prefix(key_prefix),
        ttl=ttl if ttl is None or callable(ttl) else seconds(ttl),
        tags=checked_tags_or_callables(tags),
        **checked,
    )
    unsafe = options.methods - SAFE_METHODS
    if unsafe and not options.body_key:
        raise ConfigError(
            f"methods={sorted(unsafe)!r} of a route need body_key=True: requests that differ in "
            "their body only would get each other's responses."
        )
    return options


def _prefix(key_prefix: object) -> str | None:
    if callable(key_prefix):
        raise TypeError("Write @cache_result() with parentheses.")
    if key_prefix is not None and not isinstance(key_prefix, str):
        timed = isinstance(key_prefix, int | float | timedelta)
        cure = f" For seconds write ttl={key_prefix!r}." if timed else ""
        raise TypeError(f"key_prefix must be a string, not {key_prefix!r}.{cure}")
    if key_prefix == "":
        raise ConfigError("key_prefix can't be empty: leave it out.")
    return key_prefix


def _nearest(name: str) -> str:
    known = [each.name for each in fields(Options)]
    near = [_ELSEWHERE[name]] if name in _ELSEWHERE else None
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else f" It has {', '.join(known)}."


def _grace(grace: object) -> float:
    return seconds(grace, "grace", least=0)


def _wait(wait: object) -> float:
    return seconds(wait, "wait", least=0)


def _flag(name: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}.")
        return value

    return check


def _callable(name: str, example: str) -> Callable[[object], Callable[..., Any]]:
    def check(value: object) -> Callable[..., Any]:
        if not callable(value):
            raise TypeError(f"{name} must be a function, not {value!r}: {name}={example}.")
        return value

    return check


def _several(name: str, values: object, example: str) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several, not {values!r}: write {name}={example}.")
    return list(dict.fromkeys(values))


def _names(name: str, example: str) -> Callable[[object], tuple[str, ...]]:
    def check(values: object) -> tuple[str, ...]:
        names = _several(name, values, example)
        for each in names:
            if not isinstance(each, str) or not each:
                raise TypeError(f"{name} holds {each!r}, which is no name: {name}={example}.")
        return tuple(names)

    return check


def _vary(vary: object) -> tuple[str | Factor, ...]:
    example = '["Accept-Language", lambda: current_user.id]'
    alone = isinstance(vary, str) or callable(vary)
    factors = [vary] if alone else _several("vary", vary, example)
    for factor in factors:
        if not callable(factor) and not (isinstance(factor, str) and factor.strip()):
            raise TypeError(
                f"vary must be names of request headers or functions without arguments, not "
                f"{factor!r}: vary={example}."
            )
        if isinstance(factor, str) and not _HEADER.fullmatch(factor.strip()):
            if factor.strip() == "*":
                raise ConfigError('vary="*" means that no two are alike: don\'t cache it.')
            raise ConfigError(f"vary: {factor!r} is no name of a header: vary={example}.")
    return tuple(factors)


def _version(version: object) -> int | str:
    if isinstance(version, bool) or not isinstance(version, int | str):
        raise TypeError(f"version must be a number or a string, not {version!r}.")
    return version


def _exceptions(exceptions: object) -> tuple[type[Exception], ...]:
    classes = exceptions if isinstance(exceptions, tuple) else (exceptions,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise TypeError(
                f"exceptions must be classes of exceptions, not {each!r}: exceptions=(NotFound,)."
            )
        if issubclass(each, StopIteration):
            raise ConfigError(
                f"exceptions: {each.__qualname__} can't be kept: return a value in its place."
            )
    return tuple(dict.fromkeys(classes))


def _methods(methods: object) -> frozenset[str]:
    names = {name.upper() for name in _names("methods", '("GET", "POST")')(methods)}
    if not names:
        raise ConfigError("methods can't be empty: leave it out for GET and HEAD.")
    return frozenset(names | {"HEAD"} if "GET" in names else names)


_CHECKS: dict[str, Callable[[object], Any]] = {
    "grace": _grace,
    "vary": _vary,
    "key": _callable("key", "lambda user: user.id"),
    "when": _callable("when", "lambda result: result is not None"),
    "version": _version,
    "ignore": _names("ignore", '("self",)'),
    "wait": _wait,
    "public": _flag("public"),
    "exceptions": _exceptions,
    "methods": _methods,
    "query": _names("query", '("page", "sort")'),
    "body_key": _flag("body_key"),
    "codec": checked_codec,
}
