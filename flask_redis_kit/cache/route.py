"""Where a decorated function is a route: the outermost call of the current request's view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Request

from flask_redis_kit.cache.body import has_body
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.memory import RequestNotes, notes_of
from flask_redis_kit.cache.pages import Pages
from flask_redis_kit.cache.visit import Visit
from flask_redis_kit.core.request import RequestBatch, open_batch
from flask_redis_kit.core.session_watch import session_accessed
from flask_redis_kit.core.views import current_request, view_of, wrappers_of

_HIDDEN = (
    "The route %r is not cached: a decorator above @cache_result has no functools.wraps, so the "
    "request can't be told from a plain call with these arguments. Put @wraps(function) on the "
    "decorator's inner function. (Or its view has **kwargs, and calls a cached function that was "
    "defined beside it: define that one at the top of its module.)"
)


def arrive(engine: CacheEngine, pages: Pages, wrapper: Callable[..., Any]) -> Visit | None:
    """The visit, if this is the outermost call of the current request's view; else None."""
    context = engine.context
    request = context.request()
    if request is None:
        return None
    view = view_of(context.app, request)
    if wrapper not in view.wrappers:
        return None
    batch = open_batch(request, context.kit_name, context.app)
    if not batch.enter(wrapper):
        return None
    notes: RequestNotes | None = batch.notes.get("cache")
    visit: Visit | None = None if notes is None else notes.planned.get(wrapper)
    if len(view.plans) == 1:  # its own, which is of no use any more
        batch.arrived()
    else:
        notes_of(batch).planned[wrapper] = None
    return Visit(engine, pages, wrapper, batch, request, view) if visit is None else visit


def must_compute(engine: CacheEngine, pages: Pages, wrapper: object) -> bool:
    """Whether this is a view, called by other code, that must answer this request by itself."""
    request = current_request()
    if request is None:
        return False
    if any(each is wrapper for each in view_of(engine.context.app, request).hidden):
        engine.notices.once(("hidden", request.endpoint), _HIDDEN, request.endpoint)
        return True
    if not (_says_more(request) or _says_who(request, pages)):
        return False
    known = engine.views.get(wrapper)
    if known is None:
        app = engine.context.app
        known = any(
            each is wrapper
            for endpoint in app.view_functions
            for each in wrappers_of(app, endpoint, "GET")
        )
        engine.views[wrapper] = known
    return known


def _says_more(request: Request) -> bool:
    """Whether a request says what is no part of a plain function's key, but may be of its view."""
    return bool(request.query_string) or has_body(request.environ)


def _says_who(request: Request, pages: Pages) -> bool:
    """Whether it is known by now who asks, and the decorator says nothing of it."""
    if pages.options.public or pages.variants.factors:
        return False
    return "Authorization" in request.headers or session_accessed()


def plan(engine: CacheEngine, pages: Pages, wrapper: object, batch: RequestBatch) -> None:
    """Plan the look-up of the current request's view."""
    request = current_request()
    # who has arrived at the view looks for himself
    if request is not None and engine.enabled and wrapper not in notes_of(batch).planned:
        view = view_of(engine.context.app, request)
        Visit(engine, pages, wrapper, batch, request, view).plan()
