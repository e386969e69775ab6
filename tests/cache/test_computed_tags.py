"""Tags made of a result, and tags added while it is computed."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from flask import Flask

from flask_redis_kit import ConfigError, RedisKit
from flask_redis_kit.cache import running
from tests.cache.conftest import MakeKit
from tests.cache.test_route import was_hit
from tests.harness.proxy import Proxy


def test_functions_make_tags_of_the_result(kit: RedisKit) -> None:
    calls: list[str] = []

    def rows(result: dict[str, Any]) -> list[str]:
        return [f"row:{row}" for row in result["rows"]]

    @kit.cache.cache_result(tags=["searches", rows, lambda result: f"user:{result['user']}"])
    def search(words: str) -> dict[str, Any]:
        calls.append(words)
        return {"rows": [1, 2], "user": 7}

    for tag in ("row:2", "user:7", "searches"):
        search("a")
        kit.cache.invalidate_tags("row:3", "user:8")
        search("a")
        kit.cache.invalidate_tags(tag)
    search("a")
    assert calls == ["a"] * 4


def test_a_tag_is_added_while_computing(kit: RedisKit, proxy: Proxy) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def order(number: int) -> str:
        calls.append(number)
        kit.cache.tag(f"order:{number}", "orders")
        return "ordered"

    assert order(9) == "ordered"
    with proxy.counting() as count:
        assert order(9) == "ordered"
    assert count.trips == 1
    kit.cache.invalidate_tags("order:9")
    order(9)
    kit.cache.invalidate_tags("orders")
    order(9)
    assert calls == [9, 9, 9]


def test_another_process_learns_the_added_tags(
    make_kit: MakeKit, proxy: Proxy, redis_url: str
) -> None:
    calls: list[str] = []

    def of(kit: RedisKit) -> Any:
        @kit.cache.cache_result("shared")
        def value() -> str:
            calls.append("x")
            kit.cache.tag("added")
            return "x"

        return value

    one, two = make_kit(redis_url), make_kit(proxy.url)
    of(one)()
    other = of(two)
    for trips in (2, 1):  # the tag that it didn't know costs one trip more, once
        with proxy.counting() as count:
            other()
        assert count.trips == trips
    one.cache.invalidate_tags("added")
    other()
    assert calls == ["x", "x"]


def test_tags_that_come_with_a_value_of_another_process_reach_the_outer_function(
    make_kit: MakeKit, redis_url: str
) -> None:
    calls: list[str] = []

    def of(kit: RedisKit) -> Any:
        @kit.cache.cache_result("shared")
        def inner() -> str:
            kit.cache.tag("added")
            return "x"

        return inner

    one, two = make_kit(redis_url), make_kit(redis_url)
    inner = of(two)

    @two.cache.cache_result("outer")
    def outer() -> str:
        calls.append("outer")
        return str(inner())

    of(one)()
    outer()
    one.cache.invalidate_tags("added")
    outer()
    assert calls == ["outer", "outer"]


def test_a_tag_reaches_the_outer_functions_be_the_inner_one_a_hit_or_a_miss(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result(tags=["declared:{n}", lambda result: f"made:{result}"])
    def inner(n: int) -> int:
        calls.append("inner")
        kit.cache.tag(f"added:{n}")
        return n

    @kit.cache.cache_result()
    def middle(n: int) -> int:
        calls.append("middle")
        return inner(n)

    @kit.cache.cache_result()
    def outer(n: int) -> int:
        calls.append("outer")
        return middle(n)

    for tag in ("declared:1", "added:1", "made:1"):
        for warm in (lambda: None, lambda: inner(1), lambda: middle(1)):
            warm()
            assert outer(1) == 1
            del calls[:]
            assert outer(1) == 1
            assert calls == []
            kit.cache.invalidate_tags(tag)
            assert outer(1) == 1
            assert calls == ["outer", "middle", "inner"]
            kit.cache.invalidate_tags(tag)


def test_an_outer_value_depends_on_its_inner_values_tags_not_on_their_keys(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result("inner")
    def inner() -> int:
        calls.append("inner")
        return 1

    @kit.cache.cache_result()
    def outer() -> int:
        calls.append("outer")
        return inner()

    for warm in (lambda: None, inner):  # computed, and found
        kit.cache.clear()
        warm()
        outer()
        inner.invalidate()
        outer()
    assert calls == ["outer", "inner", "inner", "outer"]


def test_an_invalidation_while_the_outer_one_computes_reaches_it(kit: RedisKit) -> None:
    truth = ["old"]

    @kit.cache.cache_result(tags=["truth"])
    def inner() -> str:
        return truth[0]

    @kit.cache.cache_result()
    def outer() -> str:
        value = inner()
        if truth[0] == "old":
            truth[0] = "new"
            kit.cache.invalidate_tags("truth")
        return value

    inner()
    assert outer() == "old"
    assert outer() == outer() == "new"


def test_tags_stay_with_the_computation_they_were_added_in(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result()
    def one() -> int:
        kit.cache.tag("of-one")
        return 1

    @kit.cache.cache_result()
    def two() -> int:
        calls.append("two")
        return 2

    kit.cache.tag("of nobody")
    one()
    two()
    kit.cache.invalidate_tags("of-one", "of nobody")
    two()
    assert calls == ["two"]


def test_a_computation_that_fails_leaves_nothing_behind(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result()
    def fails() -> int:
        kit.cache.tag("of-failure")
        raise LookupError

    @kit.cache.cache_result()
    def outer() -> int:
        calls.append("outer")
        with pytest.raises(LookupError):
            fails()
        kit.cache.tag("of-outer")
        return 1

    outer()
    kit.cache.tag("of nobody")
    kit.cache.invalidate_tags("of nobody")
    outer()
    kit.cache.invalidate_tags("of-failure")  # it was a part of how the outer value came about
    outer()
    assert calls == ["outer", "outer"]


def test_nothing_runs_after_a_call(kit: RedisKit) -> None:
    """Or a thread that lives long would keep all it has ever computed."""

    @kit.cache.cache_result()
    def value(n: int) -> int:
        assert running._running.get() is not None
        return 1 // n

    value(1)
    assert running._running.get() is None
    with pytest.raises(ZeroDivisionError):
        value(0)
    assert running._running.get() is None


def test_threads_and_tasks_have_computations_of_their_own(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result()
    def value(name: str) -> str:
        calls.append(name)
        kit.cache.tag(f"tag:{name}")
        return name

    @kit.cache.cache_result("later")
    async def later(name: str) -> str:
        calls.append(name)
        await asyncio.sleep(0)
        kit.cache.tag(f"tag:{name}")
        return name

    async def all_later() -> None:
        await asyncio.gather(*(later(name) for name in "cd"))

    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(value, "ab"))
        asyncio.run(all_later())
        kit.cache.invalidate_tags("tag:a", "tag:c")
    assert sorted(calls) == ["a", "a", "b", "c", "c", "d"]


def test_tasks_started_while_computing_add_their_tags_to_it(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result()
    async def page() -> int:
        calls.append("page")

        async def part(n: int) -> int:
            await asyncio.sleep(0)
            kit.cache.tag(f"part:{n}")
            return n

        return sum(await asyncio.gather(*(part(n) for n in range(3))))

    for _ in range(2):
        assert asyncio.run(page()) == 3
        kit.cache.invalidate_tags("part:2")
    assert calls == ["page", "page"]


def test_each_kit_has_its_own_computations(make_kit: MakeKit, redis_url: str) -> None:
    one, two = make_kit(redis_url, name="one"), make_kit(redis_url, name="two")
    calls: list[str] = []

    @two.cache.cache_result(tags=["of-two"])
    def inner() -> int:
        one.cache.tag("of-one")
        return 1

    @one.cache.cache_result()
    def outer() -> int:
        calls.append("outer")
        return inner()

    outer()
    one.cache.invalidate_tags("of-two")
    outer()
    assert calls == ["outer"]
    one.cache.invalidate_tags("of-one")
    outer()
    assert calls == ["outer", "outer"]


def test_a_route_has_the_tags_added_in_its_view(kit: RedisKit, app: Flask) -> None:
    @kit.cache.cache_result(tags=["of-function"])
    def name() -> str:
        return "name"

    @app.get("/")
    @kit.cache.cache_result(tags=[lambda response: f"status:{response.status_code}"])
    def page() -> str:
        kit.cache.tag("added")
        return name()

    client = app.test_client()
    for tag in ("added", "of-function", "status:200"):
        client.get("/")
        assert was_hit(client.get("/"))
        kit.cache.invalidate_tags(tag)
        assert not was_hit(client.get("/"))


def test_values_by_hand_are_made_of_others_and_others_of_them(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result(tags=["of-function"])
    def function() -> int:
        return 1

    def computed() -> int:
        kit.cache.tag("added")
        return function()

    @kit.cache.cache_result()
    def outer() -> int:
        calls.append("outer")
        if kit.cache.get("by-hand") is None:
            kit.cache.set("by-hand", 1, tags=["of-set"])
        return int(kit.cache.get_or_set("computed", computed, tags=["of-computed"]))

    for warm in (outer.uncached, lambda: None):  # what it is made of is found, or computed
        for tag in ("of-function", "added", "of-computed", "of-set"):
            warm()
            outer()
            del calls[:]
            outer()
            assert calls == []
            kit.cache.invalidate_tags(tag)
            outer()
            assert calls == ["outer"], tag


def test_more_than_32_tags_are_too_many_to_store(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(tags=["one"])
    def value(count: int) -> int:
        calls.append(count)
        kit.cache.tag("one", *(f"tag:{n}" for n in range(1, count)))
        return count

    assert [value(32), value(32)] == [32, 32]
    assert calls == [32]
    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert [value(33), value(33)] == [33, 33]
        for count in (32, 33):
            kit.cache.get_or_set(f"of-{count}", partial(value.uncached, count), tags=["one"])
            assert kit.cache.has(f"of-{count}") is (count == 32)
    assert calls == [32, 33, 33, 32, 33]
    function, by_hand = (record.getMessage() for record in caplog.records)
    assert "has 33 tags" in function
    assert "one tag in common" in function
    assert "has 33 tags" in by_hand


@pytest.mark.parametrize("made", [5, [5], [""], b"x", None])
def test_what_is_no_tag_of_a_result_is_logged_once(
    made: Any, kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(tags=lambda _: made)
    def value() -> int:
        calls.append(1)
        return 1

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert [value(), value()] == [1, 1]
    assert len(calls) == 2
    (record,) = caplog.records
    assert "value: a result is not cached, because of its @cache_result" in record.getMessage()


@pytest.mark.parametrize(("tag", "error"), [(5, TypeError), ("", ConfigError), (["a"], TypeError)])
def test_what_is_no_tag_is_refused_where_it_is_added(
    tag: Any, error: type[Exception], kit: RedisKit
) -> None:
    with pytest.raises(error):
        kit.cache.tag(tag)
    assert kit.cache.tag() is None  # type: ignore[func-returns-value]  # harmless


def test_a_template_is_not_filled_in_with_an_address(kit: RedisKit) -> None:
    class User:
        def __cache_key__(self) -> object:
            return 1

    class Named(User):
        def __str__(self) -> str:
            return "alice"

    @kit.cache.cache_result(tags=["user:{user}"])
    def value(user: User) -> int:
        return 1

    with pytest.raises(TypeError, match=r"argument 'user' is a .*User, which has no text"):
        value(User())
    assert value(Named()) == 1
