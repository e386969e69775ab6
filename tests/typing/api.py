"""What users' type checkers see: checked by mypy, never run."""

from __future__ import annotations

import asyncio
from typing import assert_type

import redis
from flask import Flask
from flask.views import MethodView
from sqlalchemy.orm import sessionmaker

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result, rate_limit
from flask_redis_kit.events import Publication
from flask_redis_kit.queue import JobStatus
from flask_redis_kit.ratelimit import EXEMPT, RateLimitResult, concurrency_limit

app = Flask("typed")
kit = RedisKit(app)
app.session_interface = RedisSessionInterface(kit)


@cache_result(ttl=60, tags=["book:{book_id}"])
def price(book_id: int, currency: str = "EUR") -> float:
    return 1.0


@rate_limit(limit=10, window=60)
def search(words: str) -> list[str]:
    return [words]


@rate_limit("10/minute;200/day", cost=2, methods=["GET"], on_error="local", algorithm="auto")
@kit.ratelimit.rate_limit(lambda: EXEMPT, key_func=lambda: ("user", 7))
@concurrency_limit(3, lease=5)
async def report(month: int) -> bytes:
    return b""


@app.get("/shelves/<int:number>")
@rate_limit(limit=10, window=60)
@cache_result(ttl=60)
def shelf(number: int) -> list[str]:
    return [str(number)]


@rate_limit(limit=10, window=60)
class Shelves(MethodView):
    def get(self) -> str:
        return "all"


@kit.queue.task
def send(order: int) -> bool:
    return order > 0


@kit.cache.cache_result(key_prefix="slow")
async def slow(n: int) -> str:
    return str(n)


class Shop:
    @cache_result(ignore=("self",), vary=lambda: 7, ttl=lambda result: len(result) or None)
    def name(self, product_id: int, *, lang: str = "en") -> str:
        return f"{product_id} {lang}"

    @kit.cache.cache_result(tags=["prices", lambda result: str(result)], exceptions=KeyError)
    async def price(self, product_id: int) -> float:
        return float(product_id)


shop = Shop()


async def awaited() -> None:
    assert_type(await slow(1), str)
    assert_type(await report(1), bytes)
    await report("May")  # type: ignore[arg-type]
    assert_type(await slow.refresh(1), str)
    assert_type(await slow.cached_many([1, 2]), list[str])
    assert_type(await kit.cache.get_or_set("k", asyncio.Queue[int]().get), int)
    assert_type(await shop.price(1), float)
    assert_type(await shop.price.cached_many([1]), list[float])


assert_type(price.refresh(1), float)
assert_type(shelf(1), list[str])
shelf.invalidate(1)
shelf("one")  # type: ignore[arg-type]
Shelves.as_view("shelves")
assert_type(price.cached_many([1, (2, "USD")]), list[float])
assert_type(price.cache_key(1), str)
assert_type(price.uncached(1), float)
price.invalidate(1, currency="USD")
price.invalidate("one")  # type: ignore[arg-type]
price.invalidate_all(soft=True)
assert_type(shop.name(1, lang="de"), str)
assert_type(shop.name.refresh(1), str)
assert_type(shop.name.cached_many([1]), list[str])
shop.name.invalidate(1)
shop.name("one")  # type: ignore[arg-type]
shop.name.invalidate("one")  # type: ignore[arg-type]
kit.cache.tag("a", "b")
cache_result(tll=5)  # type: ignore[call-arg]


assert_type(price(1, currency="USD"), float)
assert_type(search("a"), list[str])
assert_type(send(7), bool)
assert_type(kit.client, redis.Redis)
assert_type(kit.cache.invalidate_tags("a"), int)
assert_type(kit.cache.get_or_set("k", lambda: 1), int)
assert_type(kit.cache.set_many({"a": 1}, ttl=60), dict[str, bool])
assert_type(kit.cache.incr("n"), int)
kit.cache.set("k", 1, codec=7)  # type: ignore[arg-type]
kit.cache.bind_sqlalchemy(sessionmaker(), lambda row: [f"row:{row}"])
assert_type(kit.ratelimit.check("5/minute", key=7).remaining, int)
assert_type(kit.ratelimit.peek(search).decision.results, tuple[RateLimitResult, ...])
rate_limit(5, on_error="ignore")  # type: ignore[arg-type]
rate_limit(5, per_method=True)  # type: ignore[call-arg]
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
