"""``kit.ratelimit.check``, ``peek``, ``reset`` and ``current``."""

from __future__ import annotations

from uuid import UUID

import pytest
import redis
from flask import Flask

from flask_redis_kit import RateLimitExceeded, rate_limit
from flask_redis_kit.core.wire import Wire
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited, MakeApp


def test_check_counts_where_it_stands(limited: Limited, proxy: Proxy) -> None:
    @limited.app.post("/login")
    def login() -> dict[str, object]:
        result = limited.kit.ratelimit.check(limit=2, window=60, key=("login", "ann"))
        return {"left": result.remaining, "name": result.name, "retry": result.retry_after}

    with proxy.counting() as count:
        assert limited.client.post("/login").json == {"left": 1, "name": "check", "retry": 0.0}
    assert count.trips == 1
    body = limited.client.post("/login").json
    assert body is not None
    assert body["left"] == 0
    assert 0 < body["retry"] <= 60  # one more request has to wait
    assert limited.client.post("/login").status_code == 429


def test_check_and_the_limits_of_a_view_are_apart_unless_named_alike(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(limit=2, window=60, key_func=lambda: "k")
    def home() -> str:
        return "ok"

    limited.client.get("/")
    with limited.app.app_context():
        check = limited.kit.ratelimit.check
        assert check(limit=2, window=60, key="k").remaining == 1
        assert check(limit=2, window=60, key="k", name="home").remaining == 0
        assert check(limit=2, window=61, key="k", name="home").remaining == 1
    assert limited.client.get("/").status_code == 429


def test_peek_tells_what_check_would_meet_and_counts_nothing(
    limited: Limited, proxy: Proxy
) -> None:
    with limited.app.app_context():
        ratelimit = limited.kit.ratelimit
        fresh = ratelimit.peek(limit=2, window=60, key="k")
        assert (fresh.remaining, fresh.reset_after, fresh.allowed) == (2, 0.0, True)
        for left in (1, 0):
            ratelimit.check(limit=2, window=60, key="k")
            with proxy.counting() as count:
                seen = ratelimit.peek(limit=2, window=60, key="k")
            assert (count.trips, seen.remaining, seen.allowed) == (1, left, left > 0)
            assert (seen.retry_after > 0) == (left == 0)
        raised = ratelimit.peek(limit=5, window=60, key="k")
        assert (raised.remaining, raised.allowed) == (3, True)


def test_peek_changes_no_header(limited: Limited) -> None:
    limited.app.get("/")(lambda: str(limited.kit.ratelimit.peek(limit=2, key="k").remaining))
    response = limited.client.get("/")
    assert response.text == "2"
    assert "X-RateLimit-Limit" not in response.headers


def test_reset_frees_the_very_log_of_a_route(limited: Limited, redis_client: redis.Redis) -> None:
    @limited.app.get("/")
    @rate_limit(limit=1, window=60)
    def home() -> str:
        return "ok"

    with limited.app.app_context():
        reset = limited.kit.ratelimit.reset
        assert reset(window=60, key="127.0.0.1", name="home") is False
        assert [limited.client.get("/").status_code for _ in range(3)] == [200, 429, 429]
        assert reset(window=60, key="127.0.0.2", name="home") is False
        assert limited.client.get("/").status_code == 429
        assert reset(window=60, key="127.0.0.1", name="home") is True
    assert redis_client.keys() == []
    assert limited.client.get("/").status_code == 200  # nor does this process remember a refusal


def test_current_is_the_tightest_limit_of_the_request(limited: Limited) -> None:
    seen: list[object] = []

    @limited.app.get("/")
    @rate_limit(limit=3, window=60)
    @rate_limit(limit=9, window=90)
    def home() -> str:
        current = limited.kit.ratelimit.current
        assert current is not None
        seen.append((current.name, current.remaining, current.limit))
        return "ok"

    @limited.app.get("/free")
    def free() -> str:
        seen.append(limited.kit.ratelimit.current)
        return "ok"

    for path in ("/", "/free", "/"):
        limited.client.get(path)
    assert seen == [("home", 2, 3), None, ("home", 1, 3)]
    with limited.app.app_context():
        assert limited.kit.ratelimit.current is None


def test_keys_of_every_type_count(limited: Limited) -> None:
    keys = ("a", 7, b"\xff\x00", UUID(int=7), ("a", 7), (("a",), 7), "ä" * 10_000, "\ud800", -7)
    with limited.app.app_context():
        for key in keys:
            limited.kit.ratelimit.check(limit=1, window=60, key=key)
        for key in keys:
            with pytest.raises(RateLimitExceeded):
                limited.kit.ratelimit.check(limit=1, window=60, key=key)


def test_a_name_must_be_a_text(limited: Limited) -> None:
    for name in ("", None, 5):
        with pytest.raises(TypeError, match="name="), limited.app.app_context():
            limited.kit.ratelimit.check(limit=1, key="k", name=name)  # type: ignore[arg-type]


def test_on_a_cluster_each_identity_is_asked_for_in_its_own_slot(
    limited: Limited, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    @limited.app.get("/")
    @rate_limit(limit=2, window=60, key_func=lambda: "a")
    @rate_limit(limit=9, window=60, key_func=lambda: "b")
    @rate_limit(limit=9, window=90, key_func=lambda: "a")
    def home() -> str:
        return "ok"

    wire: Wire = limited.limiter.context.wire
    monkeypatch.setattr(wire, "clustered", True)
    with proxy.counting() as count:
        assert limited.client.get("/").status_code == 200
    tags = [
        {key.split(b"}")[0] for key in c[3:] if key.startswith(b"frk:")} for c in count.commands
    ]
    assert [len(tag) for tag in tags] == [1] * 4  # a look at each slot, then both count
    assert count.trips == 2
    assert [limited.client.get("/").status_code for _ in range(2)] == [200, 429]


def test_limits_of_different_identities_are_one_script_call(limited: Limited, proxy: Proxy) -> None:
    @limited.app.get("/")
    @rate_limit(limit=2, window=60, key_func=lambda: "a")
    @rate_limit(limit=9, window=60, key_func=lambda: "b")
    def home() -> str:
        return "ok"

    with proxy.counting() as count:
        assert limited.client.get("/").status_code == 200
    assert [command[2] for command in count.commands] == [b"2"]


def test_two_namespaces_on_one_server_count_apart(make_app: MakeApp) -> None:
    for namespace in ("one", "two"):
        limited = make_app(REDIS_NAMESPACE=namespace)
        app: Flask = limited.app
        with app.app_context():
            assert limited.kit.ratelimit.check(limit=5, key="k").remaining == 4
