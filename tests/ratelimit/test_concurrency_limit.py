"""``concurrency_limit``: places taken with the other limits, and given back by every way out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from flask import (
    Flask,
    Response,
    abort,
    copy_current_request_context,
    send_file,
    session,
    stream_with_context,
)

from flask_redis_kit import RateLimitExceeded, RedisKit, rate_limit
from flask_redis_kit.ratelimit import concurrency_limit, leased_body
from flask_redis_kit.ratelimit.leased_body import LeasedBody
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited
from tests.waiting import wait_until

standalone = pytest.mark.standalone("limits over several identities are two trips on a Cluster")


def held(client: redis.Redis) -> int:
    """Places that are taken now."""
    keys = client.scan_iter(match="*:limit:c1:*")
    return sum(int(client.zcard(key)) for key in keys)


def test_no_more_than_its_number_are_inside_at_once(limited: Limited) -> None:
    inside, leave = threading.Semaphore(0), threading.Event()

    @limited.app.get("/")
    @concurrency_limit(2)
    def home() -> str:
        inside.release()
        leave.wait(60)
        return "ok"

    statuses: list[int] = []

    def ask() -> None:
        statuses.append(limited.app.test_client().get("/").status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=20)
    refused = limited.client.get("/")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit-Policy"] == '"concurrent";q=2;qu="concurrent-requests"'
    assert refused.headers["RateLimit"] == '"concurrent";r=0'
    body = refused.get_json(force=True)
    assert body["violated-policies"] == ["concurrent"]
    assert "at the same time" in body["detail"]
    leave.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert limited.statuses("/", 3) == [200] * 3


@standalone
def test_it_is_asked_with_the_rate_limits_next_to_it(limited: Limited, proxy: Proxy) -> None:
    @limited.app.get("/")
    @rate_limit(9)
    @concurrency_limit(2, key_func=lambda: "everybody")
    def home() -> str:
        return "ok"

    limited.client.get("/")  # the server knows the scripts now
    with proxy.counting() as count:
        response = limited.client.get("/")
    assert [(command[0], command[2]) for command in count.commands] == [
        (b"EVALSHA", b"2"),
        (b"EVALSHA", b"1"),
    ]
    assert count.trips == 2
    assert response.headers["X-RateLimit-Limit"] == "9"  # a place has no reset to tell
    assert '"concurrent";r=1' in response.headers["RateLimit"]


@pytest.mark.parametrize("way", ["returns", "aborts", "raises", "refused"])
def test_every_way_out_of_a_view_gives_the_place_back(
    limited: Limited, redis_client: redis.Redis, way: str
) -> None:
    limited.app.config["PROPAGATE_EXCEPTIONS"] = False

    @limited.app.get("/")
    @concurrency_limit(1)
    @rate_limit(9 if way != "refused" else 1)
    def home() -> str:
        assert held(redis_client) == 1
        if way == "aborts":
            abort(418)
        if way == "raises":
            raise RuntimeError("a defect of the view")
        return "ok"

    for _ in range(3):
        limited.client.get("/")
        assert held(redis_client) == 0


def test_an_error_that_goes_through_gives_the_place_back(
    limited: Limited, redis_client: redis.Redis
) -> None:
    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> str:
        raise RuntimeError("a defect of the view")

    limited.app.testing = True
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a defect"):
            limited.client.get("/")
    assert held(redis_client) == 0


def test_a_streamed_response_holds_its_place_until_it_is_closed(
    limited: Limited, redis_client: redis.Redis
) -> None:
    def chunks() -> Iterator[str]:
        yield "a"
        yield str(held(redis_client))

    @limited.app.get("/<kind>")
    @concurrency_limit(1)
    def home(kind: str) -> Response:
        body = chunks()
        return Response(stream_with_context(body) if kind == "context" else body)

    for kind in ("plain", "context"):
        with limited.client.get(f"/{kind}") as response:
            assert held(redis_client) == 1
            assert limited.client.get("/other").status_code == 429
            assert response.get_data(as_text=True) == "a1"
        assert held(redis_client) == 0
        limited.client.get(f"/{kind}").close()  # nobody read it
        assert held(redis_client) == 0
        assert limited.client.head(f"/{kind}").status_code == 200
        assert held(redis_client) == 0


def test_a_stream_that_an_error_displaces_gives_its_place_back(
    limited: Limited, redis_client: redis.Redis
) -> None:
    limited.app.secret_key = "k"
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[str]:
            yield "never read"

        def close(self) -> None:
            closed.append(True)

    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> Response:
        session["odd"] = object()  # found when the session is saved, after the response was made
        return Response(Body())

    assert limited.statuses("/", 2) == [500, 500]
    assert held(redis_client) == 0
    assert closed == [True, True]


def from_before_the_kit(app: Flask, hook: Callable[[Response], Response]) -> None:
    """A hook that was there when the kit came: it runs after the kit's own."""
    app.after_request_funcs.setdefault(None, []).insert(0, hook)


@pytest.mark.parametrize("by", ["another response", "another body", "the whole body"])
def test_a_stream_that_a_later_hook_replaces_gives_its_place_back(
    limited: Limited, redis_client: redis.Redis, by: str
) -> None:
    def replace(response: Response) -> Response:
        if by == "another response":
            return Response("short")
        if by == "another body":
            response.response = [b"short"]
        else:
            response.set_data(response.get_data())
        return response

    from_before_the_kit(limited.app, replace)

    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> Response:
        return Response(iter(["sho", "rt"]))

    for _ in range(2):
        with limited.client.get("/") as response:
            assert response.get_data(as_text=True) == "short"
            assert held(redis_client) == 0


class Stopped(BaseException):
    """As a greenlet's timeout is: no ``except Exception`` sees it."""


@pytest.mark.parametrize("error", [ZeroDivisionError, Stopped])
def test_a_stream_that_an_error_of_a_later_hook_displaces_gives_its_place_back(
    limited: Limited, redis_client: redis.Redis, error: type[BaseException]
) -> None:
    def fail(_: Response) -> Response:
        raise error

    limited.app.testing = True  # the error goes through, and its frames have the response
    from_before_the_kit(limited.app, fail)

    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> Response:
        return Response(iter(["never", "read"]))

    with pytest.raises(error):
        limited.client.get("/")
    assert held(redis_client) == 0


def test_a_stream_that_answers_an_error_keeps_its_place_until_it_is_closed(
    limited: Limited, redis_client: redis.Redis
) -> None:
    limited.app.config["PROPAGATE_EXCEPTIONS"] = False

    @limited.app.errorhandler(500)
    def answer(_: Exception) -> Response:
        return Response(iter(["lo", "ng"]), 200)

    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> Response:
        raise ZeroDivisionError

    with limited.client.get("/") as response:
        assert held(redis_client) == 1
        assert response.get_data(as_text=True) == "long"
    assert held(redis_client) == 0


@pytest.mark.parametrize("into", ["another response", "the same response"])
def test_a_stream_that_a_later_hook_wraps_keeps_its_place_until_it_is_closed(
    limited: Limited, redis_client: redis.Redis, into: str
) -> None:
    def wrap(response: Response) -> Response:
        louder: Any = (chunk.upper() for chunk in response.response)
        if into == "another response":
            return Response(louder, response.status_code)
        response.response = louder
        return response

    from_before_the_kit(limited.app, wrap)

    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> Response:
        return Response(iter(["lo", "ng"]))

    for read in (True, into == "another response"):
        with limited.client.get("/") as response:
            assert held(redis_client) == 1
            assert limited.client.get("/").status_code == 429
            assert not read or response.get_data(as_text=True) == "LONG"
        assert held(redis_client) == 0


def test_a_file_holds_its_place_until_it_is_sent(
    limited: Limited, redis_client: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"x" * 100_000)

    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> Response:
        return send_file(tmp_path / "a.bin")

    with limited.client.get("/") as response:
        assert held(redis_client) == 1
        assert len(response.data) == 100_000
    assert held(redis_client) == 0


def test_a_long_stream_renews_its_lease(
    limited: Limited, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(leased_body, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def chunks() -> Iterator[str]:
        yield "a"
        now[0] += 101  # past a third of the lease
        yield "b"
        yield "c"

    @limited.app.get("/")
    @concurrency_limit(1, lease=300)
    def home() -> Response:
        return Response(chunks())

    def lease_end() -> float:
        [key] = redis_client.scan_iter(match="*:limit:c1:*")
        return float(redis_client.zrange(key, 0, -1, withscores=True)[0][1])

    with limited.client.get("/") as response:
        body = iter(response.response)
        next(body)
        first = lease_end()
        next(body)
        next(body)
        wait_until(lambda: lease_end() > first)
    assert held(redis_client) == 0


def test_a_body_is_released_once_whatever_ends_it() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a"
        raise OSError("the client is gone")

    ends: list[int] = []
    body = LeasedBody(chunks(), lambda: ends.append(1), lambda: None, 60)
    reading = iter(body)
    assert next(reading) == b"a"
    with pytest.raises(OSError, match="gone"):
        next(reading)
    assert ends == [1]
    body.close()
    assert ends == [1]


def test_a_function_gives_its_place_back_when_it_returns(limited: Limited) -> None:
    @limited.kit.ratelimit.concurrency_limit(1, key_func=lambda: "k")
    def work(n: int) -> int:
        if n > 0:
            with pytest.raises(RateLimitExceeded):
                work(0)
        return 1 // n

    assert [work(1), work(1)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        work(0)
    assert work(1) == 1
    limited.app.get("/")(lambda: str(work(1) + work(1)))
    assert limited.client.get("/").text == "2"


def test_an_async_function_gives_its_place_back(limited: Limited) -> None:
    @limited.kit.ratelimit.concurrency_limit(1, key_func=lambda: "k")
    async def work() -> str:
        await asyncio.sleep(0)
        return "ok"

    @limited.app.get("/")
    @concurrency_limit(1)
    async def home() -> str:
        return await work() + await work()

    assert [limited.client.get("/").text for _ in range(2)] == ["okok"] * 2


def test_a_thread_with_a_copy_of_the_context_does_not_give_its_request_s_place_back(
    limited: Limited, redis_client: redis.Redis
) -> None:
    @limited.app.get("/")
    @concurrency_limit(1)
    def home() -> str:
        @copy_current_request_context
        def aside() -> None:
            pass

        thread = threading.Thread(target=aside)
        thread.start()
        thread.join()
        return str(held(redis_client))

    assert limited.client.get("/").text == "1"
    assert held(redis_client) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"limit": 0}, ValueError, "limit="),
        ({"limit": "5/minute"}, TypeError, "limit="),
        ({"lease": 0}, ValueError, "lease="),
        ({"lease": "60"}, TypeError, "lease="),
        ({"cost": 2}, TypeError, "cost"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        concurrency_limit(**arguments)


def test_a_refusal_by_another_kit_gives_the_place_back(
    limited: Limited, redis_client: redis.Redis
) -> None:
    limited.app.config["OTHER_URL"] = limited.app.config["REDIS_URL"]
    other = RedisKit(limited.app, features=("ratelimit",), name="other", config_prefix="OTHER")

    @limited.kit.ratelimit.concurrency_limit(1, key_func=lambda: "k")
    @other.ratelimit.rate_limit(1, key_func=lambda: "k")
    def work() -> str:
        return "done"

    with limited.app.app_context():
        assert work() == "done"
        for _ in range(2):
            with pytest.raises(RateLimitExceeded) as refused:
                work()
            assert refused.value.policies == ("per-minute",)
        assert held(redis_client) == 0
        other.close()
