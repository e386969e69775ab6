"""A rule from a user's arguments: everything that can be checked where it is written."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction, signature
from typing import Any, Literal, TypedDict, Unpack

from flask_redis_kit.ratelimit.limits import Algorithm, Kind, Limit, OnFailure, checked_cost
from flask_redis_kit.ratelimit.rule import (
    DEFAULT_WINDOW,
    Condition,
    Cost,
    Rule,
    limits_of,
    spoken,
)

DEFAULT_LIMIT = 100
DEFAULT_LEASE = 60.0
_POSITIONAL = {
    "rate_limit": ("limit", "window", "key_func"),
    "limit": ("limit", "window", "key_func"),
    "concurrency_limit": ("limit", "lease", "key_func"),
    "check": ("limit", "window", "key", "name"),
}
"""What each takes by position, before its options."""


class CheckOptions(TypedDict, total=False):
    """What ``kit.ratelimit.check`` takes beside limit, window, key and name."""

    cost: int
    shadow: bool
    on_error: OnFailure | None
    algorithm: Algorithm


class ConcurrencyOptions(TypedDict, total=False):
    """What ``concurrency_limit`` takes beside its limit, lease and key_func."""

    methods: Iterable[str] | None
    name: str | None
    shared: str | None
    exempt_when: Condition | None
    when: Condition | None
    shadow: bool
    on_error: OnFailure | None
    response: Callable[[Any], Any] | None


class RuleOptions(ConcurrencyOptions, total=False):
    """What ``rate_limit`` takes beside limit, window and key_func; see there."""

    cost: Cost
    count_when: Callable[[Any], object] | None
    algorithm: Algorithm


def rule_of(
    limit: object,
    window: object = DEFAULT_WINDOW,
    key_func: object = None,
    *,
    cost: object = 1,
    methods: Iterable[str] | None = None,
    name: str | None = None,
    shared: str | None = None,
    exempt_when: Condition | None = None,
    when: Condition | None = None,
    count_when: Callable[[Any], object] | None = None,
    shadow: bool = False,
    on_error: OnFailure | None = None,
    algorithm: Algorithm = "sliding-log",
    response: Callable[[Any], Any] | None = None,
    kind: Kind = "rate",
) -> Rule:
    """A rule from a user's arguments; ``TypeError`` or ``ValueError`` names the wrong one."""
    label = _text("name=", name) or _text("shared=", shared) or ""
    pattern = Limit.checked(
        1, window, name=label, algorithm=algorithm, shadow=shadow, on_error=on_error,
        refundable=count_when is not None, kind=kind,
    )  # fmt: skip
    find = limit if callable(limit) else None
    limits = (pattern,) if find is not None else limits_of(limit, pattern)
    for argument, function, takes in (
        ("limit=", find, 0), ("key_func=", key_func, 0), ("when=", when, 0),
        ("exempt_when=", exempt_when, 0), ("cost=", cost if callable(cost) else None, 0),
        ("count_when=", count_when, 1), ("response=", response, 1),
    ):  # fmt: skip
        _check_function(argument, function, takes)
    if not callable(cost) and find is None:
        cost = max(checked_cost(cost, each) for each in limits)
    elif not callable(cost):
        checked_cost(cost, Limit.checked(10**9, 1))  # its kind, not its size
    return Rule(
        limits,
        cost,  # type: ignore[arg-type]  # checked
        key_func,  # type: ignore[arg-type]  # checked
        find,
        _methods(methods),
        exempt_when,
        when,
        count_when,
        shared,
        response,
        name=name,
    )


def rate_rule(
    limit: object,
    window: object,
    key_func: object,
    function: Literal["rate_limit", "limit"] = "rate_limit",
    **options: Unpack[RuleOptions],
) -> Rule:
    """The rule of ``rate_limit``, or of ``kit.ratelimit.limit``; errors as of ``rule_of``."""
    refuse_others(options, RuleOptions, function)
    return rule_of(limit, window, key_func, **options)


def concurrency_rule(
    limit: object,
    lease: object = DEFAULT_LEASE,
    key_func: object = None,
    **options: Unpack[ConcurrencyOptions],
) -> Rule:
    """The rule of ``concurrency_limit``; errors as of ``rule_of``."""
    refuse_others(options, ConcurrencyOptions, "concurrency_limit")
    return rule_of(limit, lease, key_func, kind="concurrency", **options)


def refuse_others(options: Mapping[str, object], known: type, function: str) -> None:
    """``TypeError`` for the first option that a function does not take."""
    for name in options:
        if name not in known.__annotations__:
            names = [*_POSITIONAL[function], *known.__annotations__]
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            near = near or [each for each in names if each.startswith(f"{name}_")]
            hint = f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(names)}."
            raise TypeError(f"{function}() takes no argument {name!r}. {hint}")


def _methods(methods: Iterable[str] | None) -> frozenset[str] | None:
    if methods is None:
        return None
    found = frozenset(methods) if not isinstance(methods, str) else frozenset((methods,))
    for method in found:
        if not isinstance(method, str) or not method.isalpha():
            raise ValueError(f"methods= takes names such as ['POST', 'PUT'], not {method!r}.")
    if not found:
        raise ValueError("methods=[] would never limit anything; leave it out to limit them all.")
    upper = frozenset(method.upper() for method in found)
    return upper | {"HEAD"} if "GET" in upper else upper  # HEAD runs the same view


def _text(argument: str, text: object) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"{argument} must be a text, not {text!r}.")
    return text


def _check_function(argument: str, function: object, takes: int) -> None:
    if function is None:
        return
    arguments = "one argument" if takes else "no arguments"
    if not callable(function) or iscoroutinefunction(function):
        raise TypeError(
            f"{argument} must be a plain function that takes {arguments}, not {function!r}."
        )
    try:
        signature(function).bind(*[None] * takes)
    except ValueError:  # a builtin that does not tell
        return
    except TypeError:
        cure = ""
        if argument == "limit=":
            cure = " Write the decorator with its arguments: @rate_limit(limit=100, window=60)."
        raise TypeError(
            f"{argument} must take {arguments}, but {spoken(function)} takes "
            f"{'others' if takes else 'some'}.{cure}"
        ) from None
