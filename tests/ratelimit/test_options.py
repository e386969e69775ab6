"""What ``@rate_limit`` takes beside its limit: each option alone, on real requests."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask, abort, g, request
from flask.views import MethodView

from flask_redis_kit import RateLimitExceeded, rate_limit
from flask_redis_kit.ratelimit import EXEMPT, Decision, RateLimitUnavailable
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.ratelimit.conftest import Limited, MakeApp

View = Callable[[], Any]


def add(limited: Limited, view: View, path: str = "/", **options: Any) -> None:
    limited.app.add_url_rule(path, path.strip("/") or "home", view, **options)


def ok() -> str:
    return "ok"


# limits


def test_a_text_holds_several_limits(limited: Limited, proxy: Proxy) -> None:
    add(limited, rate_limit("9/minute; 2 per 10 minutes")(ok))
    with proxy.counting() as count:
        assert limited.client.get("/").status_code == 200
    assert count.trips == 1
    assert limited.statuses("/", 2) == [200, 429]


def test_a_limit_by_plan_keeps_the_usage_when_the_plan_changes(limited: Limited) -> None:
    plans: dict[str, Any] = {"free": 2, "paid": "4/minute", "staff": EXEMPT}
    add(limited, rate_limit(lambda: plans[request.headers["X-Plan"]])(ok))

    def ask(plan: str, n: int) -> list[int]:
        return limited.statuses("/", n, headers={"X-Plan": plan})

    assert ask("free", 3) == [200, 200, 429]
    assert ask("paid", 3) == [200, 200, 429]
    assert ask("free", 1) == [429]
    assert ask("staff", 3) == [200] * 3


@pytest.mark.parametrize("found", [0, -1, True, None, 1.5, "many", "0/minute", [5]])
def test_a_wrong_limit_that_a_function_finds_is_an_error_not_unlimited(
    limited: Limited, found: Any
) -> None:
    def plan() -> Any:
        return found

    add(limited, rate_limit(plan)(lambda: pytest.fail("it was let through")))
    limited.app.testing = True
    with pytest.raises((TypeError, ValueError), match="plan"):
        limited.client.get("/")


def test_functions_that_fail_are_not_unlimited_either(limited: Limited) -> None:
    def broken() -> Any:
        raise RuntimeError("a defect of the user's")

    limited.app.testing = True
    options: tuple[dict[str, Any], ...] = (
        {"limit": broken},
        {"key_func": broken},
        {"cost": broken},
        {"when": broken},
    )
    for n, each in enumerate(options):
        add(limited, rate_limit(**each)(lambda: pytest.fail("passed")), f"/{n}")
    for n in range(len(options)):
        with pytest.raises(RuntimeError, match="a defect"):
            limited.client.get(f"/{n}")


def test_its_functions_may_be_objects_that_have_no_hash(limited: Limited) -> None:
    @dataclasses.dataclass
    class Given:
        value: Any

        def __call__(self, *_: object) -> Any:
            return self.value

    own = rate_limit(Given(2), key_func=Given("ann"), cost=Given(1), when=Given(True))
    other = rate_limit(9, key_func=Given("bob"), count_when=Given(False))
    add(limited, own(other(ok)))
    assert limited.statuses("/", 3) == [200, 200, 429]


# costs


def test_a_cost_takes_as_many_units(limited: Limited) -> None:
    add(limited, rate_limit(7, cost=3)(ok))
    assert limited.statuses("/", 3) == [200, 200, 429]


def test_a_cost_can_be_found_by_request(limited: Limited) -> None:
    add(limited, rate_limit(10, cost=lambda: int(request.args["n"]))(ok))
    statuses = [limited.client.get(f"/?n={n}").status_code for n in (6, 5, 4, 0, 1)]
    assert statuses == [200, 429, 200, 200, 429]
    limited.app.testing = True
    for n, said in ((11, "raise limit="), (-1, "0 or more")):
        with pytest.raises(ValueError, match=said):
            limited.client.get(f"/?n={n}")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"cost": 6}, ValueError, "cost=6"),
        ({"cost": -1}, ValueError, "cost="),
        ({"cost": 1.5}, TypeError, "cost="),
        ({"cost": lambda _: 1}, TypeError, "cost="),
        ({"algorithm": "token-bucket"}, ValueError, "'sliding-log' or 'auto'"),
        ({"on_error": "ignore"}, ValueError, "on_error="),
        ({"methods": []}, ValueError, "methods="),
        ({"methods": ["GET", 5]}, ValueError, "methods="),
        ({"name": ""}, TypeError, "name="),
        ({"shared": 5}, TypeError, "shared="),
        ({"when": "always"}, TypeError, "when="),
        ({"exempt_when": lambda _: True}, TypeError, "exempt_when="),
        ({"count_when": lambda: True}, TypeError, "count_when= must take one argument"),
        ({"response": "no"}, TypeError, "response="),
        ({"per_method": True}, TypeError, "per_method"),
    ],
)
def test_a_wrong_option_is_refused_at_once(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        rate_limit(5, 60, **options)


# for whom and when


def test_it_can_be_about_some_methods_only(limited: Limited) -> None:
    limited_view = rate_limit(1, methods=["post", "PUT"])(ok)
    add(limited, limited_view, methods=["GET", "POST", "PUT"])
    add(limited, rate_limit(1, methods="GET")(ok), "/read")
    assert limited.statuses("/", 3) == [200] * 3
    assert limited.client.post("/").status_code == 200
    assert limited.client.put("/").status_code == 429
    assert limited.client.head("/read").status_code == 200
    assert limited.statuses("/read", 1) == [429]


def test_conditions_decide_whether_it_holds(limited: Limited, redis_client: redis.Redis) -> None:
    add(limited, rate_limit(1, when=lambda: "limited" in request.args)(ok), "/when")
    add(limited, rate_limit(1, exempt_when=lambda: "free" in request.args)(ok), "/exempt")
    assert limited.statuses("/when", 3) == limited.statuses("/exempt?free=1", 3) == [200] * 3
    assert redis_client.keys() == []
    assert limited.statuses("/when?limited=1", 2) == limited.statuses("/exempt", 2) == [200, 429]


def test_what_is_shared_is_counted_together(limited: Limited) -> None:
    shared = rate_limit(3, shared="search")
    add(limited, shared(ok), "/a")
    add(limited, rate_limit(9)(shared(rate_limit(8)(lambda: "ok"))), "/b")
    assert limited.statuses("/a", 2) + limited.statuses("/b", 2) == [200, 200, 200, 429]
    with limited.app.app_context():
        assert limited.kit.ratelimit.peek(limit=3, key="127.0.0.1", name="search").remaining == 0


def test_a_name_keeps_its_log_wherever_it_stands(limited: Limited) -> None:
    one, two = rate_limit(9, name="one"), rate_limit(2, name="two")
    add(limited, one(two(ok)), "/a")
    limited.statuses("/a", 1)
    with limited.app.app_context():
        peek = limited.kit.ratelimit.peek
        assert peek(limit=9, key="127.0.0.1", name="a#one").remaining == 8
        assert peek(limit=2, key="127.0.0.1", name="a#two").remaining == 1
    assert '"one";q=9;w=60, "two";q=2;w=60' in limited.client.get("/a").headers["RateLimit-Policy"]


def test_a_limit_in_shadow_refuses_nobody_and_is_not_shown(limited: Limited) -> None:
    add(limited, rate_limit(1, shadow=True)(rate_limit(3, 90)(ok)))
    responses = [limited.client.get("/") for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert responses[0].headers["X-RateLimit-Limit"] == "3"
    assert responses[0].headers["RateLimit-Policy"] == '"per-90-seconds";q=3;w=90'


def test_on_a_view_class_it_holds_for_all_its_methods(limited: Limited) -> None:
    @rate_limit(2)
    class Item(MethodView):
        def get(self) -> str:
            return "got"

        def post(self) -> str:
            return "posted"

    add(limited, Item.as_view("item"))
    assert [limited.client.get("/").text, limited.client.post("/").text] == ["got", "posted"]
    assert limited.statuses("/", 1) == [429]
    with pytest.raises(TypeError, match="decorates functions"):
        rate_limit(2)(Flask)


def test_another_algorithm_has_another_log(limited: Limited, redis_client: redis.Redis) -> None:
    """The same route, before and after its algorithm was changed, on the same data."""
    for algorithm in ("sliding-log", "auto"):
        view = rate_limit(200, algorithm=algorithm)(ok)
        limited.app.view_functions["home"] = view
        if algorithm == "sliding-log":
            limited.app.add_url_rule("/", "home", view)
        assert limited.client.get("/").headers["X-RateLimit-Remaining"] == "199"
    assert sorted(redis_client.type(key) for key in redis_client.scan_iter()) == [b"hash", b"zset"]


# counting by the answer


def failed(response: Any) -> bool:
    return bool(response.status_code >= 400)


def test_only_what_count_when_says_is_counted(limited: Limited, proxy: Proxy) -> None:
    @rate_limit(2, count_when=failed)
    def login() -> Any:
        if "explode" in request.args:
            raise RuntimeError("a defect of the view")
        if "wrong" in request.args:
            abort(401)
        return "welcome"

    add(limited, login)
    limited.app.config["PROPAGATE_EXCEPTIONS"] = False
    assert limited.statuses("/", 5) == [200] * 5
    assert limited.statuses("/?wrong=1", 1) + limited.statuses("/?explode=1", 1) == [401, 500]
    assert limited.statuses("/", 1) == [429]


def test_the_refund_rides_with_the_end_of_the_request(limited: Limited, proxy: Proxy) -> None:
    add(limited, rate_limit(2, count_when=failed)(ok))
    limited.client.get("/")  # the server knows the scripts now
    with proxy.counting() as count:
        assert limited.client.get("/").status_code == 200
    assert count.trips == 2
    with limited.app.app_context():
        assert limited.kit.ratelimit.peek("home", key="127.0.0.1").remaining == 2


def test_a_view_whose_error_goes_through_is_settled_as_a_500(limited: Limited) -> None:
    def view() -> str:
        raise RuntimeError("a defect of the view")

    add(limited, rate_limit(5, count_when=failed)(view), "/failures")
    add(limited, rate_limit(5, count_when=lambda r: not failed(r))(view), "/successes")
    limited.app.testing = True
    for path, left in (("/failures", 4), ("/successes", 5)):
        with pytest.raises(RuntimeError, match="a defect"):
            limited.client.get(path)
        with limited.app.app_context():
            assert limited.kit.ratelimit.peek(path[1:], key="127.0.0.1").remaining == left


def test_forty_at_once_that_count_by_their_answer_are_admitted_exactly(limited: Limited) -> None:
    """Testing before and counting after would let all of them through."""
    together = threading.Barrier(40)
    admitted = threading.Semaphore(0)

    @rate_limit(3, count_when=lambda _: True)
    def view() -> str:
        admitted.release()
        return "ok"

    add(limited, view)
    statuses: list[int] = []

    def ask() -> None:
        client = limited.app.test_client()
        together.wait()
        statuses.append(client.get("/").status_code)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(429)) == (3, 37)


def test_a_function_counts_by_its_value_and_what_it_raises_counts(limited: Limited) -> None:
    @limited.kit.ratelimit.rate_limit(2, key_func=lambda: "k", count_when=lambda value: value > 5)
    def work(n: int) -> int:
        if n == 0:
            raise ZeroDivisionError
        return n

    assert [work(n) for n in (1, 2, 3, 9)] == [1, 2, 3, 9]
    with pytest.raises(ZeroDivisionError):
        work(0)
    with pytest.raises(RateLimitExceeded):
        work(1)


def test_an_async_function_counts_by_its_value(limited: Limited) -> None:
    import asyncio

    @limited.kit.ratelimit.rate_limit(1, key_func=lambda: "k", count_when=lambda value: value > 5)
    async def work(n: int) -> int:
        return n

    async def several() -> list[int]:
        return [await work(n) for n in (1, 2, 9)]

    with limited.app.app_context():
        assert asyncio.run(several()) == [1, 2, 9]
        with pytest.raises(RateLimitExceeded):
            asyncio.run(several())


def test_a_count_when_that_fails_is_an_error_and_the_request_counts(limited: Limited) -> None:
    def broken(_: Any) -> bool:
        raise RuntimeError("a defect of the user's")

    add(limited, rate_limit(5, count_when=broken)(ok))
    assert limited.client.get("/").status_code == 500
    with limited.app.app_context():
        assert limited.kit.ratelimit.peek("home", key="127.0.0.1").remaining == 4


# answers


def test_a_response_of_its_own_beats_the_error_handlers(limited: Limited) -> None:
    def slow_down(decision: Decision) -> Any:
        g.seen = decision
        return {
            "wait": round(decision.retry_after),
            "policies": [r.policy for r in decision.refused],
        }

    add(limited, rate_limit(1, response=slow_down, name="own")(ok), "/dict")
    add(limited, rate_limit(1, response=lambda _: ("later", 503))(ok), "/tuple")
    add(limited, rate_limit(1)(ok), "/usual")
    limited.app.register_error_handler(429, lambda _: ("handled", 429))
    seen = {path: [limited.client.get(path) for _ in range(2)][1] for path in ("/dict", "/tuple")}
    assert seen["/dict"].status_code == 429
    assert seen["/dict"].json == {"wait": 60, "policies": ["own"]}
    assert (seen["/tuple"].status_code, seen["/tuple"].text) == (503, "later")
    for response in seen.values():
        assert response.headers["Retry-After"] == "60"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-RateLimit-Remaining"] == "0"
    limited.client.get("/usual")
    assert limited.client.get("/usual").text == "handled"


def test_each_limit_has_its_own_policy_when_redis_is_away(
    make_app: MakeApp, server: Server
) -> None:
    limited = make_app(REDIS_RATELIMIT_WORKERS=2)
    policies = ("open", "closed", "local", "raise")
    for policy in policies:
        add(limited, rate_limit(4, on_error=policy)(ok), f"/{policy}")  # type: ignore[arg-type]
    server.kill()
    assert limited.statuses("/open", 9) == [200] * 9
    assert limited.statuses("/closed", 2) == [503, 503]
    assert limited.statuses("/local", 4) == [200, 200, 429, 429]
    assert limited.statuses("/raise", 1) == [500]
    body = limited.client.get("/closed").get_json(force=True)
    assert body["type"].endswith("#temporary-reduced-capacity")
    assert body["violated-policies"] == ["per-minute"]
    with limited.app.app_context(), pytest.raises(RateLimitUnavailable):
        limited.kit.ratelimit.check(5, key="k", on_error="closed")
