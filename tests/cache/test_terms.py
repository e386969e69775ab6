"""On what terms a result is stored: a ``ttl`` made of it, ``when``, ``codec``, ``grace``."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis
from flask import Flask

from flask_redis_kit import RedisKit
from tests.cache.test_route import was_hit
from tests.waiting import wait_until


def test_the_result_tells_its_ttl(kit: RedisKit, redis_client: redis.Redis) -> None:
    @kit.cache.cache_result(ttl=lambda result: result["ttl"])
    def token(ttl: Any) -> dict[str, Any]:
        return {"ttl": ttl}

    for ttl, least in ((60, 31_000), (timedelta(seconds=31), 11_000), (10.5, 1)):
        assert token(ttl.total_seconds() if isinstance(ttl, timedelta) else ttl)
        key = token.cache_key(ttl.total_seconds() if isinstance(ttl, timedelta) else ttl)
        assert redis_client.pttl(key) > least
    assert 40_000 < redis_client.pttl(token.cache_key(60)) <= 60_000


def test_a_timedelta_will_do(kit: RedisKit, redis_client: redis.Redis) -> None:
    @kit.cache.cache_result(ttl=lambda _: timedelta(seconds=60), grace=timedelta(seconds=30))
    def value() -> int:
        return 1

    value()
    assert 70_000 < redis_client.pttl(value.cache_key()) <= 90_000


@pytest.mark.parametrize("ttl", [None, 0, -1, timedelta(0), timedelta(seconds=-1)])
def test_without_a_ttl_it_is_not_stored(
    ttl: Any, kit: RedisKit, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    @kit.cache.cache_result(ttl=lambda _: ttl)
    def value() -> int:
        return 1

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert [value(), value()] == [1, 1]
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*")), "a value, or a lease, is left"
    assert not caplog.records, "that is nothing to warn of"


@pytest.mark.parametrize("ttl", ["60", True, [1], float("nan"), 1e12, 0.0001])
def test_what_is_no_ttl_is_logged_once_and_the_value_returned(
    ttl: Any, kit: RedisKit, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    @kit.cache.cache_result(ttl=lambda _: ttl)
    def value() -> int:
        return 1

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert [value(), value()] == [1, 1]
    (record,) = caplog.records
    assert "value: a result is not cached" in record.getMessage()
    assert "ttl" in record.getMessage()
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))


def test_when_decides_whether_a_result_is_stored(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result(when=lambda result: result is not None)
    def find(name: str) -> str | None:
        calls.append(name)
        return name if name == "known" else None

    assert [find("known"), find("known"), find("x"), find("x")] == ["known", "known", None, None]
    assert calls == ["known", "x", "x"]


def test_a_defect_in_the_users_functions_costs_no_result(
    kit: RedisKit, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(_: object) -> Any:
        raise ZeroDivisionError("a defect")

    @kit.cache.cache_result(when=defect)
    def one() -> int:
        return 1

    @kit.cache.cache_result(ttl=defect)
    def two() -> int:
        return 1

    @kit.cache.cache_result(tags=[defect])
    def three() -> int:
        return 1

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        for n, value in enumerate((one, two, three)):
            assert [value(), value()] == [1, 1]
            assert "a defect" in caplog.records[n].getMessage()
    assert len(caplog.records) == 3, "one of each function, however often it fails"
    assert not list(redis_client.scan_iter("frk:*:cache:[vwl]:*"))


def test_outcomes_are_counted(kit: RedisKit) -> None:
    @kit.cache.cache_result("counted", when=lambda result: result > 0)
    def value(n: int) -> int:
        return n

    for n in (1, 1, 0):
        value(n)
    counted = {
        outcome: count
        for (subject, outcome), count in kit.cache.context().counters.read().items()
        if subject == "counted" and outcome.split(":")[0] in ("hit", "miss", "stored", "refused")
    }
    assert counted == {"miss": 2, "hit": 1, "stored": 1, "refused:when": 1}


class Json:
    """A codec of the user's own."""

    def encode(self, value: Any, /) -> bytes:
        return json.dumps(value).encode()

    def decode(self, data: bytes, /) -> Any:
        return json.loads(data)


def test_a_codec_of_its_own(kit: RedisKit, redis_client: redis.Redis) -> None:
    @kit.cache.cache_result(codec=Json())
    def value() -> dict[str, int]:
        return {"a": 1}

    assert value() == value() == {"a": 1}
    stored: Any = redis_client.get(value.cache_key())
    assert stored.endswith(b'{"a": 1}')


def test_what_its_codec_cannot_encode_is_returned(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    @kit.cache.cache_result(codec=Json())
    def value() -> object:
        return {1, 2}

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert value() == value() == {1, 2}
    (record,) = caplog.records
    assert "The codec Json can't encode this" in record.getMessage()


def test_nobody_waits_longer_than_he_says(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(wait=0)
    def value() -> int:
        calls.append(1)
        if len(calls) == 1:  # the lease is ours: whoever else asks would wait 10 seconds for it
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(value).result(60) == 2
        return len(calls)

    assert value() == 2


def test_a_result_in_its_grace_is_served_while_one_renews_it(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(ttl=0.05, grace=60)
    def value() -> int:
        calls.append(1)
        if len(calls) == 2:
            assert value() == 1, "the old one, while this call computes the new one"
        return len(calls)

    assert value() == 1
    wait_until(lambda: value() == 2, what="the value to be renewed")
    assert len(calls) == 2


def test_a_result_in_its_grace_is_served_when_its_function_raises(
    kit: RedisKit, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(ttl=0.05, grace=60)
    def value() -> int:
        calls.append(1)
        if len(calls) > 1:
            raise LookupError("the database is away")
        return 1

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert value() == 1
        wait_until(lambda: value() == 1 and len(calls) > 1, what="it to be tried again")
    (record,) = caplog.records
    assert "has raised; its old result is served" in record.getMessage()
    assert record.exc_info is not None
    with pytest.raises(LookupError):
        value.refresh()


def test_on_a_route_the_response_is_the_result(kit: RedisKit, app: Flask) -> None:
    @app.get("/<path>")
    @kit.cache.cache_result(
        when=lambda response: response.get_data() != b"no",
        ttl=lambda response: None if response.get_data() == b"none" else 60,
    )
    def page(path: str) -> str:
        return path

    client = app.test_client()
    for path, stored in (("yes", True), ("no", False), ("none", False)):
        client.get(f"/{path}")
        assert was_hit(client.get(f"/{path}")) is stored
