"""Coroutine functions: awaited, not blocking each other, and seen as what they are."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from flask import Flask
from flask.views import MethodView

from flask_redis_kit import RedisKit, cache_result
from tests.cache.test_route import was_hit


def test_it_is_a_coroutine_function_for_everybody(kit: RedisKit) -> None:
    """Flask-Caching's isn't: Flask then runs it as if it were blocking."""

    @kit.cache.cache_result()
    async def later() -> int:
        return 1

    @kit.cache.cache_result()
    def now() -> int:
        return 1

    assert inspect.iscoroutinefunction(later)
    assert asyncio.iscoroutinefunction(later)
    assert not inspect.iscoroutinefunction(now)


def test_a_cached_coroutine_function_in_an_async_view(kit: RedisKit, app: Flask) -> None:
    """Flask-Caching: "You cannot use AsyncToSync in the same thread"."""
    calls: list[str] = []

    @kit.cache.cache_result()
    async def name(n: int) -> str:
        calls.append("name")
        await asyncio.sleep(0)
        return f"name {n}"

    @app.get("/<int:n>")
    async def page(n: int) -> str:
        return await name(n)

    client = app.test_client()
    assert client.get("/1").text == client.get("/1").text == "name 1"
    assert calls == ["name"]


def test_a_cached_async_view(kit: RedisKit, app: Flask) -> None:
    @app.get("/<int:n>")
    @kit.cache.cache_result(tags=["n:{n}"])
    async def page(n: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": n}

    client = app.test_client()
    assert client.get("/1").json == {"n": 1}
    assert was_hit(client.get("/1"))
    page.invalidate(1)
    assert not was_hit(client.get("/1"))


class Item(MethodView):
    @cache_result()
    async def get(self, n: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": n}


def test_an_async_method_of_a_view_class(kit: RedisKit, app: Flask) -> None:
    app.add_url_rule("/<int:n>", view_func=Item.as_view("item"))
    client = app.test_client()
    assert client.get("/1").json == client.get("/1").json == {"n": 1}
    assert was_hit(client.get("/1"))


def test_tasks_that_want_the_same_value_compute_it_once_and_do_not_block_others(
    kit: RedisKit,
) -> None:
    calls: list[int] = []
    ticks: list[int] = []

    @kit.cache.cache_result()
    async def slow(n: int) -> int:
        calls.append(n)
        while len(ticks) < 5:  # another task must run meanwhile
            await asyncio.sleep(0.001)
        return n

    async def tick() -> None:
        for n in range(5):
            ticks.append(n)
            await asyncio.sleep(0.001)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(slow(1) for _ in range(10)), tick())

    assert asyncio.run(all_of_them())[:10] == [1] * 10
    assert calls == [1]


def test_a_cancelled_computation_gives_its_lease_back(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    async def value() -> int:
        calls.append(1)
        if len(calls) == 1:
            await asyncio.sleep(60)
        return len(calls)

    async def all_of_it() -> int:
        first = asyncio.create_task(value())
        while not calls:
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await value()

    assert asyncio.run(all_of_it()) == 2


def test_an_exception_is_kept_and_raised_in_the_task(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(exceptions=KeyError)
    async def fails() -> int:
        calls.append(1)
        raise KeyError("x")

    for _ in range(2):
        with pytest.raises(KeyError):
            asyncio.run(fails())
    assert len(calls) == 1
