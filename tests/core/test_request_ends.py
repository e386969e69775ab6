"""How a request's batch ends: whatever the application does, what is deferred is sent, in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from flask import Flask, Response, session, stream_with_context

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result, rate_limit
from flask_redis_kit.core.exchange import Exchange, Reply, first
from flask_redis_kit.core.views import PLAN
from tests.core.counter import CounterFeature
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy
from tests.harness.servers import Server


class Shop(NamedTuple):
    """An application with all features and a counter; the cache is on a second server."""

    app: Flask
    kit: RedisKit
    counter: CounterFeature
    main: Proxy
    other: Proxy

    def counted(self, name: str) -> int:
        with self.app.app_context():
            return self.counter.read(name)


@pytest.fixture
def shop(server: Server, extra_keyspace: list[Spec]) -> Iterator[Shop]:
    extra_keyspace.extend(CounterFeature.keyspace)
    with Proxy(server.socket_path) as main, Proxy(server.socket_path) as other:
        app = Flask("shop")
        # a test lets the other one be silent
        app.config.update(REDIS_URL=main.url, REDIS_CACHE_URL=f"{other.url}?socket_timeout=2")
        kit = RedisKit()
        counter = kit.register(CounterFeature())
        kit.init_app(app)
        app.session_interface = RedisSessionInterface(kit)
        yield Shop(app, kit, counter, main, other)
        with app.app_context():
            kit.close()


def test_what_is_on_two_servers_costs_one_trip_to_each_at_both_ends(shop: Shop) -> None:
    @shop.app.get("/<int:number>")
    @rate_limit(limit=100, window=60, key_func=lambda: "all")
    @cache_result(ttl=60, public=True)
    def view(number: int) -> str:
        shop.counter.later("computed")
        shop.counter.later("computed")
        return f"{session.get('user')} {number}"

    @shop.app.post("/")
    def log_in() -> str:
        session["user"] = "Ada"
        shop.kit.cache.delete("k")
        return "in"

    browser = shop.app.test_client()
    browser.post("/")
    browser.get("/1")  # the servers know the scripts from now on
    with shop.main.counting() as main, shop.other.counting() as other:
        assert browser.get("/2").text == "Ada 2"
    # the limit takes the session along, the counters end it; look-up and lease, store
    assert (main.trips, other.trips) == (2, 3)
    with shop.main.counting() as main, shop.other.counting() as other:
        assert browser.get("/2").text == "Ada 2"
    assert (main.trips, other.trips) == (1, 1)
    assert shop.counted("computed") == 4


def test_a_server_that_is_gone_keeps_nothing_from_the_other(shop: Shop) -> None:
    shop.other.drop_requests()
    shop.app.config["PROPAGATE_EXCEPTIONS"] = True

    @shop.app.get("/")
    def view() -> str:
        session["n"] = 1
        shop.counter.later("a")
        assert shop.kit.cache.get("k") is None  # it computes and goes on
        shop.counter.later("a")
        return str(shop.kit.cache.set("k", 1))

    with shop.main.counting() as main:
        assert shop.app.test_client().get("/").text == "False"
    assert {command[0] for command in main.commands} >= {b"INCRBY"}
    assert shop.counted("a") == 2


def test_writes_and_reads_of_a_feature_keep_their_order(shop: Shop) -> None:
    seen: list[int] = []

    @shop.app.get("/")
    def view() -> list[int]:
        counter = shop.counter
        counter.later("a", done=lambda outcome: seen.append(outcome.result()))
        shop.kit.ratelimit.check(limit=9, window=60, key="between")  # another feature's trip
        seen.append(counter.add("a"))
        counter.later("a", done=lambda outcome: seen.append(outcome.result()))
        seen.append(counter.read("a"))
        counter.later("a", done=lambda outcome: seen.append(outcome.result()))
        return seen

    assert shop.app.test_client().get("/").get_json() == [1, 2, 3, 3]
    assert seen == [1, 2, 3, 3, 4]


@pytest.mark.parametrize("where", ["done", "when"])
def test_a_defect_in_one_callback_keeps_no_other_from_being_sent_and_told(
    shop: Shop, where: str
) -> None:
    told: list[int] = []

    def defect(*_: Any) -> Any:
        raise LookupError("a defect of a callback")

    options: dict[str, Any] = {where: defect}

    @shop.app.get("/")
    def view() -> str:
        shop.counter.later("b", **options)
        shop.counter.later("a", done=lambda outcome: told.append(outcome.result()))
        found = shop.counter.read("a")
        shop.counter.later("b", **options)
        shop.counter.later("a", done=lambda outcome: told.append(outcome.result()))
        return str(found)

    shop.app.testing = True
    with pytest.raises(LookupError, match="of a callback"):
        shop.app.test_client().get("/")
    assert told == [1, 2]
    assert shop.counted("a") == 2
    assert shop.counted("b") == (2 if where == "done" else 0)


def test_a_reply_that_can_not_be_read_is_the_error_of_its_own_exchange(shop: Shop) -> None:
    def unreadable(_: list[Reply]) -> int:
        raise ValueError("not what was stored")

    with shop.app.app_context():
        context = shop.counter.context()
        key = shop.counter.engine().key("a")
        exchanges: list[Exchange[Any]] = [
            shop.counter.engine().add("a"),
            Exchange("counter", key, [("GET", key)], unreadable, read_only=True),
            Exchange("counter", key, [("GET", key)], first, read_only=True),
        ]
        outcomes = context.send_many(exchanges)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert str(outcomes[1].error) == "not what was stored"
    assert outcomes[2].result() == b"1"


def test_a_plan_that_fails_is_told_and_the_request_goes_on(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    @shop.app.get("/")
    def view() -> str:
        return str(shop.counter.read("a"))

    def plan(_: object) -> None:
        raise LookupError("a defect of a plan")

    setattr(view, PLAN, plan)
    with caplog.at_level(logging.WARNING):
        assert shop.app.test_client().get("/").text == "0"
    assert "A look-up of 'view' could not be planned" in caplog.text


def test_what_is_deferred_is_sent_though_hooks_of_the_application_raise(shop: Shop) -> None:
    class Defect(Exception):
        """Of a hook."""

    hooks: list[str] = []

    @shop.app.after_request
    def after(response: Response) -> Response:
        if "after" in hooks:
            raise Defect
        return response

    @shop.app.teardown_request
    def teardown(_: BaseException | None) -> None:
        if "teardown" in hooks:
            raise Defect

    @shop.app.before_request
    def before() -> None:
        shop.counter.later("a")
        if "before" in hooks:
            raise Defect

    @shop.app.get("/")
    def view() -> str:
        shop.counter.later("a")
        return "ok"

    @shop.app.errorhandler(Defect)
    def handled(_: Defect) -> str:
        shop.counter.later("a")
        return "handled"

    browser = shop.app.test_client()
    expected = 0
    for where, deferred in (("before", 2), ("after", 2), ("teardown", 2)):
        hooks[:] = [where]
        if where == "teardown":
            with pytest.raises(Defect):
                browser.get("/")
        else:
            browser.get("/")
        expected += deferred
        hooks.clear()
        assert shop.counted("a") == expected, where


def test_a_streamed_body_may_read_the_session_and_defer(shop: Shop) -> None:
    @shop.app.post("/")
    def log_in() -> str:
        session["user"] = "Ada"
        return "in"

    @shop.app.get("/")
    def view() -> Response:
        def body() -> Iterator[str]:
            yield "Hello "
            yield str(session["user"])
            shop.counter.later("streamed")
            yield f", {shop.counter.read('streamed')}"

        return Response(stream_with_context(body()))

    browser = shop.app.test_client()
    browser.post("/")
    assert browser.get("/").text == "Hello Ada, 1"
    with shop.main.counting() as count:
        assert browser.get("/").text == "Hello Ada, 2"
    # the session when it is read; the deferred write at once, since the end has passed; the read
    assert count.trips == 3


def test_a_session_written_before_the_stream_is_saved_before_it(shop: Shop) -> None:
    @shop.app.get("/")
    def view() -> Response:
        session["n"] = session.get("n", 0) + 1

        def body() -> Iterator[str]:
            yield str(shop.counter.add("bodies"))
            yield f" {session['n']}"

        return Response(stream_with_context(body()))

    browser = shop.app.test_client()
    assert [browser.get("/").text for _ in range(3)] == ["1 1", "2 2", "3 3"]


def test_a_body_that_is_never_read_still_ends_the_request(shop: Shop) -> None:
    @shop.app.get("/")
    def view() -> Response:
        shop.counter.later("a")
        return Response(stream_with_context(iter(["never", "read"])))

    with shop.app.test_client() as browser:
        browser.get("/", buffered=False).close()
    assert shop.counted("a") == 1
