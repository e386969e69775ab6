"""Transactions when something fails: what applied is named, and nothing is ever sent twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from flask_redis_kit import (
    CircuitOpen,
    ServerUnavailable,
    TransactionError,
    TransactionPartial,
    TransactionRefused,
    TransactionUncertain,
)
from flask_redis_kit.core.errors import PoolExhausted
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.events import BrokenChannel
from flask_redis_kit.queue import QueueDamaged
from tests.core.counter import CounterFeature
from tests.core.transacting import Shop, kit, shop, shop_at
from tests.harness.leaks import Spec
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until

__all__ = ["kit", "shop"]


def count_up(kit: Shop) -> Any:
    """A transaction that must not run twice."""
    with kit.transaction() as tx:
        counted: Any = tx.counter.add("a")
    return counted.value


def test_what_failed_and_what_applied_is_named(kit: Shop, redis_client: redis.Redis) -> None:
    redis_client.set("text", "x", ex=60)
    results: list[Any] = []

    def block() -> None:
        with kit.transaction() as tx:
            results.append(tx.counter.add("a"))
            results.append(tx.execute("LPUSH", "text", "y"))
            results.append(tx.execute("APPEND", "text", "z"))
            results.append(tx.cache.invalidate_tags("product:7"))

    with pytest.raises(TransactionPartial) as caught:
        block()
    partial = caught.value
    assert partial.failed == ("LPUSH 'text'",)
    assert partial.applied == (
        "counter.add('a')",
        "APPEND 'text'",
        "cache.invalidate_tags('product:7')",
    )
    message = str(partial)
    assert "Failed: LPUSH 'text' (WRONGTYPE" in message
    assert "Applied: counter.add('a'); APPEND 'text'; cache" in message
    assert [outcome.error is None for outcome in partial.outcomes] == [True, False, True, True]
    assert [partial.outcomes[n].result() for n in (0, 2, 3)] == [1, 2, 1]
    assert isinstance(partial, (TransactionError, *FAILURES))
    assert [results[n].value for n in (0, 2, 3)] == [1, 2, 1]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        results[1].result()
    assert redis_client.get("text") == b"xz"
    assert kit.counter.read("a") == 1


def test_a_part_of_one_call_is_told_apart(kit: Shop, redis_client: redis.Redis) -> None:
    """counter.add is INCRBY and EXPIRE: the first fails, the second doesn't."""
    redis_client.lpush(kit.counter.engine().key("a"), "x")
    with pytest.raises(TransactionPartial, match="of which a part was applied") as caught:
        count_up(kit)
    assert caught.value.applied == ()
    assert caught.value.failed == ("counter.add('a')",)
    redis_client.delete(kit.counter.engine().key("a"))


def test_features_explain_their_errors(kit: Shop, redis_client: redis.Redis) -> None:
    queue = kit.queue.engine().keys("default")
    channel = kit.events.engine().channels.plain("orders")
    redis_client.set(queue.jobs, "x", ex=60)
    redis_client.set(channel.history, "x", ex=60)
    results: list[Any] = []

    def block() -> None:
        with kit.transaction() as tx:
            results.append(tx.queue.enqueue("pack"))
            results.append(tx.events.publish("orders", "paid"))
            results.append(tx.counter.add("a"))

    with pytest.raises(TransactionPartial, match=r"'default' holds .*channel 'orders'"):
        block()
    with pytest.raises(QueueDamaged):
        results[0].result()
    with pytest.raises(BrokenChannel):
        results[1].result()
    assert results[2].value == 1
    redis_client.delete(queue.jobs, channel.history)


def test_a_queue_that_can_not_be_announced_harms_no_transaction(
    kit: Shop, redis_client: redis.Redis
) -> None:
    names = kit.queue.engine().announcement("default").key
    redis_client.set(names, "not a set", ex=60)
    for _ in range(2):
        with kit.transaction() as tx:
            job = tx.queue.enqueue("pack")
        assert kit.queue.job(job.value).state == "waiting"
    redis_client.delete(names)


@pytest.mark.parametrize(
    "command", [("NOSUCH", "key"), ("GET", "one", "two")], ids=["unknown", "wrong arguments"]
)
def test_a_command_that_the_server_will_not_take_leaves_nothing_applied(
    kit: Shop, redis_client: redis.Redis, command: tuple[str, ...]
) -> None:
    results: list[Any] = []

    def block() -> None:
        with kit.transaction() as tx:
            results.append(tx.counter.add("a"))
            results.append(tx.queue.enqueue("pack"))
            tx.execute(*command)
            tx.execute("SET", "after", 1)

    with pytest.raises(TransactionRefused, match=f"Nothing .* refused {command[0]}") as caught:
        block()
    assert isinstance(caught.value.__cause__, redis.ResponseError)
    for result in results:
        with pytest.raises(TransactionRefused):
            result.result()
    assert redis_client.keys() == []
    assert count_up(kit) == 1  # the connection is clean


def test_a_user_without_multi_is_told_so(own_server: Callable[..., Server]) -> None:
    rules = {"shop": "on >secret ~* &* +@all -multi", "reader": "on >secret ~* +@all -exec -incrby"}
    server = own_server(users=rules)
    with shop_at(server.url_as("shop", "secret")) as (_, kit):
        with pytest.raises(TransactionPartial, match=r"one by one.*\+multi") as caught:
            count_up(kit)
        assert caught.value.applied == ("counter.add('a')",)
    with shop_at(server.url_as("reader", "secret")) as (_, kit):
        with pytest.raises(TransactionRefused, match=r"refused counter\.add\('a'\)"):
            count_up(kit)
        with pytest.raises(TransactionRefused, match="NOPERM"), kit.transaction() as tx:
            tx.execute("SET", "a", 1)
    with server.client() as client:
        assert client.get("a") is None


def test_a_lost_reply_leaves_it_uncertain_and_is_not_sent_again(
    proxy: Proxy, server: Server, extra_keyspace: list[Spec]
) -> None:
    extra_keyspace.extend(CounterFeature.keyspace)
    with shop_at(proxy.url, REDIS_SOCKET_TIMEOUT=1) as (_, kit):
        assert count_up(kit) == 1
        proxy.drop_replies(1)
        results: list[Any] = []

        def block() -> None:
            with kit.transaction() as tx:
                results.append(tx.counter.add("a"))
                results.append(tx.queue.enqueue("pack"))

        with proxy.counting() as count, pytest.raises(TransactionUncertain, match="as a whole or"):
            block()
        assert sum(command == (b"EXEC",) for command in count.commands) == 1
        for result in results:
            with pytest.raises(ServerUnavailable, match="look before you repeat"):
                result.result()
        breaker = kit.connector().breaker
        wait_until(lambda: breaker.state == "closed", what="the breaker to close")
        assert count_up(kit) == 3


@pytest.mark.parametrize("passing", [0, 5, 30])
def test_a_connection_cut_in_the_middle_of_the_replies_leaves_it_uncertain(
    kit: Shop, proxy: Proxy, passing: int
) -> None:
    assert count_up(kit) == 1
    proxy.cut_after(passing)
    with pytest.raises(TransactionUncertain):
        count_up(kit)
    assert kit.counter.read("a") in (1, 2)


def test_what_never_left_is_no_transaction_in_doubt(
    kit: Shop, proxy: Proxy, redis_client: redis.Redis
) -> None:
    count_up(kit)
    proxy.refuse()
    proxy.cut()
    for _ in range(3):
        with pytest.raises(ServerUnavailable) as caught:
            count_up(kit)
        assert not isinstance(caught.value, TransactionUncertain)
    with pytest.raises(CircuitOpen):
        count_up(kit)
    assert int(redis_client.get(kit.counter.engine().key("a")) or 0) == 1


def test_without_a_free_connection_nothing_is_sent(
    server: Server, extra_keyspace: list[Spec]
) -> None:
    extra_keyspace.extend(CounterFeature.keyspace)
    with shop_at(server.url, REDIS_MAX_CONNECTIONS=1, REDIS_POOL_TIMEOUT=0.01) as (_, kit):
        pool = kit.connector().pool
        held = pool.get_connection()
        with pytest.raises(PoolExhausted):
            count_up(kit)
        pool.release(held)
        assert count_up(kit) == 1


def test_a_server_killed_in_the_middle_has_applied_all_or_nothing(
    own_server: Callable[..., Server],
) -> None:
    server = own_server(append_only=True, args=["--appendfsync", "always"])
    outcomes: Counter[str] = Counter()
    began = threading.Barrier(5)

    def write() -> None:
        with shop_at(server.url, REDIS_BREAKER_FAILURES=1000) as (_, kit):
            began.wait()
            for _ in range(100_000):
                try:
                    with kit.transaction() as tx:
                        tx.execute("INCR", "left")
                        tx.queue.enqueue("pack")
                        tx.execute("INCR", "right")
                except TransactionUncertain:
                    outcomes["uncertain"] += 1
                except ServerUnavailable:
                    return
                else:
                    outcomes["applied"] += 1

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    began.wait()
    wait_until(lambda: outcomes["applied"] > 100, what="transactions to be applied")
    server.kill()
    for thread in threads:
        thread.join()
    server.start()
    with server.client() as client:
        left, right = int(client.get("left") or 0), int(client.get("right") or 0)
    with shop_at(server.url) as (_, kit):
        jobs = kit.queue.stats()[0].normal
    assert left == right == jobs
    assert outcomes["applied"] <= left <= outcomes["applied"] + outcomes["uncertain"]
