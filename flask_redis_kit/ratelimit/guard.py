"""What stands around a limited function: finds its limits and asks for them before the call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from flask_redis_kit.core.request import PLAN
from flask_redis_kit.core.views import current_request, view_wrappers
from flask_redis_kit.ratelimit.identity import KeyFunc, RateLimitKeyError, client_network, hashed
from flask_redis_kit.ratelimit.limiter import Limiter
from flask_redis_kit.ratelimit.limits import Claim, Limit

P = ParamSpec("P")
R = TypeVar("R")

_GUARD = "__redis_kit_limits__"


def client_ip() -> str:
    """The client's address as limits count it by default: an IPv6 client by its /64 network.

    It is the address of the connection. Behind a proxy that is the proxy's, until the application
    says whom it trusts: ``app.wsgi_app = werkzeug.middleware.proxy_fix.ProxyFix(app.wsgi_app)``.
    """
    request = current_request()
    if request is None:
        raise RateLimitKeyError(
            "There is no request, so there is no client address to count for. Give the limit a "
            "key: @rate_limit(..., key_func=...) or check(..., key=...)."
        )
    if not request.remote_addr:
        raise RateLimitKeyError(
            "The request has no client address (a server on a unix socket gives none). Use "
            "werkzeug's ProxyFix, or give the limit a key: @rate_limit(..., key_func=...)."
        )
    return client_network(request.remote_addr)


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``@rate_limit``. ``suffix`` tells it from others of the same window further in.

    ``source`` is the name of its ``key_func`` in errors.
    """

    limit: Limit
    key_func: KeyFunc
    suffix: str
    source: str


class Guard:
    """The limits of one wrapper and of those directly inside it; they are asked for together.

    ``locate``   finds the limiter of the current application.
    ``rules``    the limits, outermost first.
    ``target``   the function inside all of them.
    ``wrapper``  whose guard it is: functools.wraps copies attributes on to other wrappers.
    """

    __slots__ = ("_name", "locate", "rules", "target", "wrapper")

    def __init__(
        self,
        locate: Callable[[], Limiter],
        rules: tuple[Rule, ...],
        target: Callable[..., Any],
    ) -> None:
        self.locate = locate
        self.rules = rules
        self.target = target
        self.wrapper: Callable[..., Any] = target
        self._name = _spoken(target)

    def admit(self) -> None:
        """Count this call under all limits, or raise ``RateLimitExceeded``. One round trip."""
        limiter = self.locate()
        if limiter.enabled:
            limiter.check(self._claims(limiter))

    def _claims(self, limiter: Limiter) -> list[Claim]:
        name = self._route(limiter) or self._name
        tags: dict[KeyFunc, str] = {}  # each key_func is asked once
        claims = []
        for rule in self.rules:
            tag = tags.get(rule.key_func)
            if tag is None:
                source = f"key_func {rule.source} of the rate limit on {name!r}"
                tag = tags[rule.key_func] = hashed(rule.key_func(), source=source)
            claims.append(limiter.claim(rule.limit, tag, name + rule.suffix))
        return claims

    def _route(self, limiter: Limiter) -> str | None:
        """The endpoint, if this is the outermost call of the view that handles the request."""
        request = current_request()
        batch = limiter.context.batch()
        if request is None or batch is None or not request.endpoint:
            return None
        app = limiter.context.app
        view = app.view_functions.get(request.endpoint)
        if view is self.wrapper:
            return request.endpoint if batch.enter(self.wrapper) else None
        if self.wrapper not in view_wrappers(app, request):
            return None
        if not batch.enter(self.wrapper):
            return None
        view_class = getattr(view, "view_class", None)
        name = getattr(self.wrapper, "__name__", "")
        if any(wrapper is self.wrapper for wrapper in _chain(getattr(view_class, name, None))):
            return f"{request.endpoint}:{name}"  # the methods of a view class have their own limits
        return request.endpoint


def guarded(
    function: Callable[P, R], limit: Limit, key_func: KeyFunc, locate: Callable[[], Limiter]
) -> Callable[P, R]:
    """``function`` behind a limit, and behind those it has already in the same script call."""
    if not callable(function):
        raise TypeError(
            f"@rate_limit decorates functions, not {function!r}. Put it inside @staticmethod, "
            "@classmethod or @property."
        )
    rule = Rule(limit, key_func, _suffix(function, limit), _spoken(key_func))
    inner = guard_of(function)
    if inner is not None and inner.locate == locate:
        guard = Guard(locate, (rule, *inner.rules), inner.target)
    else:
        guard = Guard(locate, (rule,), function)
    wrapper = _wrapper(cast("Callable[P, R]", guard.target), guard)
    functools.update_wrapper(wrapper, function)
    vars(wrapper).pop(PLAN, None)  # a cached route's plan stays where the chain finds it: inside
    setattr(wrapper, _GUARD, guard)
    guard.wrapper = wrapper
    return wrapper


def _wrapper(target: Callable[P, R], guard: Guard) -> Callable[P, R]:
    if inspect.iscoroutinefunction(target):

        async def limited_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
            guard.admit()
            return await target(*args, **kwargs)

        return cast("Callable[P, R]", limited_coroutine)

    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        guard.admit()
        return target(*args, **kwargs)

    return limited


def guard_of(function: Callable[..., Any]) -> Guard | None:
    """The guard of a function that ``@rate_limit`` made, not of one that wraps such a function."""
    guard: Guard | None = getattr(function, _GUARD, None)
    return guard if guard is not None and guard.wrapper is function else None


def _suffix(function: Callable[..., Any], limit: Limit) -> str:
    """``#2`` for the second limit of the same window on a function: they may not share a log."""
    guards = [guard for guard in map(guard_of, _chain(function)) if guard is not None]
    others = [guard for guard in guards if guard.rules[0].limit.window_us == limit.window_us]
    return f"#{len(others) + 1}" if others else ""


def _chain(function: Any) -> Iterator[Callable[..., Any]]:
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)


def _spoken(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '')}.{name}"
