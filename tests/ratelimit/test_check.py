"""``kit.ratelimit.check``, ``peek``, ``reset`` and ``current``."""

from __future__ import annotations

from uuid import UUID

import pytest
import redis
from flask import Flask, request
from flask.views import MethodView

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


def test_check_takes_a_text_of_limits_and_a_cost(limited: Limited, proxy: Proxy) -> None:
    with limited.app.app_context():
        with proxy.counting() as count:
            result = limited.kit.ratelimit.check("9/minute;20/hour", key="k", cost=4)
        assert (count.trips, result.limit, result.remaining) == (1, 9, 5)
        assert [(r.limit, r.remaining) for r in result.decision.results] == [(9, 5), (20, 16)]
        with pytest.raises(RateLimitExceeded):
            limited.kit.ratelimit.check("9/minute;20/hour", key="k", cost=6)
        for wrong in ({"cost": 10}, {"cost": -1}, {"methods": ["GET"]}, {"algorithm": "gcra"}):
            with pytest.raises((TypeError, ValueError)):
                limited.kit.ratelimit.check(9, key="k", **wrong)


def test_with_check_an_attempt_can_be_handed_back(limited: Limited, proxy: Proxy) -> None:
    @limited.app.post("/login")
    def login() -> dict[str, int]:
        with limited.kit.ratelimit.check("2/minute", key="ann", name="login") as attempt:
            if request.form["password"] == "right":
                attempt.refund()
                attempt.refund()  # only once
            return {"left": attempt.remaining}

    def ask(password: str) -> int:
        return limited.client.post("/login", data={"password": password}).status_code

    assert [ask("right") for _ in range(4)] == [200] * 4
    assert [ask("wrong"), ask("wrong"), ask("wrong")] == [200, 200, 429]


def test_a_route_is_peeked_at_and_reset_by_its_own_keys(make_app: MakeApp) -> None:
    """With whatever namespace, settings and methods: as the requests themselves count."""
    limited = make_app(REDIS_NAMESPACE="elsewhere", REDIS_RATELIMIT_APPLICATION="50/minute")

    class Item(MethodView):
        @rate_limit("2/minute;9/hour", name="read")
        def get(self) -> str:
            return "got"

        @rate_limit(5, shared="writes")
        def post(self) -> str:
            return "posted"

    item = Item.as_view("item")
    limited.app.add_url_rule("/", view_func=item)
    environ = {"REMOTE_ADDR": "2001:db8::1"}
    assert limited.statuses("/", 3, environ_overrides=environ) == [200, 200, 429]
    ratelimit = limited.kit.ratelimit
    with limited.app.app_context():
        for target in ("item", item, Item, Item.get):
            seen = ratelimit.peek(target, key="2001:db8::99")  # of the same network
            left = {(r.policy, r.remaining) for r in seen.decision.results}
            assert left == {
                ("read per-minute", 0),
                ("read per-hour", 7),
                ("writes", 5),
                ("application per-minute", 48),
            }
            assert (seen.allowed, seen.remaining) == (False, 0)
        assert ratelimit.reset("item", key="2001:db8::1") is True
        assert ratelimit.reset("item", key="2001:db8::1") is False
        seen = ratelimit.peek("item", key="2001:db8::1")
        assert {r.policy: r.remaining for r in seen.decision.results} == {
            "read per-minute": 2,
            "read per-hour": 9,
            "writes": 5,
            "application per-minute": 48,
        }
    assert limited.statuses("/", 1, environ_overrides=environ) == [200]


def test_in_a_request_a_route_is_peeked_at_for_who_asks(limited: Limited) -> None:
    @limited.app.get("/export")
    @rate_limit(3, key_func=lambda: request.args["user"])
    def export() -> str:
        return "ok"

    @limited.app.get("/left")
    def left() -> str:
        return str(limited.kit.ratelimit.peek("export").remaining)

    limited.client.get("/export?user=ann")
    assert limited.client.get("/left?user=ann").text == "2"
    assert limited.client.get("/left?user=bob").text == "3"


def test_a_limited_function_is_peeked_at_and_reset(limited: Limited) -> None:
    @limited.kit.ratelimit.rate_limit(2, key_func=lambda: "k")
    def work() -> str:
        return "done"

    work()
    with limited.app.app_context():
        assert limited.kit.ratelimit.peek(work, key="k").remaining == 1
        assert limited.kit.ratelimit.reset(work, key="k")
        assert limited.kit.ratelimit.peek(work).remaining == 2


def test_a_limit_that_is_found_in_requests_can_be_named(limited: Limited) -> None:
    @limited.app.get("/")
    @rate_limit(lambda: int(request.headers["X-Plan"]), key_func=lambda: "k")
    def home() -> str:
        return "ok"

    limited.client.get("/", headers={"X-Plan": "5"})
    with limited.app.app_context():
        with pytest.raises(LookupError, match=r"limit='100/minute'"):
            limited.kit.ratelimit.peek("home", key="k")
        assert limited.kit.ratelimit.peek("home", key="k", limit=5).remaining == 4
        assert limited.kit.ratelimit.reset("home", key="k", limit="5/minute")


def test_what_is_not_limited_can_not_be_peeked_at(limited: Limited) -> None:
    limited.app.add_url_rule("/", "free", lambda: "ok")
    with limited.app.app_context():
        for target, said in (("free", "No limit"), ("nowhere", "no endpoint"), (print, "neither")):
            with pytest.raises(LookupError, match=said):
                limited.kit.ratelimit.peek(target, key="k")


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
