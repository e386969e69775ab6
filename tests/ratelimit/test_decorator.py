"""``@rate_limit``: where it counts, for whom, how often, and how many trips it takes."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from flask import Blueprint, Flask, request
from flask.views import MethodView

from flask_redis_kit import NotInitialized, RateLimitExceeded, RedisKit, rate_limit
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited, MakeApp


def by_header() -> str:
    return request.headers["X-User"]


def test_a_view_is_admitted_up_to_its_limit(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=3, window=60)
    def home() -> str:
        return "ok"

    assert limited.statuses("/", 5) == [200, 200, 200, 429, 429]


def test_the_decorator_of_a_kit_works_as_the_unbound_one(limited: Limited) -> None:
    @limited.app.get("/")
    @limited.kit.ratelimit.rate_limit(2, timedelta(minutes=1))
    def home() -> str:
        return "ok"

    assert limited.statuses("/", 3) == [200, 200, 429]


def test_an_async_view_is_limited(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=2, window=60)
    @rate_limit(limit=50, window=60)
    async def home() -> str:
        return "ok"

    assert inspect.iscoroutinefunction(home)
    assert limited.statuses("/", 3) == [200, 200, 429]


def test_a_plain_function_is_limited_in_and_out_of_requests(limited: Limited) -> None:
    @limited.kit.ratelimit.rate_limit(limit=2, window=60, key_func=lambda: "all")
    def work(a: int, *, b: int = 1) -> int:
        """Adds."""
        return a + b

    limited.app.get("/")(lambda: str(work(1)))
    assert work(1, b=5) == 6
    assert limited.client.get("/").text == "2"
    with pytest.raises(RateLimitExceeded) as refused:
        work(1)
    assert refused.value.limit == 2
    assert 0 < refused.value.retry_after <= 60
    assert limited.client.get("/").status_code == 429
    assert (work.__name__, work.__doc__) == ("work", "Adds.")
    assert list(inspect.signature(work).parameters) == ["a", "b"]


def test_a_method_is_limited(limited: Limited) -> None:
    class Mailer:
        @limited.kit.ratelimit.rate_limit(limit=1, window=60, key_func=lambda: "all")
        def send(self, to: str) -> str:
            return to

    assert Mailer().send("a") == "a"
    with pytest.raises(RateLimitExceeded):
        Mailer().send("b")


def test_each_key_has_its_own_limit(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=60, key_func=by_header)
    def home() -> str:
        return "ok"

    for user in ("a", "b", "a/b"):
        headers = {"X-User": user}
        assert limited.statuses("/", 2, headers=headers) == [200, 429]


def test_each_endpoint_has_its_own_limit_and_each_of_its_urls_the_same(limited: Limited) -> None:
    def view(n: int = 0) -> str:
        return str(n)

    shared = rate_limit(limit=2, window=60)(view)
    limited.app.add_url_rule("/a", "a", shared)
    limited.app.add_url_rule("/a/<int:n>", "a", shared)
    limited.app.add_url_rule("/b", "b", shared)
    assert limited.statuses("/a", 1) + limited.statuses("/a/7", 2) == [200, 200, 429]
    assert limited.statuses("/b", 3) == [200, 200, 429]


def test_the_methods_of_a_view_class_have_their_own_limits(limited: Limited) -> None:
    class Item(MethodView):
        @rate_limit(limit=3, window=60)
        def get(self) -> str:
            return "got"

        @rate_limit(limit=1, window=60)
        def post(self) -> str:
            return "posted"

    limited.app.add_url_rule("/item", view_func=Item.as_view("item"))
    assert limited.statuses("/item", 2) == [200, 200]
    assert limited.client.head("/item").status_code == 200
    assert [limited.client.post("/item").status_code for _ in range(2)] == [200, 429]
    assert limited.statuses("/item", 1) == [429]


def test_a_decorated_view_class_and_its_methods_count_once_each(
    limited: Limited, proxy: Proxy
) -> None:
    class Item(MethodView):
        decorators = [rate_limit(limit=5, window=60)]  # noqa: RUF012  # as Flask's docs write it

        @rate_limit(limit=2, window=60)
        def get(self) -> str:
            return "got"

    limited.app.add_url_rule("/item", view_func=Item.as_view("item"))
    assert limited.statuses("/item", 3) == [200, 200, 429]
    with limited.app.app_context():
        peek = limited.kit.ratelimit.peek
        assert peek(limit=5, window=60, key="127.0.0.1", name="item").remaining == 2
        assert peek(limit=2, window=60, key="127.0.0.1", name="item:get").remaining == 0


def test_a_blueprint_s_view_is_limited(limited: Limited) -> None:
    blueprint = Blueprint("shop", __name__)

    @blueprint.get("/")
    @rate_limit(limit=1, window=60)
    def home() -> str:
        return "ok"

    limited.app.register_blueprint(blueprint)
    limited.app.register_blueprint(blueprint, name="again", url_prefix="/again")
    assert limited.statuses("/", 2) == [200, 429]
    assert limited.statuses("/again/", 2) == [200, 429]


# where and when


def test_a_view_called_again_in_its_own_request_counts_as_a_function(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=100, window=60)
    def home() -> str:
        return "again" if "again" in request.args else home_again()

    def home_again() -> str:
        request.args = {"again": "1"}  # type: ignore[assignment]
        return home() + home()

    assert limited.client.get("/").text == "againagain"
    with limited.app.app_context():
        peek = functools.partial(limited.kit.ratelimit.peek, limit=100, key="127.0.0.1")
        assert peek(name="home").remaining == 99
        assert peek(name=f"{home.__module__}.{home.__qualname__}").remaining == 98


def test_it_counts_at_its_place_after_the_decorators_above_it(
    limited: Limited, redis_client: redis.Redis
) -> None:
    def forbidden(view: Callable[[], str]) -> Callable[[], Any]:
        @functools.wraps(view)
        def wrapper() -> Any:
            return "no", 403

        return wrapper

    @limited.app.get("/")
    @forbidden
    @rate_limit(limit=1, window=60)
    def home() -> str:
        return "ok"

    assert limited.statuses("/", 2) == [403, 403]
    assert redis_client.keys() == []


def test_a_key_func_runs_once_per_call_at_its_place(limited: Limited) -> None:
    calls: list[str] = []

    def key() -> str:
        calls.append("key")
        return "k"

    @limited.app.get("/")
    @rate_limit(limit=2, window=60, key_func=key)
    @rate_limit(limit=9, window=90, key_func=key)
    def home() -> str:
        calls.append("view")
        return "ok"

    assert limited.statuses("/", 3) == [200, 200, 429]
    assert calls == ["key", "view", "key", "view", "key"]


def test_threads_of_one_process_are_admitted_exactly(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=25, window=60)
    def home() -> str:
        return "ok"

    seen: list[int] = []

    def ask() -> None:
        client = limited.app.test_client()
        seen.extend(client.get("/").status_code for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (seen.count(200), seen.count(429)) == (25, 95)


# applications


def test_two_applications_of_one_kit_see_neither_each_other_s_limits_nor_settings(
    make_app: MakeApp,
) -> None:
    kit = RedisKit()
    shop = make_app("shop", kit)
    blog = make_app("blog", kit)
    off = make_app("off", kit, REDIS_RATELIMIT_ENABLED=False)

    @kit.ratelimit.rate_limit(limit=2, window=60)
    def home() -> str:
        return "ok"

    for each in (shop, blog, off):
        each.app.add_url_rule("/", "home", home)
    assert shop.statuses("/", 3) == [200, 200, 429]
    assert blog.statuses("/", 3) == [200, 200, 429]
    assert off.statuses("/", 5) == [200] * 5
    assert shop.limiter is not blog.limiter


def test_switched_off_everything_passes_without_a_key_or_a_trip(
    make_app: MakeApp, proxy: Proxy
) -> None:
    limited = make_app(REDIS_RATELIMIT_ENABLED="false")

    @limited.app.get("/")
    @rate_limit(limit=1, window=60, key_func=lambda: None)  # type: ignore[arg-type, return-value]
    def home() -> str:
        result = limited.kit.ratelimit.check(limit=1, window=60, key="k")
        assert (result.allowed, result.counted, result.remaining) == (True, False, 1)
        assert limited.kit.ratelimit.current is None
        return "ok"

    with proxy.counting() as count:
        assert limited.statuses("/", 3) == [200] * 3
        assert "X-RateLimit-Limit" not in limited.client.get("/").headers
    assert count.trips == 0


def test_an_unbound_limit_without_an_application_says_what_is_missing(make_app: MakeApp) -> None:
    @rate_limit(limit=1, window=60, key_func=lambda: "k")
    def work() -> None:
        return None

    with pytest.raises(NotInitialized, match="no current application"):
        work()
    bare = Flask("bare")
    with bare.app_context(), pytest.raises(NotInitialized, match="init_app"):
        work()
    RedisKit(bare, features=("cache",))
    with bare.app_context(), pytest.raises(NotInitialized, match="'ratelimit'"):
        work()
