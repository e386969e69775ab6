"""A server that is away, slow, restarted or full of other things: the policy decides."""

from __future__ import annotations

import logging

import pytest
import redis
from flask import Flask

from flask_redis_kit import ConfigError, RedisKit, ServerUnavailable, rate_limit
from flask_redis_kit.ratelimit import RateLimitUnavailable
from tests.harness.proxy import Proxy
from tests.harness.servers import Server, free_port
from tests.ratelimit.conftest import Limited, MakeApp
from tests.waiting import wait_until

LOGGER = "flask_redis_kit.ratelimit"


def add_home(limited: Limited, limit: int = 2) -> None:
    @limited.app.get("/")
    @rate_limit(limit=limit, window=60)
    def home() -> str:
        return "ok"


def test_open_lets_requests_pass_and_warns_once(
    make_app: MakeApp, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    limited = make_app()
    add_home(limited)
    server.kill()
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(10):
            response = limited.client.get("/")
            assert response.status_code == 200
            assert "X-RateLimit-Limit" not in response.headers
    assert len([r for r in caplog.records if r.name == LOGGER]) == 1
    assert "not limited" in caplog.text


def test_open_tells_check_and_peek_that_nothing_was_counted(
    make_app: MakeApp, server: Server
) -> None:
    limited = make_app()
    server.kill()
    with limited.app.app_context():
        for ask in (limited.kit.ratelimit.check, limited.kit.ratelimit.peek):
            result = ask(limit=5, key="k")
            assert (result.allowed, result.counted, result.remaining) == (True, False, 5)
        with pytest.raises(ServerUnavailable):  # nobody may believe that it happened
            limited.kit.ratelimit.reset(key="k")


def test_closed_answers_503_and_raise_raises(make_app: MakeApp, server: Server) -> None:
    closed = make_app("closed", REDIS_RATELIMIT_ON_ERROR="closed")
    raising = make_app("raising", REDIS_RATELIMIT_ON_ERROR="raise")
    raising.app.testing = True
    for each in (closed, raising):
        add_home(each)
    server.kill()
    for _ in range(5):
        response = closed.client.get("/")
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Cache-Control"] == "no-store"
        assert response.get_json(force=True)["type"].endswith("#temporary-reduced-capacity")
    with pytest.raises(ServerUnavailable):
        raising.client.get("/")
    with closed.app.app_context(), pytest.raises(RateLimitUnavailable):
        closed.kit.ratelimit.check(key="k")


def test_limits_hold_again_when_the_server_is_back(make_app: MakeApp, server: Server) -> None:
    limited = make_app()
    add_home(limited)
    assert limited.client.get("/").status_code == 200
    server.kill()
    assert [limited.client.get("/").status_code for _ in range(5)] == [200] * 5
    server.start()
    wait_until(lambda: "X-RateLimit-Limit" in limited.client.get("/").headers)
    wait_until(lambda: limited.client.get("/").status_code == 429)


def test_a_server_that_was_never_there_is_no_500() -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    kit = RedisKit(app)
    app.add_url_rule("/", "home", rate_limit(limit=1, window=60)(lambda: "ok"))
    assert [app.test_client().get("/").status_code for _ in range(3)] == [200] * 3
    with app.app_context():
        kit.close()


def test_a_key_of_another_type_follows_the_policy(
    make_app: MakeApp, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    open_, closed = make_app(), make_app(REDIS_RATELIMIT_ON_ERROR="closed")
    for each in (open_, closed):
        add_home(each)
    open_.client.get("/")
    [key] = redis_client.keys()
    redis_client.set(key, "no log", ex=60)
    with caplog.at_level(logging.WARNING, LOGGER):
        assert open_.client.get("/").status_code == 200
    assert "WRONGTYPE" in caplog.text
    assert closed.client.get("/").status_code == 503
    redis_client.delete(key)
    assert open_.client.get("/").headers["X-RateLimit-Remaining"] == "1"


def test_a_lost_reply_is_not_asked_again(
    make_app: MakeApp, proxy: Proxy, redis_client: redis.Redis
) -> None:
    limited = make_app(REDIS_SOCKET_TIMEOUT=1)
    add_home(limited)
    proxy.drop_replies(1)
    assert limited.client.get("/").status_code == 200  # after the reply timeout
    proxy.restore()
    [key] = redis_client.keys()
    assert redis_client.zcard(key) == 1


def test_a_broken_connection_does_not_count_twice(
    make_app: MakeApp, proxy: Proxy, redis_client: redis.Redis
) -> None:
    limited = make_app()
    add_home(limited)
    proxy.cut_after(1)  # the script ran, one byte of its reply arrives
    assert limited.client.get("/").status_code == 200
    [key] = redis_client.keys()
    assert redis_client.zcard(key) == 1


def test_a_hung_server_costs_one_timeout_and_then_nothing(
    make_app: MakeApp, proxy: Proxy, server: Server
) -> None:
    limited = make_app(REDIS_SOCKET_TIMEOUT=1, REDIS_BREAKER_OPEN_SECONDS=30)
    add_home(limited)
    server.pause()
    with proxy.counting() as count:
        assert [limited.client.get("/").status_code for _ in range(50)] == [200] * 50
    assert sum(command[0] == b"EVALSHA" for command in count.commands) == 1


def test_flushed_scripts_cost_one_more_trip_and_count_once(
    limited: Limited, proxy: Proxy, redis_client: redis.Redis
) -> None:
    add_home(limited, limit=10)
    for left in (9, 8, 7):
        redis_client.script_flush()
        with proxy.counting() as count:
            assert limited.client.get("/").headers["X-RateLimit-Remaining"] == str(left)
        assert count.trips == 2


def test_a_wrong_policy_is_refused_at_init_app() -> None:
    app = Flask("shop")
    app.config["REDIS_RATELIMIT_ON_ERROR"] = "ignore"
    with pytest.raises(ConfigError, match=r"REDIS_RATELIMIT_ON_ERROR.*'open'"):
        RedisKit(app)
