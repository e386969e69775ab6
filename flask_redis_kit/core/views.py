"""The request being handled, and what its view function wraps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from inspect import CO_VARKEYWORDS
from types import FunctionType
from typing import Any, NamedTuple

from flask import Flask, Request, globals  # noqa: A004  # flask's
from flask.views import MethodView

PLAN = "__redis_kit_plan__"
"""Where a decorated function has its plan: what it lets a request's batch look up ahead."""

_VIEWS = "redis_kit_views"
_MOST_VIEWS = 4096

_variable: Any = vars(globals).get("_cv_request")
"""Where Flask (up to 3.1) keeps the context: read without the proxy, whose way of saying that there
is none is an exception, which costs more than all the rest."""
_app_variable: Any = vars(globals).get("_cv_app")


class View(NamedTuple):
    """What answers requests to an endpoint by a method.

    ``function``  the view function this was found for.
    ``wrappers``  it, and all it wraps, outermost first.
    ``plans``     those that decorators have left on it, each once.
    ``hidden``    what may stand beneath the innermost of them, which has no ``functools.wraps``.
    """

    function: Callable[..., Any] | None
    wrappers: tuple[Callable[..., Any], ...] = ()
    plans: tuple[Callable[[Any], object], ...] = ()
    hidden: tuple[object, ...] = ()


_NONE = View(None)


def current_application() -> Flask | None:
    """The current application, if there is one."""
    if _app_variable is not None:
        context = _app_variable.get(None)
        return None if context is None else context.app
    try:
        app: Flask = globals.current_app._get_current_object()  # type: ignore[attr-defined]  # a proxy
    except RuntimeError:
        return None
    return app


def _current_context() -> Any:
    try:
        return globals.request_ctx._get_current_object()  # type: ignore[attr-defined]  # a proxy
    except RuntimeError:
        return None


current_context: Callable[[], Any] = (
    _current_context if _variable is None else partial(_variable.get, None)
)
"""Flask's context of the request being handled; None outside of one."""


def current_request() -> Request | None:
    """The request being handled, if there is one."""
    context = current_context()
    return None if context is None else context.request


def view_of(app: Flask, of: Request) -> View:
    """The view of a request; walked through once, for as long as the endpoint has this function."""
    rule = of.url_rule
    if rule is None:
        return _NONE
    try:
        known: View = app.extensions[_VIEWS][rule.endpoint, of.method]
        if known.function is app.view_functions[rule.endpoint]:
            return known
    except KeyError:
        pass
    found = _walked(app, rule.endpoint, of.method)
    views = app.extensions.setdefault(_VIEWS, {})
    if len(views) >= _MOST_VIEWS:
        views.clear()  # there are rules that take any method
    views[rule.endpoint, of.method] = found
    return found


def view_wrappers(app: Flask, of: Request) -> tuple[Callable[..., Any], ...]:
    """The view function of a request and all it wraps, outermost first."""
    return view_of(app, of).wrappers


def _walked(app: Flask, endpoint: str, method: str) -> View:
    wrappers = tuple(wrappers_of(app, endpoint, method))
    plans: list[Any] = []  # functools.wraps copies a plan on to the wrappers around it
    for wrapper in wrappers:
        plan = getattr(wrapper, PLAN, None)
        if plan is not None and plan not in plans:
            plans.append(plan)
    hidden = _hidden_beneath(wrappers[-1]) if wrappers else ()
    return View(app.view_functions.get(endpoint), wrappers, tuple(plans), hidden)


def wrappers_of(app: Flask, endpoint: str, method: str) -> Iterator[Callable[..., Any]]:
    """The view function of an endpoint and all it wraps, outermost first."""
    view: Any = app.view_functions.get(endpoint)
    view_class: Any = None
    while view is not None:
        yield view
        # a class with `decorators` says so on the outermost of them only
        view_class = getattr(view, "view_class", view_class)
        following = getattr(view, "__wrapped__", None)
        if following is None and isinstance(view, partial):
            following = view.func
        if following is None and view_class is not None:
            following = method_of(view_class, method)
            view_class = None
        view = following


def method_of(view_class: Any, method: str) -> Any:
    """What of a view class answers to an HTTP method: its own method, or ``dispatch_request``."""
    name = method.lower()
    found = getattr(view_class, name, None)
    if found is None and name == "head":
        found = getattr(view_class, "get", None)
    if found is None and not issubclass(view_class, MethodView):
        found = getattr(view_class, "dispatch_request", None)
    return found


def _hidden_beneath(wrapper: object) -> tuple[object, ...]:
    """What decorators without ``functools.wraps`` may pass calls on to.

    All that a function with ``**kwargs`` refers to from its definition, and so on: perhaps more.
    """
    found = _passed_to(wrapper)
    for each in found:  # grows meanwhile
        found += [more for more in _passed_to(each) if not any(more is one for one in found)]
    return tuple(found)


def _passed_to(function: object) -> list[object]:
    if not isinstance(function, FunctionType) or not function.__code__.co_flags & CO_VARKEYWORDS:
        return []
    inside: list[object] = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it is empty yet
            inside.append(cell.cell_contents)
    return [each for each in inside if callable(each)]
