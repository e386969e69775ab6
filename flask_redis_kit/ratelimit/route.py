"""Which limits hold for an endpoint, and where they are decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flask import Blueprint, Flask
from flask.views import MethodView

from flask_redis_kit.core.errors import RedisKitError
from flask_redis_kit.core.placement import misplaced
from flask_redis_kit.core.views import wrappers_of
from flask_redis_kit.ratelimit.exemptions import is_exempt
from flask_redis_kit.ratelimit.guard import OUTSIDE, Guard, guard_of
from flask_redis_kit.ratelimit.ledger import Ask
from flask_redis_kit.ratelimit.petition import Petition
from flask_redis_kit.ratelimit.rule import Rule

_DECLARED = "__redis_kit_declared__"
_STATIC = "static"

APPLICATION = "@application"
"""What limits of the whole application count together."""

Locate = Callable[[], Any]


class RateLimitMisplaced(RedisKitError, RuntimeError):
    """A ``@rate_limit`` that could never limit anything; the message says where it belongs."""


_declarations = 0


class Route(NamedTuple):
    """What holds for one endpoint and method.

    ``view``     the view function this was found for.
    ``guards``   the guards on it, outermost first, with the endpoint as they name it.
    ``outside``  the limits from outside: of blueprints, of the application, defaults.
    ``asks``     what each wrapper's guard asks for, at the outermost call of the view.
    ``constant`` the wrappers that ask the same each time, for one identity.
    ``kept``     what that came to lately, by wrapper and identity.
    ``direct``   nothing stands between the outermost guard and the outside, so it asks for all.
    """

    view: object
    guards: tuple[tuple[Guard, str], ...]
    outside: tuple[Ask, ...]
    asks: Mapping[Callable[..., Any], tuple[Ask, ...]]
    constant: frozenset[Callable[..., Any]]
    kept: dict[tuple[Callable[..., Any], str], Petition]
    direct: bool


class Outside(NamedTuple):
    """The limits of an application's settings."""

    application: tuple[Rule, ...] = ()
    default: tuple[Rule, ...] = ()


def declare(target: Flask | Blueprint, rule: Rule, locate: Locate) -> None:
    """Let a limit of one kit hold for all views of a blueprint, or for an application."""
    declared: list[tuple[Locate, Rule]] = vars(target).setdefault(_DECLARED, [])
    placed = rule.beside([other for of, other in declared if of == locate])
    if isinstance(target, Flask):
        target._check_setup_finished("limit")  # from then on it would be late for some requests
        placed = placed.labelled(APPLICATION.removeprefix("@"))
    declared.append((locate, placed))
    global _declarations  # a count, the only thing that all gates share
    _declarations += 1


def declarations() -> int:
    """How often a limit from outside was declared in this process, for whatever application.

    What a gate has found out about its routes holds as long as this doesn't change.
    """
    return _declarations


def declared_on(target: object, locates: Sequence[Locate]) -> list[Rule]:
    """The limits of one kit that were declared on a blueprint or an application."""
    return [rule for of, rule in vars(target).get(_DECLARED, ()) if of in locates]


def route_of(
    app: Flask, endpoint: str, method: str, settings: Outside, locates: Sequence[Locate]
) -> Route:
    """What holds for an endpoint; "" for requests that no endpoint takes (404, 405).

    Raises ``RateLimitMisplaced`` for a limit above ``@app.get``.
    """
    view = app.view_functions.get(endpoint)
    chain = list(wrappers_of(app, endpoint, method))
    guards = [(guard, f) for f in chain if (guard := guard_of(f)) is not None]
    own = _spelled([(g, f) for g, f in guards if g.belongs_to(locates)], view, endpoint)
    if view is not None:
        _refuse_misplaced(app, endpoint, chain)
    outside = tuple(_outside(app, endpoint, method, chain, [g for g, _ in own], settings, locates))
    asks = {
        guard.wrapper: tuple(
            Ask(rule, rule.scope(name))
            for rule in guard.rules_of(locates)
            if rule.holds_for(method)
        )
        for guard, name in own
    }
    direct = bool(own) and _is_direct(view, own[0][0].wrapper)
    constant = frozenset(wrapper for wrapper, each in asks.items() if _is_constant(each))
    return Route(view, tuple(own), outside, asks, constant, {}, direct)


def _is_constant(asks: Sequence[Ask]) -> bool:
    return all(rule.is_constant and rule.key_func is asks[0].rule.key_func for rule, _ in asks)


def _spelled(
    guards: Sequence[tuple[Guard, Callable[..., Any]]], view: object, endpoint: str
) -> list[tuple[Guard, str]]:
    """Each wrapper's guard with its endpoint; methods of a view class have limits of their own.

    A guard that another one has taken up is asked with it.
    """
    spelled: list[tuple[Guard, str]] = []
    inside: set[int] = set()
    view_class = getattr(view, "view_class", None)
    for guard, function in guards:
        if id(guard) in inside:
            continue
        inside |= {id(each) for each in guard.taken}
        spelled.append((guard, endpoint_name(endpoint, function, view_class)))
    return spelled


def endpoint_name(endpoint: str, function: Callable[..., Any], view_class: object) -> str:
    """The endpoint, or for a method of its view class ``endpoint:get``."""
    name = getattr(function, "__name__", "")
    if view_class is not None:
        method = getattr(view_class, name, None)
        while method is not None:
            if method is function:
                return f"{endpoint}:{name}"
            method = getattr(method, "__wrapped__", None)
    return endpoint


def _is_direct(view: Any, function: Callable[..., Any]) -> bool:
    if function is view:
        return True
    view_class = getattr(view, "view_class", None)
    if view_class is None or hasattr(view, "__wrapped__"):
        return False
    plain = getattr(view_class, "dispatch_request", None) is MethodView.dispatch_request
    return plain and getattr(view_class, getattr(function, "__name__", ""), None) is function


def _outside(
    app: Flask,
    endpoint: str,
    method: str,
    chain: Sequence[object],
    own: Sequence[Guard],
    settings: Outside,
    locates: Sequence[Locate],
) -> Iterator[Ask]:
    """The limits from outside, nearest first; an exemption ends the list."""
    view_class = getattr(app.view_functions.get(endpoint), "view_class", None)
    if any(is_exempt(each) for each in (*chain, view_class)):
        return
    rules = [rule for guard in own for rule in guard.rules_of(locates)]
    limited = any(rule.enforced and rule.holds_for(method) for rule in rules)
    for name in _blueprints(endpoint):
        blueprint = app.blueprints.get(name)
        if blueprint is None:
            continue
        for rule in declared_on(blueprint, locates):
            limited = limited or (rule.enforced and rule.holds_for(method))
            yield Ask(rule, rule.scope(f"{endpoint}@{name}"))
        if is_exempt(blueprint):
            return
    if _is_static(app, endpoint):
        return
    if endpoint and not limited:
        for rule in settings.default:
            yield Ask(rule, rule.scope(f"{endpoint}@default"))
    for rule in _application_rules(app, settings, locates):
        yield Ask(rule, rule.scope(APPLICATION))


def _application_rules(app: Flask, settings: Outside, locates: Sequence[Locate]) -> list[Rule]:
    rules = list(settings.application)
    for rule in declared_on(app, locates):
        rules.append(rule.beside(rules))
    return rules


def _blueprints(endpoint: str) -> Iterator[str]:
    """The names of the blueprints around an endpoint, innermost first."""
    name = endpoint.rpartition(".")[0]
    while name:
        yield name
        name = name.rpartition(".")[0]


def _is_static(app: Flask, endpoint: str) -> bool:
    blueprint, _, name = endpoint.rpartition(".")
    if name != _STATIC:
        return False
    owner = app.blueprints.get(blueprint) if blueprint else app
    return owner is not None and owner.has_static_folder


def _refuse_misplaced(app: Flask, endpoint: str, chain: Sequence[Callable[..., Any]]) -> None:
    if any(is_exempt(function) for function in chain):
        return
    for name in misplaced(OUTSIDE, app, chain):
        raise RateLimitMisplaced(
            f"The limit on {name!r} has no effect: it stands above the decorator that "
            f"registers the endpoint {endpoint!r}. Put @rate_limit below @app.get(...) or "
            "@app.route(...), next to the function. If the view is meant to be unlimited, say "
            "so: @kit.ratelimit.exempt."
        )
