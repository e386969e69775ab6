"""Finds what a route counts for an identity: the very keys that its requests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias, Unpack

from flask_redis_kit.core.views import current_request, wrappers_of
from flask_redis_kit.ratelimit.client_address import counted_peer
from flask_redis_kit.ratelimit.declaration import (
    CheckOptions,
    refuse_others,
    rule_of,
)
from flask_redis_kit.ratelimit.gate import Gate
from flask_redis_kit.ratelimit.guard import guard_of
from flask_redis_kit.ratelimit.identity import Identity, hashed
from flask_redis_kit.ratelimit.ledger import Ask
from flask_redis_kit.ratelimit.limits import Claim, Limit
from flask_redis_kit.ratelimit.route import APPLICATION
from flask_redis_kit.ratelimit.rule import Rule, Spec, spoken

Target: TypeAlias = str | Callable[..., Any]
"""An endpoint, a view function, or a limited function."""

_NO_BODY = frozenset({"HEAD", "OPTIONS"})


class Holding(NamedTuple):
    """A rule that holds for an endpoint ("" for a function), and for which of its methods."""

    endpoint: str
    methods: tuple[str, ...]
    rule: Rule
    scope: str


def claims_by_hand(
    gate: Gate,
    limit: Spec,
    window: float | timedelta,
    key: Identity | None,
    name: str,
    **options: Unpack[CheckOptions],
) -> list[Claim]:
    """What ``check`` asks for with these arguments."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"name= must be a text, not {name!r}.")
    refuse_others(options, CheckOptions, "check")
    if callable(limit):
        raise TypeError(f"limit= must be a number or a text such as '5/minute', not {limit!r}.")
    rule = rule_of(limit, window, name=name, **options)
    tag = hashed(key, source=f"key= of the rate limit {name!r}")
    cost = rule.cost_now(rule.limits)
    return [gate.limiter.claim(each, tag, name, cost) for each in rule.limits]


def claims_of(
    gate: Gate,
    target: Target,
    *,
    key: Identity | None = None,
    limit: Spec | None = None,
    application: bool = True,
) -> list[Claim]:
    """What one more call of a route or function would ask for, for an identity.

    Without ``key`` it is about whom the current request counts for. ``limit`` stands in for a
    function that finds a limit. ``application=False`` leaves the limits of the application out.
    Raises ``LookupError`` for an endpoint that isn't there or that nothing limits.
    """
    claims: dict[str, Claim] = {}
    found = False
    for holding in holdings(gate, target):
        if not application and holding.scope.startswith(APPLICATION):
            continue
        found = True
        for claim in _claims(gate, holding, key, limit):
            claims.setdefault(claim.key, claim)
    if not found:
        raise LookupError(f"No limit holds for {_shown(target)}.")
    if not claims:
        raise LookupError(f"{_shown(target)} is not limited for this caller: it is exempt.")
    return list(claims.values())


def _claims(
    gate: Gate, holding: Holding, key: Identity | None, limit: Spec | None
) -> Iterator[Claim]:
    rule = holding.rule
    tag = gate.claiming.tag(rule, holding.scope) if key is None else _tag(gate, rule, key)
    if tag is None:
        return
    for each in _limits(rule, limit):
        yield gate.limiter.claim(each, tag, holding.scope)


def _tag(gate: Gate, rule: Rule, key: Identity) -> str:
    if rule.key_func is None and isinstance(key, str):
        key = counted_peer(key, gate.context.config.ipv6_prefix)
    return hashed(key, source="key=")


def _limits(rule: Rule, limit: Spec | None) -> tuple[Limit, ...]:
    if rule.find is None:
        return rule.limits
    if limit is not None:
        return rule.found(limit)
    if current_request() is not None:
        return rule.limits_now()
    try:
        return rule.limits_now()
    except Exception as error:
        raise LookupError(
            f"{spoken(rule.find)} finds its limit in a request only ({error}). Say which one is "
            "meant: limit='100/minute', or the number."
        ) from error


def holdings(gate: Gate, target: Target) -> list[Holding]:
    """Every rule that holds for an endpoint, a view or a limited function."""
    if isinstance(target, str):
        if target not in gate.context.app.view_functions:
            raise LookupError(f"The application has no endpoint {target!r}.")
        return endpoint_holdings(gate, target)
    endpoints = list(_endpoints_of(gate, target))
    if endpoints:
        return [each for endpoint in endpoints for each in endpoint_holdings(gate, endpoint)]
    guard = guard_of(target)
    if guard is None:
        raise LookupError(f"{_shown(target)} is neither a view nor a limited function.")
    rules = guard.rules_of(gate.locates)
    return [Holding("", (), rule, rule.scope(guard.name)) for rule in rules]


def endpoint_holdings(gate: Gate, endpoint: str) -> list[Holding]:
    """Every rule that holds for an endpoint, with its methods."""
    holding: dict[int, tuple[Ask, list[str]]] = {}
    for method in methods_of(gate, endpoint):
        route = gate.route_of(endpoint, method)
        asks = [
            Ask(rule, rule.scope(name))
            for guard, name in route.guards
            for rule in guard.rules_of(gate.locates)
        ]
        for ask in (*asks, *route.outside):
            if ask.rule.holds_for(method):
                holding.setdefault(hash((id(ask.rule), ask.scope)), (ask, []))[1].append(method)
    return [
        Holding(endpoint, tuple(methods), ask.rule, ask.scope) for ask, methods in holding.values()
    ]


def methods_of(gate: Gate, endpoint: str) -> list[str]:
    """The methods that an endpoint takes, without those that Flask adds."""
    rules = gate.context.app.url_map.iter_rules(endpoint)
    methods = {method for rule in rules for method in rule.methods or ()}
    return sorted(methods - _NO_BODY) or sorted(methods) or ["GET"]


def _endpoints_of(gate: Gate, target: object) -> Iterator[str]:
    app = gate.context.app
    for endpoint, view in app.view_functions.items():
        if getattr(view, "view_class", None) is target:
            yield endpoint
            continue
        for method in methods_of(gate, endpoint):
            if any(each is target for each in wrappers_of(app, endpoint, method)):
                yield endpoint
                break


def _shown(target: Target) -> str:
    return repr(target) if isinstance(target, str) else spoken(target)
