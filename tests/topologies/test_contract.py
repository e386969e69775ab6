"""What every feature does, on every topology: the same application, another ``REDIS_URL``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask, session

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result, rate_limit
from tests.harness.engines import Engine

TOPOLOGIES = ("sentinels", "cluster")
"""The fixtures of tests/topologies/conftest.py; each has a ``url``."""


@pytest.fixture(params=TOPOLOGIES)
def url(request: pytest.FixtureRequest, engine: Engine) -> str:
    """The address of each topology in turn. ``--engine all`` looks for the name ``engine``."""
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def kit() -> RedisKit:
    return RedisKit()


@pytest.fixture
def app(url: str, kit: RedisKit) -> Iterator[Flask]:
    """A shop that uses all five features."""
    app = Flask("shop")
    app.secret_key = "of tests"
    app.config["REDIS_URL"] = url
    kit.init_app(app)
    app.session_interface = RedisSessionInterface(kit)
    calls: dict[str, int] = {}

    @app.get("/count")
    def count() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    @app.get("/limited")
    @rate_limit(limit=2, window=60, key_func=lambda: "everyone")
    def limited() -> str:
        return "admitted"

    @app.get("/products/<int:number>")
    @cache_result(key_prefix="product", ttl=60, tags=["products"])
    def product(number: int) -> str:
        calls["product"] = calls.get("product", 0) + 1
        return f"product {number}, call {calls['product']}"

    @app.get("/all")
    @rate_limit(limit=100, window=60, key_func=lambda: "everyone")
    @cache_result(key_prefix="all", ttl=60, public=True)
    def everything() -> str:
        return f"seen by {session.get('visits')}"

    @kit.queue.task
    def add(first: int, second: int) -> None:
        kit.client.set("frk:{shop:test}:sum", first + second, ex=60)

    yield app
    with app.app_context():
        kit.close()


def test_a_session_is_written_read_and_ended(app: Flask, kit: RedisKit) -> None:
    browser, other = app.test_client(), app.test_client()
    assert [browser.get("/count").text for _ in range(3)] == ["1", "2", "3"]
    assert other.get("/count").text == "1"


def test_a_limit_is_counted_and_refused(app: Flask) -> None:
    browser = app.test_client()
    assert [browser.get("/limited").status_code for _ in range(4)] == [200, 200, 429, 429]


def test_a_response_is_cached_until_it_is_invalidated(app: Flask, kit: RedisKit) -> None:
    browser = app.test_client()
    assert browser.get("/products/7").text == "product 7, call 1"
    assert browser.get("/products/7").text == "product 7, call 1"
    assert browser.get("/products/8").text == "product 8, call 2"
    with app.app_context():
        kit.cache.invalidate_tags("products")
    assert browser.get("/products/7").text == "product 7, call 3"


def test_values_are_cached_by_hand(app: Flask, kit: RedisKit) -> None:
    with app.app_context():
        for number in range(20):  # all over a Cluster's slots
            kit.cache.set(f"k{number}", {"n": number}, ttl=60)
        assert [kit.cache.get(f"k{n}") for n in range(20)] == [{"n": n} for n in range(20)]
        kit.cache.delete("k3")
        assert kit.cache.get("k3") is None


def test_an_event_is_heard_live_and_after_a_cursor(app: Flask, kit: RedisKit) -> None:
    with app.app_context():
        with kit.events.subscribe(["orders"], user=42) as reader:
            kit.events.publish("orders", "made", {"n": 1})
            kit.events.publish_to_user(42, "told", {"n": 2})
            found = [reader.get(60), reader.get(20)]
        assert {event.type: event.data for event in found if event} == {
            "made": {"n": 1},
            "told": {"n": 2},
        }
        cursor = kit.events.cursor(["orders"])
        kit.events.publish("orders", "made", {"n": 3})
        with kit.events.subscribe(["orders"], after=cursor) as reader:
            later = reader.get(60)
        assert later is not None
        assert later.data == {"n": 3}


def test_a_job_is_run_by_a_worker(app: Flask, kit: RedisKit) -> None:
    with app.app_context():
        job = kit.queue.enqueue("add", {"first": 2, "second": 3})
        assert kit.queue.job(job).state == "waiting"
    result = app.test_cli_runner().invoke(args=["redis", "worker", "--burst"])
    assert result.exit_code == 0, result.output
    with app.app_context():
        assert kit.client.getdel("frk:{shop:test}:sum") == b"5"


def test_features_share_a_request(app: Flask) -> None:
    browser = app.test_client()
    browser.get("/count")
    assert [browser.get("/all").text for _ in range(3)] == ["seen by 1"] * 3


def test_health_is_well(app: Flask, kit: RedisKit) -> None:
    with app.app_context():
        kit.client.get("x")
        assert all(server.ok for server in kit.health())
