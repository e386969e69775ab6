"""A request rehearsed: which page of a cached route it would ask for, without calling the view."""

from __future__ import annotations

from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.flight import Call
from flask_redis_kit.cache.pages import PAGES, Pages
from flask_redis_kit.cache.visit import Visit
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.views import current_request, view_of


def page_of_url(engine: CacheEngine, url: str) -> Call:
    """The page that an anonymous GET of a URL or path asks for, with no header of its own.

    ``ConfigError`` if no cached route answers it.
    """
    app = engine.context.app
    with app.test_request_context(url):
        request = current_request()
        batch = engine.context.batch()
        assert request is not None and batch is not None  # noqa: S101, PT018  # just made
        if request.routing_exception is not None:
            raise ConfigError(f"No route answers {url!r}: {request.routing_exception}.")
        view = view_of(app, request)
        cached = [each for each in view.wrappers if hasattr(each, PAGES)]
        if not cached:
            raise ConfigError(f"The route {request.endpoint!r} of {url!r} has no @cache_result.")
        wrapper = cached[-1]  # the wrappers around it have copied its attributes
        pages: Pages = getattr(wrapper, PAGES)
        page = Visit(engine, pages, wrapper, batch, request, view).expected()
        if not isinstance(page, Call):
            raise ConfigError(f"Nothing is cached for {url!r}: {page.reason}.")
        return page
