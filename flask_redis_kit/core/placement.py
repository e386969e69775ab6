"""Decorators above ``@app.get(...)``: Flask calls the function beneath them, never the decorator.

A decorator leaves on the function that it stands on what it has made of it. If that function is a
view and what was made of it is none, the decorator stands too high.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from types import MethodType
from typing import Any

from flask import Flask

from flask_redis_kit.core.views import wrappers_of

_MOST = 8
"""Forms of one function that are remembered: it may be decorated anew at each call."""
_DEEPEST = 100


def note_outside(mark: str, function: Any, wrapper: object) -> None:
    """Leave on a function what a decorator has made of it; ``mark`` is the decorator's own."""
    if isinstance(function, MethodType) or not hasattr(function, "__dict__"):
        return  # a builtin or a bound method: no place to leave it
    known = _outside(mark, function)
    if len(known) < _MOST:
        setattr(function, mark, (function, (*known, wrapper)))


def misplaced(mark: str, app: Flask, chain: Sequence[Callable[..., Any]]) -> Iterator[str]:
    """Names of functions in a view's chain that stand beneath a decorator which is never called.

    None for a function that is meant without: its decorated form has another name, or is a view
    elsewhere in the application.
    """
    for function in chain:
        for wrapper in _outside(mark, function):
            if any(wrapper is each for each in chain) or _is_registered(app, wrapper):
                continue
            name = getattr(function, "__name__", "view")
            if getattr(function, "__globals__", {}).get(name) is not function:
                yield name


def chains_of(app: Flask) -> Iterator[tuple[str, tuple[Callable[..., Any], ...]]]:
    """By endpoint and method: the view function and all it wraps, outermost first."""
    for endpoint, view in app.view_functions.items():
        for method in getattr(view, "methods", None) or ("GET",):
            yield endpoint, tuple(islice(wrappers_of(app, endpoint, method), _DEEPEST))


def _outside(mark: str, function: object) -> tuple[object, ...]:
    """What was made of this very function: ``functools.wraps`` copies it to others."""
    owner, wrappers = getattr(function, mark, (None, ()))
    return wrappers if owner is function else ()


def _is_registered(app: Flask, wrapper: object) -> bool:
    return any(each is wrapper for _, chain in chains_of(app) for each in chain)
