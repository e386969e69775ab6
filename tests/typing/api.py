"""What users' type checkers see: checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

import redis
from flask import Flask

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result, rate_limit
from flask_redis_kit.events import Publication
from flask_redis_kit.queue import JobStatus

app = Flask("typed")
kit = RedisKit(app)
app.session_interface = RedisSessionInterface(kit)


@cache_result(ttl=60, tags=["book:{book_id}"])
def price(book_id: int, currency: str = "EUR") -> float:
    return 1.0


@rate_limit(limit=10, window=60)
def search(words: str) -> list[str]:
    return [words]


@kit.queue.task
def send(order: int) -> bool:
    return order > 0


@kit.cache.cache_result(key_prefix="slow")
async def slow(n: int) -> str:
    return str(n)


async def awaited() -> None:
    assert_type(await slow(1), str)


assert_type(price(1, currency="USD"), float)
assert_type(search("a"), list[str])
assert_type(send(7), bool)
assert_type(kit.client, redis.Redis)
assert_type(kit.cache.invalidate_tags("a"), int)
assert_type(kit.events.publish_to_user(42, "paid", {"id": 7}), Publication)
assert_type(kit.queue.enqueue(send, {"order": 7}), str)
assert_type(kit.queue.job("default.1"), JobStatus)
with kit.transaction() as tx:
    tx.cache.invalidate_tags("book:7")
    stored = tx.cache.set("a", 1)
    told = tx.events.publish_to_user(42, "paid", {"id": 7})
    job = tx.queue.enqueue(send, {"order": 7})
    jobs = tx.queue.enqueue_many([(send, {"order": 8})])
    tx.execute("SET", "a", 1)
assert_type(stored.value, bool)
assert_type(told.result(), Publication)
assert_type(job.value, str)
assert_type(jobs.value, list[str])
price("one")  # type: ignore[arg-type]  # a wrong argument is seen through the decorator
search()  # type: ignore[call-arg]
