"""A limit that stands where it has no effect is found, and the error says the cure."""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView

from flask_redis_kit import RedisKit, cache_result, rate_limit
from flask_redis_kit.ratelimit import RateLimitMisplaced
from tests.ratelimit.conftest import Limited


def misplaced(limited: Limited, path: str) -> None:
    limited.app.testing = True
    for _ in range(2):
        with pytest.raises(RateLimitMisplaced, match=r"Put @rate_limit below @app.get"):
            limited.client.get(path)
    limited.app.testing = False
    assert limited.client.get(path).status_code == 500


def test_a_limit_above_the_route_is_an_error_and_not_unlimited(limited: Limited) -> None:
    @rate_limit(limit=1)
    @limited.app.get("/")
    def home() -> str:
        raise AssertionError("it was let through")

    misplaced(limited, "/")


def test_a_kit_s_own_limit_above_the_route_of_a_blueprint_is_found_too(limited: Limited) -> None:
    blueprint = Blueprint("shop", __name__)

    @rate_limit(limit=1)
    @limited.kit.ratelimit.rate_limit(limit=5)
    @blueprint.get("/")
    def home() -> str:
        raise AssertionError("it was let through")

    limited.app.register_blueprint(blueprint)
    misplaced(limited, "/")


def test_a_limit_above_the_route_is_found_around_other_decorators(limited: Limited) -> None:
    def other(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def wrapper() -> str:
            return view()

        return wrapper

    @other
    @rate_limit(limit=1)
    @limited.app.get("/")
    @other
    def home() -> str:
        raise AssertionError("it was let through")

    misplaced(limited, "/")


@rate_limit(limit=1)
def limited_form() -> str:
    return plain_form()


def plain_form() -> str:
    return "ok"


also_limited = rate_limit(limit=1)(plain_form)


def test_a_view_whose_limited_form_is_meant_for_others_is_none(limited: Limited) -> None:
    free: Callable[[], str] = limited.kit.ratelimit.exempt(lambda: "ok")
    work = limited.kit.ratelimit.rate_limit(1, key_func=lambda: "k")(free)
    limited.app.add_url_rule("/module", "module", plain_form)  # another name is the limited one's
    limited.app.add_url_rule("/exempt", "exempt", free)  # it says so
    limited.app.add_url_rule("/limited", "limited", rate_limit(1)(free))
    assert limited.statuses("/module", 3) == limited.statuses("/exempt", 3) == [200] * 3
    assert limited.statuses("/limited", 2) == [200, 429]
    assert work() == "ok"


def test_both_forms_may_be_routes(limited: Limited) -> None:
    def view() -> str:
        return "ok"

    limited.app.add_url_rule("/free", "free", view)
    limited.app.add_url_rule("/limited", "limited", rate_limit(1)(view))
    assert limited.statuses("/free", 3) == [200] * 3
    assert limited.statuses("/limited", 2) == [200, 429]


def test_a_view_without_any_limit_costs_no_search(limited: Limited) -> None:
    class Item(MethodView):
        def get(self) -> str:
            return "ok"

    limited.app.add_url_rule("/", view_func=Item.as_view("item"))
    assert limited.statuses("/", 2) == [200, 200]


@pytest.mark.parametrize("order", ["limit over cache", "cache over limit"])
def test_beside_a_cached_route_each_order_means_what_it_says(limited: Limited, order: str) -> None:
    """Over the cache it counts each request; under it, only those that the cache lacks."""
    calls: list[int] = []

    def view() -> str:
        calls.append(1)
        return "page"

    cached = cache_result(ttl=60, public=True)
    limit = rate_limit(2)
    wrapped: Any = limit(cached(view)) if order == "limit over cache" else cached(limit(view))
    limited.app.add_url_rule("/", "home", wrapped)
    responses = [limited.client.get("/") for _ in range(4)]
    assert calls == [1]
    remaining = [response.headers.get("X-RateLimit-Remaining") for response in responses]
    if order == "limit over cache":
        assert [response.status_code for response in responses] == [200, 200, 429, 429]
        assert remaining == ["1", "0", "0", "0"]
    else:
        assert [response.status_code for response in responses] == [200] * 4
        assert remaining == ["1", None, None, None]  # a stored page brings nobody's figures


def test_a_cached_page_carries_the_figures_of_its_own_request(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(5, key_func=lambda: "someone")
    @cache_result(ttl=60, public=True)
    def home() -> Any:
        return "page", 200, {"X-RateLimit-Limit": "stale", "RateLimit": '"stale";r=1'}

    for left in ("4", "3", "2"):
        headers = limited.client.get("/").headers
        assert headers.getlist("X-RateLimit-Remaining") == [left]
        assert headers.getlist("X-RateLimit-Limit") == ["5"]
        assert headers.getlist("RateLimit")[0].startswith(f'"per-minute";r={left}')


def test_two_applications_with_different_ideas_of_one_function(limited: Limited) -> None:
    other = Flask("other")
    other.config["REDIS_URL"] = limited.app.config["REDIS_URL"]
    kit = RedisKit(other)
    other.add_url_rule("/", "home", plain_form)
    limited.app.add_url_rule("/", "home", also_limited)
    assert [other.test_client().get("/").status_code for _ in range(3)] == [200] * 3
    assert limited.statuses("/", 2) == [200, 429]
    with other.app_context():
        kit.close()


def test_a_bound_method_can_be_limited_as_a_view(limited: Limited) -> None:
    class Shop:
        def home(self) -> str:
            return "home"

    limited.app.add_url_rule("/", view_func=rate_limit(limit=1)(Shop().home))
    assert [limited.client.get("/").status_code for _ in range(2)] == [200, 429]


def test_a_function_that_is_limited_at_each_call_does_not_collect_its_forms() -> None:
    def price() -> int:
        return 1

    forms = [weakref.ref(rate_limit(limit=1)(price)) for _ in range(100)]
    gc.collect()
    assert sum(form() is not None for form in forms) < 10
