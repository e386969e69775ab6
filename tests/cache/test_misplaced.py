"""``@cache_result`` above the route, where it is never called: the first request warns of it."""

from __future__ import annotations

import functools
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request_started
from flask.views import MethodView

from flask_redis_kit import RedisKit, cache_result


def warned(app: Flask, caplog: pytest.LogCaptureFixture, path: str = "/") -> list[str]:
    """What the first three requests have logged."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        for _ in range(3):
            app.test_client().get(path)
    return [record.getMessage() for record in caplog.records]


def test_a_cache_above_the_route_is_warned_of_once(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    @cache_result()
    @app.get("/")
    def home() -> str:
        return "home"

    [said] = warned(app, caplog)
    assert "'home' is not cached: @cache_result stands above the decorator that registers" in said
    assert "Put it below @app.get(...)" in said


def test_one_above_the_route_of_a_blueprint_is_found_around_other_decorators(
    app: Flask, kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    def other(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def wrapper() -> str:
            return view()

        return wrapper

    blueprint = Blueprint("shop", __name__)

    @other
    @kit.cache.cache_result()
    @blueprint.get("/shelf")
    @other
    def shelf() -> str:
        return "shelf"

    app.register_blueprint(blueprint)
    [said] = warned(app, caplog)  # at whatever endpoint the first request is
    assert "'shop.shelf'" in said


def test_what_stands_right_is_not_warned_of(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @app.get("/")
    @cache_result()
    def home() -> str:
        return "home"

    def fresh() -> str:
        return "fresh"

    app.add_url_rule("/fresh", view_func=fresh)
    app.add_url_rule("/cached", "cached", cache_result()(fresh))
    app.add_url_rule("/elsewhere", view_func=elsewhere)

    class Shelf(MethodView):
        decorators = [cache_result()]  # noqa: RUF012  # as Flask's own say

        @cache_result()
        def post(self) -> str:
            return "posted"

        def get(self) -> str:
            return "shelf"

    app.add_url_rule("/shelf", view_func=Shelf.as_view("shelf"))
    assert warned(app, caplog) == []


def elsewhere() -> str:
    """A view that is meant without a cache: its cached form has another name."""
    return "elsewhere"


cached_elsewhere = cache_result()(elsewhere)


def test_it_costs_nothing_after_the_first_request(app: Flask) -> None:
    assert list(request_started.receivers_for(app))
    app.test_client().get("/")
    assert not list(request_started.receivers_for(app))


def test_an_application_that_is_never_asked_is_freed() -> None:
    app = Flask("unasked")
    RedisKit(app)
    freed = weakref.ref(app)
    del app
    gc.collect()
    assert freed() is None


def test_a_function_that_is_cached_at_each_call_does_not_collect_its_forms() -> None:
    def price() -> int:
        return 1

    forms: list[weakref.ref[Any]] = [weakref.ref(cache_result()(price)) for _ in range(100)]
    gc.collect()
    assert sum(form() is not None for form in forms) < 10
