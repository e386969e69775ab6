"""Round trips, counted by a proxy between the application and its server."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Flask, Response, session

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.core.exchange import Exchange, first
from tests.cache.test_route import was_hit
from tests.harness.proxy import Proxy

View = Callable[..., Any]


def limited(kit: RedisKit) -> Callable[[View], View]:
    """A decorator that sends something of another feature first, as a rate limit does."""

    def decorate(view: View) -> View:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            context = kit.cache.context()
            count = Exchange("limit", "counter", [("INCR", "counter")], first)
            assert context.send(count) > 0
            return view(*args, **kwargs)

        return wrapper

    return decorate


def test_a_function_costs_3_trips_for_a_miss_and_1_for_a_hit(
    warmed: RedisKit, proxy: Proxy
) -> None:
    @warmed.cache.cache_result(tags=["n:{n}", "all"])
    def double(n: int) -> int:
        return 2 * n

    for trips in (3, 1, 1):
        with proxy.counting() as count:
            double(2)
        assert count.trips == trips
    for invalidation in (
        lambda: warmed.cache.invalidate_tags("all", "n:2"),
        lambda: double.invalidate(2),
        lambda: warmed.cache.delete("k"),
        warmed.cache.clear,
    ):
        with proxy.counting() as count:
            invalidation()
        assert count.trips == 1


def test_a_first_miss_after_clear_costs_no_more(warmed: RedisKit, proxy: Proxy) -> None:
    warmed.cache.clear()

    @warmed.cache.cache_result()
    def value() -> int:
        return 1

    with proxy.counting() as count:
        value()
    assert count.trips == 3


def test_values_by_hand(warmed: RedisKit, proxy: Proxy) -> None:
    def trips(operation: Callable[[], Any]) -> int:
        with proxy.counting() as count:
            operation()
        return count.trips

    cache = warmed.cache
    assert trips(lambda: cache.get("k")) == 1
    assert trips(lambda: cache.set("k", 1, tags=["t"])) == 1, "by the epoch of the miss"
    assert trips(lambda: cache.get("k")) == 1, "its tags are known"
    assert trips(lambda: cache.set("k", 2)) == 1
    assert trips(lambda: cache.get("k")) == 1


def test_another_process_learns_a_values_tags_once(
    warmed: RedisKit, make_kit: Callable[..., RedisKit], proxy: Proxy
) -> None:
    warmed.cache.set("k", 1, tags=["t"])
    other = make_kit(proxy.url)
    other.cache.get("unrelated")
    for trips in (2, 1):
        with proxy.counting() as count:
            assert other.cache.get("k") == 1
        assert count.trips == trips
    warmed.cache.invalidate_tags("t")
    assert other.cache.get("k") is None


@pytest.fixture
def views(warmed: RedisKit, app: Flask) -> Flask:
    @app.get("/plain")
    @cache_result()
    def plain() -> str:
        return "x"

    @app.get("/limited")
    @limited(warmed)
    @cache_result()
    def behind_a_limit() -> str:
        return "x"

    @app.get("/session")
    @limited(warmed)
    @cache_result()
    def personal() -> str:
        return str(session.get("name"))

    @app.get("/error")
    @cache_result()
    def error() -> Response:
        return Response("x", status=500)

    return app


@pytest.mark.parametrize(
    ("path", "first_trips", "later_trips"),
    [
        ("/plain", 3, 1),
        ("/limited", 3, 1),  # the read goes along with the limit; lease; store
        ("/session", 3, 3),  # and is refused: the end of its lease rides in the last trip
        ("/error", 3, 3),
    ],
)
def test_routes(path: str, first_trips: int, later_trips: int, views: Flask, proxy: Proxy) -> None:
    client = views.test_client()
    for trips in (first_trips, later_trips, later_trips):
        with proxy.counting() as count:
            client.get(path)
        assert count.trips == trips


def test_a_planned_read_is_sent_once(views: Flask, proxy: Proxy) -> None:
    client = views.test_client()
    for path in ("/plain", "/limited"):
        client.get(path)
        with proxy.counting() as count:
            assert was_hit(client.get(path))
        assert [command[0] for command in count.commands].count(b"GET") == 1


def test_nothing_is_planned_for_other_methods(warmed: RedisKit, app: Flask, proxy: Proxy) -> None:
    @limited(warmed)
    @cache_result()
    def view() -> str:
        return "x"

    app.add_url_rule("/", "page", view, methods=["GET", "POST"])
    with proxy.counting() as count:
        app.test_client().post("/")
    assert [command[0] for command in count.commands] == [b"INCR"]


def test_an_invalidation_between_plan_and_view_is_seen(
    warmed: RedisKit, app: Flask, proxy: Proxy
) -> None:
    calls: list[int] = []

    def touch(view: View) -> View:
        @wraps(view)
        def wrapper() -> Any:
            warmed.cache.invalidate_tags("t")
            return view()

        return wrapper

    @app.get("/")
    @limited(warmed)
    @touch
    @cache_result(tags=["t"])
    def page() -> str:
        calls.append(1)
        return str(len(calls))

    assert [app.test_client().get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_a_plan_that_cannot_be_made_is_told_and_harms_nothing(
    warmed: RedisKit, app: Flask, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    app.testing = True
    view = limited(warmed)(cache_result(tags=["x:{missing}"])(lambda **_: "x"))
    app.add_url_rule("/", "page", view)
    with pytest.raises(TypeError, match="needs an argument named 'missing'"):
        app.test_client().get("/")
    assert [command[0] for command in proxy.commands][-1] == b"INCR"
    assert "A look-up of 'page' could not be planned" in caplog.text
    assert "needs an argument named 'missing'" in caplog.text


def test_a_store_rides_in_the_last_trip(views: Flask, proxy: Proxy) -> None:
    with proxy.counting() as count:
        views.test_client().get("/plain")
    assert count.commands[-1][0] == b"EVALSHA"
    assert count.commands[-2][0] == b"SET"
    assert count.trips == 3
