"""Transactions: one trip for everything in the block, nothing of it when the block raises."""

from __future__ import annotations

import multiprocessing
import threading
from itertools import islice
from typing import Any

import pytest
import redis
from flask import Flask, abort

from flask_redis_kit import RedisKit, TransactionMisused
from flask_redis_kit.events import Publication
from tests.core.counter import CounterFeature
from tests.core.transacting import Opened, Shop, kit, make_shop, shop, shop_at
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy
from tests.harness.servers import Server, free_port

__all__ = ["kit", "shop"]


def test_everything_in_the_block_is_one_round_trip(
    kit: Shop, proxy: Proxy, redis_client: redis.Redis
) -> None:
    kit.cache.set("price", 12, tags=["product:7"])
    kit.cache.set("name", "lamp")
    before = kit.events.cursor(user=42)
    with proxy.counting() as count, kit.transaction() as tx:
        invalidated = tx.cache.invalidate_tags("product:7", "product:8", "product:7")
        deleted = tx.cache.delete("name")
        told = tx.events.publish_to_user(42, "order_paid", {"id": 7})
        tx.events.publish("orders", "paid")
        tx.events.publish_broadcast("sold")
        job = tx.queue.enqueue("send_receipt", {"order": 7})
        jobs = tx.queue.enqueue_many([("pack", {"order": n}) for n in range(1500)])
        counted = tx.counter.add("orders")
        stock = tx.execute("INCRBY", "stock", 3)
        read = tx.execute("GET", b"stock")
    assert count.trips == 1
    assert (count.commands[0], count.commands[-1]) == ((b"MULTI",), (b"EXEC",))
    assert b"EVALSHA" not in {command[0] for command in count.commands}
    assert (invalidated.value, deleted.value, counted.value) == (2, True, 1)
    assert (stock.result(), read.result()) == (3, b"3")
    assert isinstance(told.value, Publication)
    with kit.events.subscribe(user=42, after=before) as events:
        assert {event.type for event in islice(events, 2)} == {"order_paid", "sold"}
    assert kit.queue.job(job.value).state == "waiting"
    assert len(set(jobs.value)) == 1500
    assert [(queue.queue, queue.normal) for queue in kit.queue.stats()] == [("default", 1501)]
    assert kit.cache.get("price") is None
    assert kit.cache.get("name") is None
    redis_client.delete("stock")


def test_an_exception_in_the_block_sends_nothing_and_goes_on(kit: Shop, proxy: Proxy) -> None:
    class Rollback(BaseException):
        pass

    results: list[Any] = []

    def fail(error: BaseException) -> None:
        with kit.transaction() as tx:
            results.append(tx.counter.add("a"))
            raise error

    for error in (ValueError("no"), Rollback(), KeyboardInterrupt()):
        with proxy.counting() as count, pytest.raises(type(error)) as caught:
            fail(error)
        assert caught.value is error
        assert count.connections == count.trips == 0
        with pytest.raises(TransactionMisused, match=f"block raised {type(error).__name__}"):
            results[-1].result()
    assert kit.counter.read("a") == 0


def test_an_empty_block_sends_nothing(kit: Shop, proxy: Proxy) -> None:
    with proxy.counting() as count:
        with kit.transaction():
            pass
        with kit.transaction() as tx:
            none = tx.queue.enqueue_many([])
            also = tx.cache.invalidate_tags()
    assert (none.value, also.value) == ([], 0)
    assert (count.trips, count.connections) == (0, 0)


def test_what_is_switched_off_is_left_out(server: Server, proxy: Proxy) -> None:
    off = {f"REDIS_{name}_ENABLED": False for name in ("CACHE", "EVENTS", "QUEUE")}
    with shop_at(proxy.url, **off) as (_, kit):
        with proxy.counting() as count, kit.transaction() as tx:
            results: list[Any] = [
                tx.cache.invalidate_tags("a"),
                tx.cache.delete("a"),
                tx.cache.set("a", 1),
                tx.events.publish("orders", "paid"),
            ]
            job = tx.queue.enqueue("pack")
        assert count.trips == 0
        assert [result.value for result in results] == [0, False, False, Publication("0-0", 0)]
        assert job.value.startswith("default.")


def test_two_applications_of_a_kit_do_not_meet(server: Server, extra_keyspace: list[Spec]) -> None:
    extra_keyspace.extend(CounterFeature.keyspace)
    kit = make_shop()
    apps = []
    for name, step in (("one", "5"), ("two", "1")):
        apps.append(Flask(name))
        apps[-1].config.update(REDIS_URL=server.url, REDIS_COUNTER_STEP=step)
        kit.init_app(apps[-1])
    one, two = apps
    for app, value in ((one, 5), (two, 1)):
        with app.app_context():
            with kit.transaction() as tx:
                counted = tx.counter.add("a")
                tx.queue.enqueue("pack")
            assert counted.value == value
            assert [queue.normal for queue in kit.queue.stats()] == [1]
    with (
        one.app_context(),
        pytest.raises(TransactionMisused, match="application 'one'"),
        kit.transaction() as tx,
        two.app_context(),
    ):
        tx.counter.add("a")
    for app in apps:
        with app.app_context():
            kit.close()


def test_an_absent_server_is_an_error_and_nothing_is_half_done() -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    kit = RedisKit(app)
    with (
        app.app_context(),
        pytest.raises(redis.ConnectionError, match="No Redis or Valkey"),
        kit.transaction() as tx,
    ):
        job = tx.queue.enqueue("pack")
    with pytest.raises(redis.ConnectionError):
        job.result()


def _transfer(url: str, rounds: int) -> None:
    with shop_at(url) as (_, kit):
        for _ in range(rounds):
            with kit.transaction() as tx:
                tx.execute("INCR", "left")
                tx.counter.add("middle")
                tx.execute("INCR", "right")


def test_a_reader_never_sees_half_of_it(shop: Opened, redis_client: redis.Redis) -> None:
    app, kit = shop
    url = app.config["REDIS_URL"]
    rounds = 150
    workers: list[Any] = [threading.Thread(target=_transfer, args=(url, rounds)) for _ in range(2)]
    context = multiprocessing.get_context("spawn")
    workers += [context.Process(target=_transfer, args=(url, rounds)) for _ in range(2)]
    for worker in workers:
        worker.start()
    middle = kit.counter.engine().key("middle")
    seen = set()
    while any(worker.is_alive() for worker in workers):
        reader = redis_client.pipeline(transaction=True)
        for key in ("left", middle, "right"):
            reader.get(key)
        values = reader.execute()
        assert len(set(values)) == 1, values
        seen.add(values[0])
    for worker in workers:
        worker.join()
    assert len(seen) > 10
    assert redis_client.get(middle) == str(4 * rounds).encode()
    redis_client.delete("left", "right")


def test_flushed_scripts_change_nothing(shop: Opened, proxy: Proxy, server: Server) -> None:
    _, kit = shop
    ended = threading.Event()

    def flush() -> None:
        with server.client() as client:
            while not ended.is_set():
                client.script_flush()

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        with proxy.counting() as count:
            for _ in range(30):
                with kit.transaction() as tx:
                    tx.queue.enqueue("pack", {"a": 1})
                    tx.cache.invalidate_tags("a")
                    tx.events.publish("orders", "paid")
                    tx.queue.enqueue("send")
        assert count.trips == 30
    finally:
        ended.set()
        flushing.join()
    assert [queue.normal for queue in kit.queue.stats()] == [60]


def test_a_view_that_aborts_has_sent_nothing(shop: Opened) -> None:
    app, kit = shop

    @app.post("/buy")
    def buy() -> str:
        with kit.transaction() as tx:
            tx.counter.add("sold")
            if kit.counter.read("sold") == 0:
                abort(409)
        return "bought"

    assert app.test_client().post("/buy").status_code == 409
    assert kit.counter.read("sold") == 0
