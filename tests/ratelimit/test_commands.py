"""``flask redis limits``: as an operator types it, with the keys of the running application."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from flask import Blueprint, request

from flask_redis_kit import rate_limit
from flask_redis_kit.ratelimit import concurrency_limit
from tests.harness.servers import Server
from tests.ratelimit.conftest import Limited, MakeApp
from tests.ratelimit.oracle import server_now


@pytest.fixture
def shop(make_app: MakeApp) -> Limited:
    """An application with limits of every kind, some of them used."""
    limited = make_app(REDIS_RATELIMIT_APPLICATION="50/minute", REDIS_NAMESPACE="counter")
    ratelimit = limited.kit.ratelimit

    def by_user() -> str:
        return request.headers["X-User"]

    def plan() -> int:
        return int(request.headers["X-Plan"])

    api = Blueprint("api", __name__)
    search = rate_limit("3/minute;90/day", key_func=by_user, name="search")(lambda: "ok")
    upload = concurrency_limit(2)(rate_limit(200, algorithm="auto")(lambda: "ok"))
    api.add_url_rule("/search", "search", search)
    api.add_url_rule("/upload", "upload", upload, methods=["POST"])
    ratelimit.limit(api, 20, shared="api")
    limited.app.register_blueprint(api)
    limited.app.add_url_rule("/plan", "plan", rate_limit(plan, shadow=True)(lambda: "ok"))
    mixed = rate_limit(7, methods=["POST"], name="writes")(lambda: "ok")
    limited.app.add_url_rule("/mixed", "mixed", mixed, methods=["GET", "POST"])
    for _ in range(3):
        limited.client.get("/search", headers={"X-User": "ann"})
    limited.client.post("/upload")
    return limited


def run(limited: Limited, *arguments: str, code: int = 0) -> str:
    result = limited.app.test_cli_runner().invoke(args=["redis", "limits", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def as_json(limited: Limited, *arguments: str) -> Any:
    return json.loads(run(limited, *arguments, "--json"))


def test_list_shows_every_limit_of_every_route(shop: Limited) -> None:
    output = run(shop, "list")
    assert output.splitlines()[0].split() == [
        "endpoint", "methods", "policy", "limit", "window", "key", "algorithm", "from"
    ]  # fmt: skip
    lines = as_json(shop, "list")
    assert len(output.splitlines()) == len(lines) + 1
    seen = {(line["endpoint"], line["policy"]): line for line in lines}
    search = seen["api.search", "search per-day"]
    assert (search["limit"], search["window"], search["methods"]) == ("90", "86400 s", ["GET"])
    assert search["key"].endswith("by_user")
    assert seen["api.search", "api"]["from"] == "shared 'api'"
    assert seen["api.search", "application per-minute"]["from"] == "application"
    assert seen["api.upload", "concurrent"]["algorithm"] == "leases"
    assert seen["api.upload", "per-minute"]["algorithm"] == "auto"
    assert seen["mixed", "writes"]["methods"] == ["POST"]
    assert seen["mixed", "application per-minute"]["methods"] == ["GET", "POST"]
    [plan] = [line for line in lines if "shadow" in line["from"]]
    assert plan["limit"].endswith("plan")


def test_peek_and_reset_use_the_keys_of_the_requests(shop: Limited) -> None:
    def left(key: str) -> dict[str, int]:
        found = as_json(shop, "peek", "--endpoint", "api.search", "--key", key)
        return {each["policy"]: each["remaining"] for each in found}

    assert left("ann")["search per-minute"] == 0
    assert left("bob")["search per-minute"] == 3
    assert "refuses" in run(shop, "peek", "--endpoint", "api.search", "--key", "ann")
    ann = {"X-User": "ann"}
    assert shop.statuses("/search", 1, headers=ann) == [429]
    assert "Forgotten" in run(shop, "reset", "--endpoint", "api.search", "--key", "ann")
    assert shop.statuses("/search", 1, headers=ann) == [200]
    assert as_json(shop, "reset", "--endpoint", "api.search", "--key", "nobody") == {"reset": False}


def test_a_limit_of_check_is_meant_by_its_name(shop: Limited) -> None:
    with shop.app.app_context():
        shop.kit.ratelimit.check(5, 300, key="ann", name="login")
    arguments = ("--name", "login", "--key", "ann", "--limit", "5", "--window", "300")
    [seen] = as_json(shop, "peek", *arguments)
    assert (seen["remaining"], seen["limit"], seen["window"]) == (4, 5, 300.0)
    assert "Forgotten" in run(shop, "reset", *arguments)
    assert "Nothing was counted" in run(shop, "reset", *arguments)


def test_show_tells_all_of_a_route_or_a_policy_and_what_it_did(shop: Limited) -> None:
    shop.client.get("/search", headers={"X-User": "ann"})
    by_route = as_json(shop, "show", "api.search")
    assert len(by_route) == 4
    [policy] = as_json(shop, "show", "search per-minute")
    assert policy["today"] == {"admitted": 3, "refused": 1}
    assert (policy["cost"], policy["on_error"], policy["counted as"]) == (
        1, "open", "api.search#search"
    )  # fmt: skip
    assert "admitted 3" in run(shop, "show", "search per-minute")


def test_top_shows_who_uses_most_and_nobody_s_name(
    shop: Limited, redis_client: redis.Redis
) -> None:
    left_over = "frk:{counter:" + "0" * 32 + "}:limit:s1:old/60"
    redis_client.zadd(left_over, {"a": 1})  # its window is over: nobody uses it
    redis_client.expire(left_over, 60)
    found = as_json(shop, "top", "-n", "2")
    assert [use["used"] for use in found["uses"]] == [4, 4]
    assert {use["scope"] for use in found["uses"]} == {"@application", "api"}
    assert found["complete"] is True
    everything = as_json(shop, "top")["uses"]
    kinds = {use["scope"]: use["used"] for use in everything}
    assert kinds["api.upload"] == 1  # kept in buckets
    assert "old" not in kinds
    assert "127.0.0.1" not in json.dumps(everything) + run(shop, "top")
    assert "ann" not in json.dumps(everything)
    [search, _] = as_json(shop, "top", "--scope", "api.search#search")["uses"]
    assert (search["used"], len(search["identity"])) == (3, 32)


def test_top_passes_by_what_no_limit_has_written(shop: Limited, redis_client: redis.Redis) -> None:
    namespace = b"frk:{counter:" + b"1" * 32 + b"}:limit:s1:"
    for scope in (b"\xff", b"\x1b[31mred"):
        key = namespace + scope + b"/60"
        redis_client.zadd(key, {"a": server_now(redis_client)})
        redis_client.expire(key, 60)
    assert "1" * 32 not in run(shop, "top", "-n", "1000")


def test_top_looks_at_no_more_keys_than_it_may(shop: Limited, redis_client: redis.Redis) -> None:
    redis_client.set("counter:limit:not-ours", "1", ex=60)
    output = run(shop, "top", "--keys", "2")
    assert "more than 2 keys" in output
    assert len(output.splitlines()) <= 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("peek", "--endpoint", "nowhere", "--key", "k"), 1, "no endpoint 'nowhere'"),
        (("peek", "--endpoint", "static", "--key", "k"), 1, "No limit holds for 'static'"),
        (("peek", "--endpoint", "plan", "--key", "k"), 1, "limit='100/minute'"),
        (("peek", "--key", "k"), 2, "--endpoint or --name"),
        (("reset", "--endpoint", "plan", "--name", "x", "--key", "k"), 2, "--endpoint or --name"),
        (("reset", "--endpoint", "plan", "--key", ""), 1, "nobody to count for"),
        (("peek", "--name", "x", "--key", "k", "--limit", "many"), 1, "many"),
        (("show", "nothing"), 1, "`flask redis limits list`"),
    ],
)
def test_what_can_not_be_is_said_in_a_sentence(
    shop: Limited, arguments: tuple[str, ...], code: int, said: str
) -> None:
    output = run(shop, *arguments, code=code)
    assert said in output
    assert "Traceback" not in output


def test_a_server_that_is_away_is_said_in_a_sentence(shop: Limited, server: Server) -> None:
    server.kill()
    for arguments in (("top",), ("reset", "--endpoint", "api.search", "--key", "ann")):
        assert "Error: " in run(shop, *arguments, code=1)


def test_without_limits_list_says_so(limited: Limited) -> None:
    assert run(limited, "list") == "No route is limited.\n"


def test_long_logs_are_warned_of_with_their_size(
    limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    limited.app.get("/")(rate_limit(10_000)(lambda: "ok"))
    result = limited.app.test_cli_runner().invoke(args=["redis", "info"])
    assert "ratelimit: The limit 'per-minute' of 10,000" in result.output
    assert "1.2 MB" in result.output
    limited.statuses("/", 3)
    limited.client.head("/")
    said = [r.message for r in caplog.records if "10,000" in r.message]
    assert len(said) == 1


def test_long_logs_are_warned_of_at_the_first_request_whatever_route_that_is(
    limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    app = limited.app
    rate_limit(5)(app.get("/misplaced", endpoint="misplaced")(lambda: "ok"))  # it is said there
    app.add_url_rule("/big", "big", rate_limit(10_000)(lambda: "ok"))
    app.get("/other", endpoint="other")(lambda: "ok")
    assert limited.statuses("/other", 2) == [200, 200]
    assert [r.message for r in caplog.records].count(
        "The limit 'per-minute' of 10,000 keeps an entry for each request: up to 1.2 MB for each "
        "key. algorithm='auto' keeps it in 0.4 kB, and frees units up to 1/64 of the window late."
    ) == 1


def test_a_limit_that_a_function_finds_has_the_name_and_the_counts_of_its_requests(
    make_app: MakeApp,
) -> None:
    limited = make_app()

    def plan() -> str | int:
        return request.args.get("plan", 3)

    limited.app.add_url_rule("/plan", "plan", rate_limit(plan)(lambda: "ok"))
    limited.client.get("/plan")
    limited.client.get("/plan?plan=1/day")
    assert limited.client.get("/plan?plan=1/day").status_code == 429
    (line,) = as_json(limited, "list")
    assert line["policy"] == "per-minute"
    (shown,) = as_json(limited, "show", "plan")
    assert shown["today"] == {"admitted": 2, "refused": 1}
