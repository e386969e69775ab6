"""The request being handled, and what its view function wraps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Request, globals  # noqa: A004  # flask's

_variable: Any = vars(globals).get("_cv_request")
"""Where Flask (up to 3.1) keeps the context: read without the proxy, whose way of saying that there
is none is an exception, which costs more than all the rest."""


def current_context() -> Any:
    """Flask's context of the request being handled; None outside of one."""
    if _variable is not None:
        return _variable.get(None)
    try:
        return globals.request_ctx._get_current_object()  # type: ignore[attr-defined]  # a proxy
    except RuntimeError:
        return None


def current_request() -> Request | None:
    """The request being handled, if there is one."""
    context = current_context()
    return None if context is None else context.request


def view_wrappers(app: Flask, of: Request) -> Iterator[Callable[..., Any]]:
    """The view function of a request and all it wraps, outermost first."""
    return wrappers_of(app, of.endpoint or "", of.method)


def wrappers_of(app: Flask, endpoint: str, method: str) -> Iterator[Callable[..., Any]]:
    """The view function of an endpoint and all it wraps, outermost first."""
    view: Any = app.view_functions.get(endpoint)
    view_class: Any = None
    while view is not None:
        yield view
        # a class with `decorators` says so on the outermost of them only
        view_class = getattr(view, "view_class", view_class)
        following = getattr(view, "__wrapped__", None)
        if following is None and view_class is not None:
            name = method.lower()
            following = getattr(view_class, name, None)
            if following is None and name == "head":
                following = getattr(view_class, "get", None)
            view_class = None
        view = following
