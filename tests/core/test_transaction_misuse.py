"""What a transaction can't do is refused with the cure, and nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_redis_kit import TransactionMisused
from flask_redis_kit.events.errors import EventDataError
from tests.core.transacting import Opened, Shop, kit, shop, shop_at
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

__all__ = ["kit", "shop"]


def test_bad_input_is_refused_where_it_stands_and_nothing_is_sent(kit: Shop, proxy: Proxy) -> None:
    @kit.queue.task
    def pack(order: int) -> None:
        pass

    def publish_a_set(tx: Any) -> None:
        tx.events.publish("orders", "paid", {1, 2})

    bad: list[tuple[Callable[[Any], object], type[Exception], str]] = [
        (publish_a_set, EventDataError, "data"),
        (lambda tx: tx.queue.enqueue(pack, {"box": 1}), TypeError, "payload"),
        (lambda tx: tx.cache.invalidate_tags(7), TypeError, "tag"),
        (lambda tx: tx.cache.delete(7), TypeError, "cache key"),
        (lambda tx: tx.execute(), TypeError, "takes a command"),
        (lambda tx: tx.execute("SET", "a", None), TypeError, "SET 'a': Redis takes .*not None"),
        (lambda tx: tx.execute("SET", "a", True), TypeError, "SET 'a': Redis takes .*not True"),
    ]

    def attempt(call: Callable[[Any], object]) -> None:
        with kit.transaction() as tx:
            tx.counter.add("a")
            call(tx)

    for call, error, message in bad:
        with proxy.counting() as count, pytest.raises(error, match=message):
            attempt(call)
        assert count.trips == 0


def test_a_result_inside_the_block_is_refused_with_the_reason(kit: Shop) -> None:
    for read in (lambda r: r.value, lambda r: r.result(), bool):
        with pytest.raises(TransactionMisused, match=r"counter\.add\('a'\).*block"):  # noqa: SIM117
            with kit.transaction() as tx:
                read(tx.counter.add("a"))
    assert kit.counter.read("a") == 0


def test_blocks_are_not_nested_but_other_threads_and_tasks_have_theirs(kit: Shop) -> None:
    with kit.transaction() as tx:
        tx.counter.add("outer")
        with pytest.raises(TransactionMisused, match="Use the outer"), kit.transaction():
            pytest.fail("the inner block ran")
        state = kit.state()

        def elsewhere() -> int:
            with state.app.app_context():
                with kit.transaction() as other:
                    counted: Any = other.counter.add("other")
                value: int = counted.value
                return value

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(elsewhere).result() == 1

        async def as_a_thread() -> int:
            return await asyncio.to_thread(elsewhere)  # with a copy of this context

        assert asyncio.run(as_a_thread()) == 2
    assert kit.counter.read("outer") == 1
    with kit.transaction() as after:
        again = after.counter.add("outer")
    assert again.value == 2


def test_a_block_that_failed_does_not_count_as_open(kit: Shop) -> None:
    with pytest.raises(ZeroDivisionError), kit.transaction():
        _ = 1 / 0
    with kit.transaction() as tx:
        counted = tx.counter.add("a")
    assert counted.value == 1


def test_tasks_of_one_thread_have_a_block_each(kit: Shop) -> None:
    async def work(name: str, met: asyncio.Barrier) -> int:
        with kit.transaction() as tx:
            await met.wait()  # all blocks are open
            counted = tx.counter.add(name)
            await met.wait()
        value: int = counted.value
        return value

    async def main() -> list[int]:
        met = asyncio.Barrier(3)
        return await asyncio.gather(*(work(name, met) for name in "abc"))

    assert asyncio.run(main()) == [1, 1, 1]


def test_a_transaction_has_one_block_and_works_in_it_alone(kit: Shop) -> None:
    tx = kit.transaction()
    with pytest.raises(TransactionMisused, match="before the block"):
        tx.execute("SET", "a", 1)
    with tx:
        pass
    with pytest.raises(TransactionMisused, match="after the block"):
        tx.counter.add("a")
    with pytest.raises(TransactionMisused, match="Begin another"), tx:
        pass


def test_features_that_take_no_part_say_so(kit: Shop, proxy: Proxy) -> None:
    for name in ("ratelimit", "sessions"):
        with (
            proxy.counting() as count,
            pytest.raises(TransactionMisused, match=f"'{name}' takes no part"),
            kit.transaction() as tx,
        ):
            getattr(tx, name)
        assert count.trips == 0
    with pytest.raises(AttributeError, match="no 'caches'"), kit.transaction() as tx:
        tx.caches  # noqa: B018  # the access is the test


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        (("EXEC",), "MULTI and EXEC by itself"),
        (("watch", "a"), "MULTI and EXEC by itself"),
        (("SELECT", 3), "a client of your own"),
        (("CLIENT", "REPLY", "OFF"), "a client of your own"),
        (("EVALSHA", "0" * 40, 0), "EVAL and the source"),
        (("WAIT", 1, 0), "after the block"),
        (("CONFIG GET", "save"), "'CONFIG', 'GET'"),
    ],
)
def test_commands_that_would_break_a_transaction_are_refused(
    kit: Shop, command: Any, cure: str
) -> None:
    with pytest.raises(TransactionMisused, match=cure), kit.transaction() as tx:
        tx.execute(*command)


def test_features_on_different_servers_are_refused_with_both_names(
    shop: Opened, server: Server, own_server: Callable[..., Server], proxy: Proxy
) -> None:
    other = own_server()
    with shop_at(proxy.url, REDIS_QUEUE_URL=other.url) as (_, kit):

        def mix(first: Callable[[Any], object], second: Callable[[Any], object]) -> None:
            with kit.transaction() as tx:
                first(tx)
                second(tx)

        def enqueue(tx: Any) -> None:
            tx.queue.enqueue("pack")

        with proxy.counting() as count, pytest.raises(TransactionMisused) as caught:
            mix(lambda tx: tx.cache.invalidate_tags("a"), enqueue)
        assert f"cache is on 127.0.0.1:{proxy.port}" in str(caught.value)
        assert f"queue is on 127.0.0.1:{other.port}" in str(caught.value)
        assert count.trips == 0
        with pytest.raises(TransactionMisused, match=r"execute\(\) is on"):
            mix(enqueue, lambda tx: tx.execute("SET", "a", 1))
        with kit.transaction() as tx:
            job = tx.queue.enqueue("pack")
        assert kit.queue.job(job.value).state == "waiting"
