"""The request batch: what travels together, what waits for the end, and what is never sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, copy_current_request_context, request, stream_with_context
from flask.views import MethodView
from werkzeug.test import Client

from flask_redis_kit import RedisKit
from tests.core.counter import CounterFeature
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

Counting = tuple[Flask, CounterFeature]


@pytest.fixture
def counting(proxy: Proxy, extra_keyspace: list[Spec]) -> Iterator[Counting]:
    extra_keyspace.extend(CounterFeature.keyspace)
    app = Flask("counting")
    app.config["REDIS_URL"] = proxy.url
    kit = RedisKit(features=())
    counter = kit.register(CounterFeature())
    kit.init_app(app)
    yield app, counter
    with app.app_context():
        kit.close()


def test_a_request_that_needs_nothing_sends_nothing(counting: Counting, proxy: Proxy) -> None:
    app, counter = counting

    @app.get("/")
    @counter.reading_ahead("a")
    def planned(count: int) -> str:
        return str(count)

    @app.get("/quiet")
    def quiet() -> str:
        return "quiet"

    with proxy.counting() as count:
        assert app.test_client().get("/quiet").status_code == 200
    assert (count.trips, count.connections) == (0, 0)


def test_a_planned_look_up_rides_with_the_first_trip(counting: Counting, proxy: Proxy) -> None:
    app, counter = counting

    @app.before_request
    def first() -> None:
        counter.add("first")

    @app.get("/")
    @counter.reading_ahead("other")
    def view(count: int) -> str:
        return str(count)

    client = app.test_client()
    with proxy.counting() as count:
        # the write of the same feature came first, so what was read ahead of it no longer holds
        assert client.get("/").text == "0"
    assert count.trips == 2


def test_a_planned_look_up_of_another_feature_is_taken_from_the_first_trip(
    counting: Counting, proxy: Proxy
) -> None:
    app, counter = counting

    @app.before_request
    def first() -> None:
        counter.read("first")

    @app.get("/")
    @counter.reading_ahead("other")
    def view(count: int) -> str:
        return str(count)

    class Views(MethodView):
        decorators = [counter.reading_ahead("other")]  # noqa: RUF012  # as Flask's docs write it

        def get(self, count: int) -> str:
            return str(count)

    app.add_url_rule("/class", view_func=Views.as_view("views"))
    for path in ("/", "/class"):
        with proxy.counting() as count:
            assert app.test_client().get(path).text == "0"
        assert count.trips == 1


def test_deferred_writes_go_out_together_at_the_end(counting: Counting, proxy: Proxy) -> None:
    app, counter = counting
    seen: list[int] = []

    @app.get("/")
    def view() -> str:
        for name in ("a", "b", "c"):
            counter.later(name, done=lambda outcome: seen.append(outcome.result()))
        counter.later("never", when=lambda: False)
        assert seen == []
        return "ok"

    with proxy.counting() as count:
        app.test_client().get("/")
    assert count.trips == 1
    assert seen == [1, 1, 1]
    with app.app_context():
        assert counter.read("never") == 0


def test_a_read_sends_its_features_deferred_writes_before_it(
    counting: Counting, proxy: Proxy
) -> None:
    app, counter = counting

    @app.get("/")
    def view() -> str:
        counter.later("a")
        counter.later("a")
        return str(counter.read("a"))

    with proxy.counting() as count:
        assert app.test_client().get("/").text == "2"
    assert count.trips == 1


def test_deferred_writes_are_sent_when_the_view_raises(counting: Counting) -> None:
    app, counter = counting

    @app.get("/")
    def view() -> str:
        counter.later("a")
        raise ValueError("a defect of the view")

    assert app.test_client().get("/").status_code == 500
    with app.app_context():
        assert counter.read("a") == 1


def test_a_streamed_body_and_a_copied_context_use_the_same_batch(counting: Counting) -> None:
    app, counter = counting

    @app.get("/")
    def view() -> Response:
        def work() -> None:
            for _ in range(25):
                counter.add("threads")

        threads = [threading.Thread(target=copy_current_request_context(work)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counter.later("mine")  # the copies have ended; the request has not

        def body() -> Iterator[str]:
            counter.later("late")  # the batch is finished by now: it is sent at once
            yield str(counter.read("late"))

        return Response(stream_with_context(body()))

    assert app.test_client().get("/").text == "1"
    with app.app_context():
        assert counter.read("threads") == 100
        assert counter.read("mine") == 1


def test_an_async_view_has_the_same_batch(counting: Counting, proxy: Proxy) -> None:
    pytest.importorskip("asgiref")
    app, counter = counting

    @app.get("/")
    async def view() -> str:
        counter.later("a")
        return str(counter.read("a"))

    with proxy.counting() as count:
        assert app.test_client().get("/").text == "1"
    assert count.trips == 1


def test_outside_a_request_every_exchange_goes_alone(counting: Counting, proxy: Proxy) -> None:
    app, counter = counting
    with app.app_context(), proxy.counting() as count:
        counter.later("a")
        counter.later("a")
        assert counter.read("a") == 2
    assert count.trips == 3


def test_an_error_of_one_exchange_does_not_reach_another(
    counting: Counting, server: Server
) -> None:
    app, counter = counting
    with app.app_context(), server.client() as client:
        client.lpush(counter.engine().key("bad"), "x")
        client.expire(counter.engine().key("bad"), 60)
    outcomes: list[Any] = []

    @app.get("/")
    def view() -> str:
        counter.later("bad", done=outcomes.append)
        counter.later("good", done=outcomes.append)
        return str(counter.read("good"))

    assert app.test_client().get("/").text == "1"
    assert "WRONGTYPE" in str(outcomes[0].error)
    assert outcomes[1].result() == 1
    with app.app_context(), server.client() as client:
        client.delete(counter.engine().key("bad"))


def test_a_request_inside_a_request_has_its_own_batch(counting: Counting) -> None:
    app, counter = counting

    @app.get("/inner")
    def inner() -> str:
        counter.later("inner")
        return "inner"

    @app.get("/")
    def outer() -> str:
        counter.later("outer")
        app.test_client().get("/inner")
        with app.app_context():  # nested, of the same request
            counter.later("nested")
        return "outer"

    app.test_client().get("/")
    with app.app_context():
        assert [counter.read(name) for name in ("inner", "outer", "nested")] == [1, 1, 1]


def test_two_applications_that_are_asked_in_turn_have_a_batch_each(counting: Counting) -> None:
    """As werkzeug's and others' cascades do it: the second gets the environ of the first's 404."""
    app, counter = counting
    first = Flask("first")
    first.config.update(app.config)
    kit = RedisKit(first)

    @first.before_request
    def limit() -> None:
        kit.ratelimit.check(limit=10, window=60, key="all")

    @app.get("/")
    def view() -> str:
        counter.later("a")
        batch = counter.context().batch()
        assert batch is not None
        return f"{batch.finished} {batch.trips} {batch.notes}"

    def cascade(environ: Any, start_response: Any) -> Any:
        first(environ, lambda *_: lambda _: None)
        return app(environ, start_response)

    assert Client(cascade).get("/").text == "False 0 {}"
    with app.app_context():
        assert counter.read("a") == 1
    with first.app_context():
        kit.close()


def test_a_part_of_a_page_asked_with_a_copied_environ_has_its_own_batch(
    counting: Counting,
) -> None:
    app, counter = counting

    @app.get("/part")
    def part() -> str:
        counter.later("part")
        return str(id(counter.context().batch()))

    @app.get("/")
    def page() -> str:
        batch = counter.context().batch()
        assert batch is not None
        environ: Any = {**request.environ, "PATH_INFO": "/part"}
        answer: Any = app.wsgi_app(environ, lambda *_: lambda _: None)
        return f"{b''.join(answer).decode() != str(id(batch))} {batch.finished} {batch.notes}"

    assert app.test_client().get("/").text == "True False {}"
    with app.app_context():
        assert counter.read("part") == 1


def test_another_application_called_in_a_request_sends_what_it_has(counting: Counting) -> None:
    app, counter = counting
    caller = Flask("caller")

    @caller.get("/")
    def call() -> str:
        with app.app_context():
            counter.later("a")
            return str(counter.context().batch())

    assert caller.test_client().get("/").text == "None"
    with app.app_context():
        assert counter.read("a") == 1
