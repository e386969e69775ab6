"""Transactions inside requests, and values of the cache in them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis
from flask import session

from flask_redis_kit import CodecError, RedisSessionInterface, TransactionMisused
from tests.core.transacting import Opened, kit, shop
from tests.harness.proxy import Proxy

__all__ = ["kit", "shop"]


# the request batch


def test_a_transaction_in_a_request_is_one_trip_and_counted(shop: Opened, proxy: Proxy) -> None:
    app, kit = shop

    @app.get("/")
    def view() -> str:
        with kit.transaction() as tx:
            counted = tx.counter.add("a")
        return f"{counted.value} {kit.trips}"

    with proxy.counting() as count:
        assert app.test_client().get("/").text == "1 1"
    assert count.trips == 1


def test_earlier_writes_of_its_features_are_sent_before_it(shop: Opened, proxy: Proxy) -> None:
    app, kit = shop
    order: list[int] = []

    @app.get("/")
    def view() -> str:
        kit.counter.later("a", done=lambda outcome: order.append(outcome.result()))
        with kit.transaction() as tx:
            counted = tx.counter.add("a")
            kit.counter.later("a", done=lambda outcome: order.append(outcome.result()))
        order.append(counted.value)
        return str(kit.trips)

    with proxy.counting() as count:
        # what was deferred before, the transaction; nothing is left for the end
        assert app.test_client().get("/").text == "2"
    assert count.trips == 2
    assert order == [1, 2, 3]


def test_writes_of_other_features_wait_for_the_end(shop: Opened, proxy: Proxy) -> None:
    app, kit = shop

    @app.get("/")
    def view() -> str:
        kit.counter.later("a")
        with kit.transaction() as tx:
            tx.queue.enqueue("pack")
        return str(kit.trips)

    with proxy.counting() as count:
        assert app.test_client().get("/").text == "1"
    assert count.trips == 2
    assert kit.counter.read("a") == 1


def test_what_was_read_ahead_of_it_is_read_again(shop: Opened, proxy: Proxy) -> None:
    app, kit = shop

    @app.before_request
    def first() -> None:
        kit.events.publish("orders", "began")  # takes the plan of the view along
        with kit.transaction() as tx:
            tx.counter.add("a")

    @app.get("/")
    @kit.counter.reading_ahead("a")
    def view(count: int) -> str:
        return str(count)

    kit.events.publish("orders", "warm")  # the server knows the script
    with proxy.counting() as count:
        assert app.test_client().get("/").text == "1"
    assert count.trips == 3


def test_a_session_and_a_transaction_share_a_request(shop: Opened, proxy: Proxy) -> None:
    app, kit = shop
    app.secret_key = "of tests"
    app.session_interface = RedisSessionInterface(kit)

    @app.get("/buy")
    def buy() -> str:
        session["bought"] = session.get("bought", 0) + 1
        with kit.transaction() as tx:
            tx.queue.enqueue("pack", {"number": session["bought"]})
        return str(session["bought"])

    client = app.test_client()
    for expected in ("1", "2"):  # from then on the server knows the scripts
        assert client.get("/buy").text == expected
    with proxy.counting() as count:
        assert client.get("/buy").text == "3"
    assert count.trips == 3  # load, transaction, save


def test_an_async_view_has_transactions_too(shop: Opened) -> None:
    pytest.importorskip("asgiref")
    app, kit = shop

    @app.get("/")
    async def view() -> str:
        with kit.transaction() as tx:
            counted = tx.counter.add("a")
        return str(counted.value)

    assert [app.test_client().get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_requests_in_threads_do_not_mix(shop: Opened) -> None:
    app, kit = shop

    @app.get("/<name>/<int:times>")
    def view(name: str, times: int) -> str:
        with kit.transaction() as tx:
            results: list[Any] = [tx.execute("ECHO", f"{name}{n}") for n in range(times)]
        assert [result.value for result in results] == [f"{name}{n}".encode() for n in range(times)]
        return "right"

    answers: list[str] = []

    def ask(name: str) -> None:
        for n in range(50):
            answers.append(app.test_client().get(f"/{name}/{n}").text)

    threads = [threading.Thread(target=ask, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["right"] * 300


# values of the cache


def test_a_value_is_stored_with_the_rest(shop: Opened, proxy: Proxy) -> None:
    _, kit = shop
    assert kit.cache.get("price") is None
    with proxy.counting() as count, kit.transaction() as tx:
        stored = tx.cache.set("price", 12, ttl=60, tags=["product:7"])
        tx.counter.add("a")
    assert count.trips == 1
    assert stored.value is True
    assert kit.cache.get("price") == 12
    kit.cache.invalidate_tags("product:7")
    assert kit.cache.get("price") is None


def test_without_a_look_before_it_a_value_costs_one_trip_more(shop: Opened, proxy: Proxy) -> None:
    _, kit = shop
    kit.cache.set("any", 1)  # the server knows the scripts
    for _ in range(2):
        with proxy.counting() as count, kit.transaction() as tx:
            stored = tx.cache.set("price", 12)
        assert count.trips == 2
        assert stored.value is True
    assert kit.cache.get("price") == 12


def test_a_value_that_was_invalidated_since_the_look_is_not_stored(shop: Opened) -> None:
    _, kit = shop
    assert kit.cache.get("price") is None
    kit.cache.invalidate_tags("product:7")
    with kit.transaction() as tx:
        stored = tx.cache.set("price", 12, tags=["product:7"])
        counted = tx.counter.add("a")
    assert (stored.value, counted.value) == (False, 1)
    assert kit.cache.get("price") is None


def test_a_look_still_holds_after_a_block_that_failed(shop: Opened) -> None:
    """Else what was invalidated meanwhile would be stored by the next attempt."""
    _, kit = shop

    def block() -> None:
        with kit.transaction() as tx:
            tx.cache.set("price", 12, tags=["product:7"])
            raise ValueError("no")

    assert kit.cache.get("price") is None
    with pytest.raises(ValueError, match="no"):
        block()
    kit.cache.invalidate_tags("product:7")
    assert kit.cache.set("price", 12, tags=["product:7"]) is False


def test_what_the_block_invalidated_is_not_stored_in_it(shop: Opened) -> None:
    _, kit = shop

    def block(tags: list[str]) -> None:
        with kit.transaction() as tx:
            tx.cache.invalidate_tags("product:7")
            tx.cache.delete("name")
            tx.cache.set("price" if tags else "name", 12, tags=tags)

    for tags in (["product:7"], []):
        with pytest.raises(TransactionMisused, match="after the block"):
            block(tags)
    with pytest.raises(CodecError), kit.transaction() as tx:
        tx.cache.set("price", object())


def test_an_invalidation_that_is_half_of_a_transaction_holds(
    shop: Opened, redis_client: redis.Redis
) -> None:
    _, kit = shop

    @kit.cache.cache_result(key_prefix="stock", tags=["stock"])
    def stock() -> int:
        return int(redis_client.get("stock") or 0)

    for n in range(1, 20):
        with kit.transaction() as tx:
            tx.execute("SET", "stock", n, "EX", 60)
            tx.cache.invalidate_tags("stock")
        assert stock() == n
        assert stock() == n
