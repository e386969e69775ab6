"""The Flask side of rate limits: the decorator, ``kit.ratelimit``, the headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import ClassVar, ParamSpec, TypeVar, cast

from flask import Flask, Response

from flask_redis_kit.core.durability import eviction_warnings
from flask_redis_kit.core.feature import Context, Feature, current_state
from flask_redis_kit.ratelimit.answer import set_headers
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.guard import client_ip, guarded
from flask_redis_kit.ratelimit.identity import Identity, KeyFunc, hashed
from flask_redis_kit.ratelimit.layout import KEYSPACE
from flask_redis_kit.ratelimit.limiter import Limiter
from flask_redis_kit.ratelimit.limits import Claim, Limit, RateLimitResult

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_NAME = "check"


class RateLimitFeature(Feature[RateLimitConfig, Limiter]):
    """``kit.ratelimit``: exact sliding windows, counted by the server's clock."""

    name: ClassVar[str] = "ratelimit"
    config_class = RateLimitConfig
    keyspace = KEYSPACE

    def install(self, app: Flask) -> None:
        """Put the headers of the tightest limit into every response that was limited."""

        def ratelimit_headers(response: Response) -> Response:
            result = self.engine().current()
            if result is not None:
                set_headers(response, result)
            return response

        app.after_request(ratelimit_headers)

    def build(self, context: Context[RateLimitConfig]) -> Limiter:
        """The limiter of one application."""
        return Limiter(context)

    def warnings(self, context: Context[RateLimitConfig]) -> Iterable[str]:
        if context.config.enabled:
            yield from eviction_warnings(
                context.wire,
                "what was counted can be forgotten, and limits admit more than they say",
                "give the limits a server of their own by REDIS_RATELIMIT_URL",
            )

    def rate_limit(
        self,
        limit: int = 100,
        window: float | timedelta = 60,
        key_func: KeyFunc | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Limit the calls of a view or function; see ``flask_redis_kit.rate_limit``."""
        return _decorator(limit, window, key_func, self.engine)

    def check(
        self,
        *,
        limit: int = 100,
        window: float | timedelta = 60,
        key: Identity,
        name: str = DEFAULT_NAME,
    ) -> RateLimitResult:
        """Count one unit for ``key`` where you stand. One round trip, atomic.

        What has the same ``name``, ``window`` and ``key`` is counted together, whatever its limit.
        Raises ``RateLimitExceeded`` (429) and then has counted nothing; ``RateLimitKeyError`` for
        an empty key.
        """
        limiter = self.engine()
        return limiter.check([_claim(limiter, limit, window, key, name)])

    def peek(
        self,
        *,
        limit: int = 100,
        window: float | timedelta = 60,
        key: Identity,
        name: str = DEFAULT_NAME,
    ) -> RateLimitResult:
        """How a limit stands for ``key``, counting nothing. One round trip.

        ``name`` of a route's limit is its endpoint, of a function's ``module.qualname``.
        """
        limiter = self.engine()
        return limiter.peek([_claim(limiter, limit, window, key, name)]).results[0]

    def reset(
        self, *, window: float | timedelta = 60, key: Identity, name: str = DEFAULT_NAME
    ) -> bool:
        """Forget what was counted for ``key``; True if anything was. One round trip.

        Other processes may go on refusing for up to 5 seconds what they refused just now.
        """
        limiter = self.engine()
        return limiter.reset([_claim(limiter, 1, window, key, name)])

    @property
    def current(self) -> RateLimitResult | None:
        """The tightest limit of the current request so far; None if nothing was counted in it."""
        return self.engine().current()


def rate_limit(
    limit: int = 100,
    window: float | timedelta = 60,
    key_func: KeyFunc | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Admit at most ``limit`` calls in any interval of ``window`` seconds, for each key.

    ``key_func``  takes nothing and returns whom to count for: str, int, bytes, UUID or a tuple of
                  those. By default the client's address (``client_ip``).

    Stands below ``@app.get(...)``, on views, ``async def`` views and plain functions. Decorators
    directly on top of each other are one script call: the call counts under all limits or, if one
    refuses, under none. One round trip, together with what the request has pending; none for a
    refusal that this process knows to hold. Counts once per request, at the decorator's place.

    Raises ``RateLimitExceeded``, which Flask answers with 429, and ``RateLimitKeyError`` for an
    empty key. When the server is away ``REDIS_RATELIMIT_ON_ERROR`` decides.
    """
    return _decorator(limit, window, key_func, _current_limiter)


def _decorator(
    limit: object,
    window: object,
    key_func: KeyFunc | None,
    locate: Callable[[], Limiter],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    checked = Limit.checked(limit, window)
    if key_func is None:
        key_func = client_ip
    if not callable(key_func) or iscoroutinefunction(key_func):
        raise TypeError(f"key_func= must be a plain function without arguments, not {key_func!r}.")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return guarded(function, checked, key_func, locate)

    return decorate


def _current_limiter() -> Limiter:
    return cast("Limiter", current_state().engine_named("ratelimit"))


def _claim(limiter: Limiter, limit: object, window: object, key: object, name: object) -> Claim:
    checked = Limit.checked(limit, window)
    if not isinstance(name, str) or not name:
        raise TypeError(f"name= must be a text, not {name!r}.")
    tag = hashed(key, source=f"key= of the rate limit {name!r}")
    return limiter.claim(checked, tag, name)
