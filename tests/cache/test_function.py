"""``@cache_result`` on functions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

from flask_redis_kit import ConfigError, NotInitialized, RedisKit, cache_result
from tests.cache.conftest import MakeKit


def test_a_second_call_is_answered_from_the_cache(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    assert [double(4), double(4), double(5), double(n=4)] == [8, 8, 10, 8]
    assert calls == [4, 5]


def test_none_is_a_result_like_any_other(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result()
    def find(name: str) -> str | None:
        calls.append(name)
        return None

    assert find("x") is None
    assert find("x") is None
    assert calls == ["x"]


def test_types_survive(kit: RedisKit) -> None:
    @kit.cache.cache_result()
    def value() -> dict[Any, Any]:
        return {1: (2, {3}), "x": b"y"}

    first = value()
    assert value() == first
    assert type(value()[1]) is tuple


def test_defaults_given_or_omitted_are_the_same_call(kit: RedisKit) -> None:
    calls: list[tuple[int, int]] = []

    @kit.cache.cache_result()
    def add(a: int, b: int = 0, *, c: int = 0) -> int:
        calls.append((a, b))
        return a + b + c

    assert add(1) == add(1, 0) == add(a=1, b=0, c=0) == 1
    assert len(calls) == 1
    assert add(1, c=1) == 2


def test_lookalikes_are_different_calls(kit: RedisKit) -> None:
    @kit.cache.cache_result()
    def kind(value: object) -> str:
        return type(value).__name__

    values: Sequence[object] = (1, True, 1.0, "1", b"1", (1,), [1], None)
    names = ["int", "bool", "float", "str", "bytes", "tuple", "list", "NoneType"]
    assert [kind(value) for value in values] == names
    assert [kind(value) for value in values] == names


def test_functions_of_the_same_prefix_do_not_share_values(kit: RedisKit) -> None:
    @kit.cache.cache_result(key_prefix="product")
    def name(product_id: int) -> str:
        return "name"

    @kit.cache.cache_result(key_prefix="product")
    def reviews(product_id: int) -> list[str]:
        return ["good"]

    assert name(1) == "name"
    assert reviews(1) == ["good"]


def test_functions_that_share_a_name_must_be_told_apart(kit: RedisKit) -> None:
    def times(factor: int, prefix: str | None = None) -> Callable[[int], int]:
        @kit.cache.cache_result(prefix)
        def multiplied(n: int) -> int:
            return factor * n

        return multiplied

    def same() -> Callable[[int], int]:
        @kit.cache.cache_result()
        def constant(n: int) -> int:
            return n

        return constant

    assert times(2)(5) == 10
    with pytest.raises(ConfigError, match=r"multiplied, and would find .* Give each a key_prefix"):
        times(3)(5)
    with pytest.raises(ConfigError, match=r"made anew .* define it once, outside"):
        times(3)(5)
    assert times(3, "triple")(5) == 15
    assert same()(5) == same()(5) == 5
    one, two = (kit.cache.cache_result()(f) for f in (lambda: 1, lambda: 2))
    assert one() == 1
    with pytest.raises(ConfigError, match=r"<lambda>.* a key_prefix of its own\.$"):
        two()


def test_methods_of_two_objects_must_be_told_apart(kit: RedisKit) -> None:
    class Account:
        def __init__(self, owner: str) -> None:
            self.owner = owner

        def name(self) -> str:
            return self.owner

        @classmethod
        def kind(cls) -> str:
            return cls.__name__

    class Other(Account):
        pass

    Account.name.__qualname__ = "Account.name"  # as of a class at the top of a module
    Account.kind.__func__.__qualname__ = "Account.kind"  # type: ignore[attr-defined]
    alice = Account("alice")
    for first, second in ((alice.name, Account("bob").name), (Account.kind, Other.kind)):
        assert kit.cache.cache_result()(first)() == kit.cache.cache_result()(first)() == first()
        with pytest.raises(ConfigError, match="Give each a key_prefix"):
            kit.cache.cache_result()(second)()


def test_an_argument_without_identity_is_named(kit: RedisKit) -> None:
    class User:
        def __repr__(self) -> str:
            return "1"

    @kit.cache.cache_result()
    def greeting(salutation: str, user: object) -> str:
        return salutation

    with pytest.raises(TypeError, match=r"greeting: the argument 'user' contains a .*User, which"):
        greeting("Hello", User())
    with pytest.raises(TypeError, match="'user'"):
        greeting("Hello", [{"deep": User()}])


def test_a_method_names_self(kit: RedisKit) -> None:
    class Catalogue:
        @kit.cache.cache_result()
        def size(self) -> int:
            return 1

    with pytest.raises(TypeError, match="'self'"):
        Catalogue().size()


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, "missing a required argument: 'n'"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"n": 1}, "multiple values for argument 'n'"),
        ((1,), {"x": 1}, "unexpected keyword argument 'x'"),
        ((), {"x": 1}, "missing a required argument: 'n'"),
    ],
)
def test_a_wrong_call_raises_what_it_would_raise_anyway(
    args: tuple[int, ...], kwargs: dict[str, int], error: str, kit: RedisKit
) -> None:
    @kit.cache.cache_result()
    def double(n: int, *, more: int = 0) -> int:
        return 2 * n

    double(1)
    with pytest.raises(TypeError, match=error):
        double(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 2), {}), ((1,), {"b": 2}), ((1, 2, 3), {"k": 4}), ((1, 2), {"x": 5}), ((1, 2, 3, 4), {})],
)
def test_any_kind_of_parameter_will_do(
    args: tuple[int, ...], kwargs: dict[str, int], kit: RedisKit
) -> None:
    calls: list[tuple[Any, ...]] = []

    @kit.cache.cache_result()
    def everything(a: int, /, b: int, *more: int, k: int = 0, **rest: int) -> tuple[Any, ...]:
        calls.append((a, b, more, k, rest))
        return a, b, more, k, rest

    assert everything(*args, **kwargs) == everything(*args, **kwargs) == calls[0]
    everything(1, b=99)
    assert len(calls) == 2


def test_an_exception_is_passed_on_and_not_cached(kit: RedisKit, redis_client: redis.Redis) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def fragile() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise LookupError("not yet")
        return 5

    with pytest.raises(LookupError, match="not yet"):
        fragile()
    assert not list(redis_client.scan_iter("frk:*:cache:l:*")), "the lease was not given back"
    assert fragile() == 5


def test_a_value_lives_for_its_ttl(kit: RedisKit, redis_client: redis.Redis) -> None:
    @kit.cache.cache_result(ttl=timedelta(minutes=2))
    def long() -> int:
        return 1

    @kit.cache.cache_result(ttl=30.5)
    def short() -> int:
        return 1

    @kit.cache.cache_result()
    def default() -> int:
        return 1

    for function in (long, short, default):
        function()
    assert 100_000 < redis_client.pttl(long.cache_key()) <= 120_000
    assert 15_000 < redis_client.pttl(short.cache_key()) <= 30_500
    assert 280_000 < redis_client.pttl(default.cache_key()) <= 300_000


def test_the_default_ttl_is_the_applications(
    make_kit: MakeKit, redis_url: str, redis_client: redis.Redis
) -> None:
    kit = make_kit(redis_url, REDIS_CACHE_DEFAULT_TTL=60)

    @kit.cache.cache_result()
    def value() -> int:
        return 1

    value()
    assert 40_000 < redis_client.pttl(value.cache_key()) <= 60_000


def test_uncached_is_the_function_itself(kit: RedisKit) -> None:
    def value() -> list[int]:
        return []

    cached = kit.cache.cache_result()(value)
    assert cached.uncached is value
    assert cached.__wrapped__ is value  # type: ignore[attr-defined]
    assert inspect.signature(cached) == inspect.signature(value)


def test_invalidate_forgets_one_call(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result()
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    double(1)
    double(2)
    double.invalidate(n=1)
    double(1)
    double(2)
    assert calls == [1, 2, 1]


def test_the_unbound_decorator_finds_the_current_application(kit: RedisKit) -> None:
    calls: list[int] = []

    @cache_result()
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    with pytest.raises(NotInitialized, match="app_context"):
        double(1)
    with kit.state().app.app_context():
        assert double(1) == double(1) == 2
    assert calls == [1]


def test_async_functions_are_awaited_and_cached(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(tags=["n:{n}"])
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        calls.append(n)
        return 2 * n

    async def main() -> list[int]:
        return [await double(1), await double(1)]

    assert inspect.iscoroutinefunction(double)
    assert asyncio.run(main()) == [2, 2]
    kit.cache.invalidate_tags("n:1")
    assert asyncio.run(main()) == [2, 2]
    assert calls == [1, 1]


def test_concurrent_tasks_compute_once_and_do_not_block_their_loop(kit: RedisKit) -> None:
    calls: list[int] = []

    async def main() -> list[int]:
        may_end = asyncio.Event()

        @kit.cache.cache_result()
        async def slow() -> int:
            calls.append(1)
            await may_end.wait()
            return 7

        tasks = [asyncio.create_task(slow()) for _ in range(10)]
        while not calls:
            await asyncio.sleep(0)
        may_end.set()  # reached only if those who wait let the loop go on
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [7] * 10
    assert calls == [1]


def test_a_cancelled_task_gives_its_lease_back(kit: RedisKit, redis_client: redis.Redis) -> None:
    async def main() -> None:
        started = asyncio.Event()

        @kit.cache.cache_result()
        async def endless() -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(endless())
        await started.wait()
        assert list(redis_client.scan_iter("frk:*:cache:l:*"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not list(redis_client.scan_iter("frk:*:cache:l:*"))
