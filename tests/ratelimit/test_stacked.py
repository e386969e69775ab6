"""Stacked limits: one script call, all or none, whatever stands between them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import redis
from flask import Flask, request

from flask_redis_kit import RedisKit, rate_limit
from flask_redis_kit.core.views import PLAN, view_of, view_wrappers
from flask_redis_kit.ratelimit.denials import Denials
from tests.core.counter import CounterFeature
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited


def stacked(app: Flask) -> Callable[[], str]:
    @app.get("/")
    @rate_limit(limit=2, window=60)
    @rate_limit(limit=100, window=3600)
    @rate_limit(limit=3, window=60, key_func=lambda: "everybody")
    def home() -> str:
        return "ok"

    return home


def test_three_stacked_limits_are_one_trip_and_a_known_refusal_none(
    limited: Limited, proxy: Proxy
) -> None:
    stacked(limited.app)
    for status, trips in ((200, 1), (200, 1), (429, 1), (429, 0), (429, 0)):
        with proxy.counting() as count:
            assert limited.client.get("/").status_code == status
        assert (count.trips, len(count.commands)) == (trips, trips)


def test_what_one_limit_refuses_none_of_the_others_counts(
    limited: Limited, redis_client: redis.Redis
) -> None:
    stacked(limited.app)
    assert limited.statuses("/", 2) == [200, 200]
    before = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
    assert len(before) == 3
    for _ in range(5):
        limited.limiter.denials = Denials()  # ask the server each time
        assert limited.client.get("/").status_code == 429
    assert {key: redis_client.dump(key) for key in redis_client.scan_iter()} == before


def test_each_of_two_limits_counts_for_whom_its_own_key_func_says(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=9, window=60, key_func=lambda: "everybody")
    @rate_limit(limit=1, window=60, key_func=lambda: request.headers["X-User"])
    def home() -> str:
        return "ok"

    seen = [limited.client.get("/", headers={"X-User": u}).status_code for u in "abac"]
    assert seen == [200, 200, 429, 200]


def test_two_limits_of_the_same_window_never_share_a_log(limited: Limited) -> None:
    """A user and an organisation with the same number, say."""

    @limited.app.get("/")
    @rate_limit(limit=3, window=60, key_func=lambda: 5)
    @rate_limit(limit=2, window=60, key_func=lambda: 5)
    def home() -> str:
        return "ok"

    assert limited.statuses("/", 3) == [200, 200, 429]
    with limited.app.app_context():
        peek = limited.kit.ratelimit.peek
        assert peek(limit=2, window=60, key=5, name="home").remaining == 0
        assert peek(limit=3, window=60, key=5, name="home#2").remaining == 1


def test_a_decorator_between_two_limits_is_not_skipped(limited: Limited, proxy: Proxy) -> None:
    calls: list[str] = []

    def login_required(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)  # copies every attribute of the limited view
        def wrapper() -> str:
            calls.append("login")
            return view()

        return wrapper

    @limited.app.get("/")
    @rate_limit(limit=3, window=60)
    @login_required
    @rate_limit(limit=2, window=60)
    def home() -> str:
        return "ok"

    assert limited.statuses("/", 3) == [200, 200, 429]
    assert calls == ["login"] * 3
    with limited.app.app_context():
        peek = limited.kit.ratelimit.peek
        assert peek(limit=3, window=60, key="127.0.0.1", name="home#2").remaining == 0
        assert peek(limit=2, window=60, key="127.0.0.1", name="home").remaining == 0


def test_every_wrapper_stays_in_the_chain_and_a_plan_is_found_once(limited: Limited) -> None:
    def planned(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def wrapper() -> str:
            return view()

        setattr(wrapper, PLAN, print)
        return wrapper

    @planned
    def innermost() -> str:
        return "ok"

    one = rate_limit(limit=2, window=60)(innermost)
    two = rate_limit(limit=3, window=60)(one)
    limited.app.add_url_rule("/", "home", two)
    with limited.app.test_request_context("/"):
        chain = list(view_wrappers(limited.app, request))
        assert chain[:3] == [two, one, innermost]
        assert not hasattr(two, PLAN)
        assert len(view_of(limited.app, request).plans) == 1
    assert limited.client.get("/").text == "ok"


def test_attributes_of_a_view_stay_on_it(limited: Limited) -> None:
    def view() -> str:
        return "ok"

    vars(view)["methods"] = ["PUT"]
    limited.app.add_url_rule("/", view_func=rate_limit(limit=2, window=60)(view))
    assert limited.client.put("/").status_code == 200


def test_the_inner_of_two_stacked_limits_works_by_itself(limited: Limited) -> None:
    inner = rate_limit(limit=1, window=60)(lambda: "ok")
    limited.app.add_url_rule("/both", "both", rate_limit(limit=5, window=60)(inner))
    limited.app.add_url_rule("/inner", "inner", inner)
    assert limited.statuses("/inner", 2) == [200, 429]
    assert limited.statuses("/both", 2) == [200, 429]


def test_what_the_request_has_pending_travels_with_the_limits(
    proxy: Proxy, extra_keyspace: list[Spec]
) -> None:
    extra_keyspace.extend(CounterFeature.keyspace)
    app = Flask("shop")
    app.config["REDIS_URL"] = proxy.url
    kit = RedisKit(features=("ratelimit",))
    counter = kit.register(CounterFeature())
    kit.init_app(app)

    @app.get("/")
    @rate_limit(limit=5, window=60)
    @rate_limit(limit=50, window=60)
    @counter.reading_ahead("a")
    def home(count: int) -> str:
        return str(count)

    client = app.test_client()
    client.get("/")
    with proxy.counting() as count:
        assert client.get("/").text == "0"
    assert (count.trips, [command[0] for command in count.commands]) == (1, [b"GET", b"EVALSHA"])
    with app.app_context():
        kit.close()
