"""``@rate_limit`` and ``@concurrency_limit``, which find the gate of the current application."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, Unpack, cast

from flask import Blueprint, Flask
from flask.views import View

from flask_redis_kit.core.errors import NotInitialized
from flask_redis_kit.core.feature import current_state
from flask_redis_kit.core.views import current_application
from flask_redis_kit.ratelimit.client_address import Trusted
from flask_redis_kit.ratelimit.declaration import (
    DEFAULT_LEASE,
    DEFAULT_LIMIT,
    ConcurrencyOptions,
    RuleOptions,
    concurrency_rule,
    rate_rule,
)
from flask_redis_kit.ratelimit.gate import NO_REQUEST, Gate
from flask_redis_kit.ratelimit.guard import Locate, guarded
from flask_redis_kit.ratelimit.identity import KeyFunc, RateLimitKeyError
from flask_redis_kit.ratelimit.rule import DEFAULT_WINDOW, LimitSpec, Rule

F = TypeVar("F", bound=Callable[..., Any])

FEATURE = "ratelimit"


class Limiting:
    """What ``rate_limit(...)`` returns: apply it to a function, or to a class of views."""

    __slots__ = ("_locate", "_rule")

    def __init__(self, rule: Rule, locate: Locate) -> None:
        self._rule = rule
        self._locate = locate

    def __call__(self, function: F) -> F:
        """The function behind the limit; what hangs on it (``invalidate``) hangs on this, too."""
        view_class: object = function
        if isinstance(view_class, type) and issubclass(view_class, View):
            view_class.decorators = [*view_class.decorators, self]
            return function
        if isinstance(function, (Flask, Blueprint)):
            raise TypeError(
                f"@rate_limit decorates functions, not {function!r}. Its views are limited by "
                "kit.ratelimit.limit(blueprint, ...)."
            )
        return cast("F", guarded(function, self._rule, self._locate))

    @property
    def __name__(self) -> NoReturn:
        """Flask asks a view for its name: then this stands where a view should."""
        raise TypeError(
            "This limit has decorated no function. Write the decorator with its arguments: "
            "@rate_limit(limit=100, window=60)."
        )


def rate_limit(
    limit: LimitSpec = DEFAULT_LIMIT,
    window: float | timedelta = DEFAULT_WINDOW,
    key_func: KeyFunc | None = None,
    **options: Unpack[RuleOptions],
) -> Limiting:
    """Admit at most ``limit`` calls in any interval of ``window`` seconds, for each key.

    ``limit``       a number, a text with its own windows (``"100/minute;2000/day"``), or a function
                    without arguments that finds either for the current request, by plan, say. A
                    changed limit keeps what was used.
    ``key_func``    takes nothing and returns whom to count for: str, int, bytes, UUID or a tuple of
                    those, or ``EXEMPT``. By default the client's address (``client_ip``).
    ``cost``        units that a call takes, or a function that finds them.
    ``methods``     only for these HTTP methods.
    ``name``        of the policy, in headers, counters, signals; by default "per-minute" and such.
    ``shared``      counts together with everything that is shared under this name.
    ``when``, ``exempt_when``  functions without arguments: it holds only, or not, if they say so.
    ``count_when``  gets the response (of a function: its value) and says whether it is counted.
                    Counted first and handed back after, so no race admits too many.
    ``shadow``      tried out: counted and signalled, but it refuses nobody.
    ``on_error``    when the server is away: "open", "closed" (503), "local", "raise"; by default
                    ``REDIS_RATELIMIT_ON_ERROR``.
    ``algorithm``   "sliding-log" is exact at any size; "auto" bounds the memory above 128.
    ``response``    gets the ``Decision`` and makes the answer to a refusal, in place of the 429.

    Stands below ``@app.get(...)``, on views, ``async def`` views, view classes and plain functions.
    Decorators directly on top of each other are one script call: the call counts under all limits
    or, if one refuses, under none. One round trip, together with what the request has pending;
    none for a refusal that this process knows to hold. Counts once per request, at its place.

    Raises ``RateLimitExceeded``, which Flask answers with 429, and ``RateLimitKeyError`` for an
    empty key; ``TypeError`` or ``ValueError`` at once for a wrong argument.
    """
    return Limiting(rate_rule(limit, window, key_func, **options), current_gate)


def concurrency_limit(
    limit: int | Callable[[], int] = 10,
    lease: float | timedelta = DEFAULT_LEASE,
    key_func: KeyFunc | None = None,
    **options: Unpack[ConcurrencyOptions],
) -> Limiting:
    """Admit at most ``limit`` calls at the same time, for each key.

    A place is taken in the same script call as the rate limits next to it. It is given back with
    the last trip of the request, of a streamed response when its body is closed, of a function when
    it returns (a trip of its own). A process that is killed gives its places back after ``lease``
    seconds; a streamed body renews its lease. Other arguments and errors are those of
    ``rate_limit``.
    """
    return Limiting(concurrency_rule(limit, lease, key_func, **options), current_gate)


def client_ip(*, trusted: Trusted | None = None, v6_prefix: int | None = None) -> str:
    """The client's address as limits count it by default: an IPv6 client by its network.

    ``trusted``    whose ``X-Forwarded-For`` is believed: networks, or the number of proxies in
                   front; by default ``REDIS_RATELIMIT_TRUSTED_PROXIES``, which is nobody's.
    ``v6_prefix``  the bits of an IPv6 address that count; by default 64.

    Raises ``RateLimitKeyError`` where there is no request, or no address.
    """
    return _any_gate().client(trusted, v6_prefix)


def current_gate() -> Gate:
    """The gate of the current application."""
    return cast("Gate", current_state().engine_named(FEATURE))


def _any_gate() -> Gate:
    """The gate of the kit named "default", else of the only kit that has one."""
    app = current_application()
    if app is None:
        raise RateLimitKeyError(NO_REQUEST)
    kits = app.extensions.get("redis_kit", {})
    having = [state for state in kits.values() if FEATURE in state.features]
    if len(having) == 1:
        return cast("Gate", having[0].engine_named(FEATURE))
    if not having:
        raise NotInitialized("This application has no rate limits. Call kit.init_app(app) first.")
    return current_gate()
