"""Limits from outside of a view: of blueprints, of the application, defaults; and exemptions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Blueprint, Flask, Response, abort, request
from flask.views import MethodView

from flask_redis_kit import ConfigError, RateLimitExceeded, RedisKit, rate_limit
from flask_redis_kit.ratelimit import EXEMPT
from tests.harness.proxy import Proxy
from tests.ratelimit.conftest import Limited, MakeApp

standalone = pytest.mark.standalone("limits over several identities are two trips on a Cluster")


def add(limited: Limited, path: str, view: Callable[[], Any] = lambda: "ok") -> None:
    limited.app.add_url_rule(path, path.strip("/") or "home", view)


def blueprint_of(limited: Limited, **views: Callable[[], Any]) -> Blueprint:
    blueprint = Blueprint("shop", __name__)
    for name, view in views.items():
        blueprint.add_url_rule(f"/{name}", name, view)
    return blueprint


# where they hold


def test_an_application_limit_counts_all_its_requests_together(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="4/minute;100/day")
    add(limited, "/a")
    add(limited, "/b", rate_limit(50)(lambda: "ok"))
    assert limited.statuses("/a", 1) + limited.statuses("/b", 1) == [200, 200]
    assert limited.client.get("/nowhere").status_code == 404
    assert limited.client.post("/a").status_code == 405
    assert limited.statuses("/a", 1) + limited.statuses("/b", 1) == [429, 429]
    assert limited.client.get("/nowhere").status_code == 429


def test_a_default_limit_holds_for_each_route_without_one_of_its_own(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_DEFAULT="2/minute")
    add(limited, "/a")
    add(limited, "/b")
    add(limited, "/own", rate_limit(4)(lambda: "ok"))
    add(limited, "/tried", rate_limit(1, shadow=True)(lambda: "ok"))
    add(limited, "/posted", rate_limit(9, methods=["POST"])(lambda: "ok"))
    assert limited.statuses("/a", 3) == [200, 200, 429]
    assert limited.statuses("/b", 3) == [200, 200, 429]
    assert limited.statuses("/own", 5) == [200, 200, 200, 200, 429]
    assert limited.statuses("/tried", 3) == [200, 200, 429]
    assert limited.statuses("/posted", 3) == [200, 200, 429]
    assert limited.statuses("/nowhere", 3) == [404, 404, 404]


def test_static_files_are_free_of_default_and_application_limits(
    make_app: MakeApp, tmp_path: Any
) -> None:
    limited = make_app(REDIS_RATELIMIT_DEFAULT="1/minute", REDIS_RATELIMIT_APPLICATION="2/minute")
    (tmp_path / "a.txt").write_text("a")
    limited.app.static_folder = str(tmp_path)
    blueprint = Blueprint("part", __name__, static_folder=str(tmp_path), static_url_path="/part")
    limited.app.register_blueprint(blueprint)
    named_so = Blueprint("fake", __name__)  # an endpoint may be called so and be none
    named_so.add_url_rule("/fake", "static", lambda: "ok")
    limited.app.register_blueprint(named_so)
    for path in ("/static/a.txt", "/part/a.txt"):
        for _ in range(4):
            with limited.client.get(path) as response:
                assert response.status_code == 200
                assert "X-RateLimit-Limit" not in response.headers
    assert limited.statuses("/fake", 2) == [200, 429]


def test_a_blueprint_s_limit_holds_for_each_of_its_views(limited: Limited) -> None:
    blueprint = blueprint_of(limited, a=lambda: "ok", b=lambda: "ok")
    limited.kit.ratelimit.limit(blueprint, "2/minute")
    limited.app.register_blueprint(blueprint)
    add(limited, "/free")
    assert limited.statuses("/a", 3) == [200, 200, 429]
    assert limited.statuses("/b", 3) == [200, 200, 429]
    assert limited.statuses("/free", 3) == [200, 200, 200]


def test_a_blueprint_s_limit_holds_from_its_declaration_on(limited: Limited) -> None:
    blueprint = blueprint_of(limited, a=lambda: "ok")
    limited.app.register_blueprint(blueprint)
    assert limited.statuses("/a", 3) == [200, 200, 200]
    limited.kit.ratelimit.limit(blueprint, 2)
    assert limited.statuses("/a", 3) == [200, 200, 429]


def test_a_shared_limit_counts_the_views_of_a_blueprint_together(limited: Limited) -> None:
    blueprint = blueprint_of(limited, a=lambda: "ok", b=lambda: "ok")
    limited.kit.ratelimit.limit(blueprint, 2, 60, shared="shop")
    limited.app.register_blueprint(blueprint)
    assert limited.statuses("/a", 1) + limited.statuses("/b", 2) == [200, 200, 429]


def test_from_outside_too_a_limit_can_be_about_some_methods_only(limited: Limited) -> None:
    blueprint = Blueprint("shop", __name__)
    for path, view in (("/own", rate_limit(9)(lambda: "ok")), ("/plain", lambda: "ok")):
        blueprint.add_url_rule(path, path[1:], view, methods=["GET", "POST"])
    limited.kit.ratelimit.limit(blueprint, 1, methods=["POST"])
    limited.kit.ratelimit.limit(limited.app, 3, methods=["DELETE"])
    limited.app.register_blueprint(blueprint)
    for path in ("/own", "/plain"):
        assert limited.statuses(path, 3) == [200] * 3
        assert [limited.client.post(path).status_code for _ in range(2)] == [200, 429]
    assert [limited.client.delete("/none").status_code for _ in range(4)] == [404, 404, 404, 429]
    assert limited.statuses("/none", 3) == [404] * 3
    with pytest.raises(AssertionError, match="first request"):
        limited.kit.ratelimit.limit(limited.app, 5)


def test_limits_of_blueprints_around_each_other_all_hold(limited: Limited) -> None:
    inner, outer = Blueprint("inner", __name__), Blueprint("outer", __name__)
    inner.add_url_rule("/deep", "deep", lambda: "ok")
    outer.add_url_rule("/flat", "flat", lambda: "ok")
    outer.register_blueprint(inner)
    limited.kit.ratelimit.limit(outer, 3)
    limited.kit.ratelimit.limit(inner, 2)
    limited.app.register_blueprint(outer)
    assert limited.statuses("/deep", 3) == [200, 200, 429]
    assert limited.statuses("/flat", 4) == [200, 200, 200, 429]


def test_an_application_of_two_kits_asks_each_for_its_own(proxy: Proxy) -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = app.config["OTHER_URL"] = proxy.url
    first = RedisKit(app, features=("ratelimit",))
    second = RedisKit(app, features=("ratelimit",), name="second", config_prefix="OTHER")
    second.ratelimit.limit(app, 2)
    app.add_url_rule("/a", "a", first.ratelimit.rate_limit(1)(lambda: "ok"))
    app.add_url_rule("/b", "b", lambda: "ok")
    client = app.test_client()
    statuses = [client.get(path).status_code for path in ("/a", "/a", "/b", "/b")]
    assert statuses == [200, 429, 429, 429]
    with app.app_context():
        first.close()
        second.close()


# in one call


@standalone
def test_all_limits_of_a_request_are_one_script_call(make_app: MakeApp, proxy: Proxy) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="60/minute")
    kit = limited.kit.ratelimit

    @kit.rate_limit(30, key_func=lambda: "a")
    @rate_limit("20/minute;90/hour", key_func=lambda: "b")
    @kit.concurrency_limit(5)
    @kit.rate_limit(1, shadow=True)
    def view() -> str:
        return "ok"

    blueprint = blueprint_of(limited, home=view)
    kit.limit(blueprint, 40)
    kit.limit(limited.app, 50)
    limited.app.register_blueprint(blueprint)
    limited.client.get("/home")  # the server knows the scripts now
    with proxy.counting() as count:
        assert limited.client.get("/home").status_code == 200
    # and at the end the place of the concurrency limit goes back
    assert [command[2] for command in count.commands] == [b"8", b"1"]
    assert count.trips == 2


@standalone
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_view_class_is_asked_with_the_limits_around_it(
    make_app: MakeApp, proxy: Proxy, method: str
) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="60/minute")

    class Item(MethodView):
        @rate_limit(5)
        def get(self) -> str:
            return "ok"

        def post(self) -> str:
            return "ok"

    limited.app.add_url_rule("/", view_func=Item.as_view("item"))
    with proxy.counting() as count:
        assert getattr(limited.client, method)("/").status_code == 200
    assert count.trips == 1
    assert [command[2] for command in count.commands] == [b"2" if method == "get" else b"1"]


def test_a_decorator_between_splits_them_and_the_outer_ones_are_asked_first(
    make_app: MakeApp, proxy: Proxy
) -> None:
    """What stands above it may be expensive: an application's limit protects that, too."""
    limited = make_app(REDIS_RATELIMIT_APPLICATION="3/minute")
    calls: list[str] = []

    def login_required(view: Callable[[], str]) -> Callable[[], Any]:
        @functools.wraps(view)
        def wrapper() -> Any:
            calls.append("login")
            return view()

        return wrapper

    @limited.app.get("/")
    @login_required
    @rate_limit(9, key_func=lambda: calls.append("key") or "k")  # type: ignore[func-returns-value]
    def home() -> str:
        return "ok"

    with proxy.counting() as count:
        assert limited.client.get("/").status_code == 200
    assert count.trips == 2
    assert limited.statuses("/", 3) == [200, 200, 429]
    assert calls == ["login", "key"] * 3


def test_a_request_that_never_reaches_its_view_counts_all_the_same(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="2/minute")

    @limited.app.before_request
    def only_friends() -> None:
        abort(401)

    @limited.app.get("/")
    @rate_limit(9)
    def home() -> str:
        return "ok"

    responses = [limited.client.get("/") for _ in range(4)]
    assert [response.status_code for response in responses] == [401, 401, 429, 429]
    assert responses[1].headers["X-RateLimit-Remaining"] == "0"
    assert int(responses[2].headers["Retry-After"]) >= 1
    assert responses[2].mimetype == "application/problem+json"


@pytest.mark.parametrize("own", [True, False], ids=["limited", "plain"])
def test_who_answers_before_the_kit_was_set_up_is_limited_too(proxy: Proxy, own: bool) -> None:
    app = Flask("shop")
    app.config.update(REDIS_URL=proxy.url, REDIS_RATELIMIT_APPLICATION="2/minute")

    @app.before_request
    def only_friends() -> tuple[str, int] | None:
        return None if request.headers.get("X-Friend") else ("no", 401)

    kit = RedisKit(app)
    view = rate_limit(9)(lambda: "ok") if own else lambda: "ok"
    app.add_url_rule("/", "home", view)
    client = app.test_client()
    friend = client.get("/", headers={"X-Friend": "1"})
    responses = [client.get("/") for _ in range(3)]
    assert (friend.status_code, friend.headers["X-RateLimit-Remaining"]) == (200, "1")
    assert [response.status_code for response in responses] == [401, 429, 429]
    assert responses[0].headers["X-RateLimit-Remaining"] == "0"
    with app.app_context():
        kit.close()


def test_what_flask_answers_itself_counts_for_the_application(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="2/minute")
    add(limited, "/", rate_limit(9)(lambda: "ok"))
    statuses = [limited.client.options("/").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_a_refusal_by_the_application_counts_under_none_of_the_others(
    make_app: MakeApp, redis_client: redis.Redis
) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="1/minute")
    add(limited, "/", rate_limit(9)(lambda: "ok"))
    assert limited.statuses("/", 3) == [200, 429, 429]
    with limited.app.app_context():
        decision = limited.kit.ratelimit.peek("home", key="127.0.0.1").decision
    assert [result.remaining for result in decision.results] == [8, 0]


# exemptions


def test_an_exempt_view_has_only_its_own_limits(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="2/minute", REDIS_RATELIMIT_DEFAULT="1/minute")
    exempt = limited.kit.ratelimit.exempt

    @limited.app.get("/free")
    @exempt
    def free() -> str:
        return "ok"

    @exempt
    class Item(MethodView):
        def get(self) -> str:
            return "ok"

    class Derived(Item):
        pass

    limited.app.add_url_rule("/item", view_func=Item.as_view("item"))
    limited.app.add_url_rule("/derived", view_func=Derived.as_view("derived"))
    add(limited, "/own", exempt(rate_limit(3)(lambda: "ok")))
    add(limited, "/inner", rate_limit(3)(exempt(lambda: "ok")))
    add(limited, "/other")
    assert limited.statuses("/free", 5) == limited.statuses("/item", 5) == [200] * 5
    assert limited.statuses("/derived", 2) == [200, 429]
    for path in ("/own", "/inner"):
        assert limited.statuses(path, 4) == [200, 200, 200, 429]
    assert limited.statuses("/other", 2) == [200, 429]


def test_an_exempt_blueprint_is_free_of_what_is_around_it(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="2/minute")
    inner = limited.kit.ratelimit.exempt(Blueprint("inner", __name__))
    outer = Blueprint("outer", __name__)
    inner.add_url_rule("/deep", "deep", lambda: "ok")
    inner.add_url_rule("/own", "own", rate_limit(3)(lambda: "ok"))
    outer.register_blueprint(inner)
    limited.kit.ratelimit.limit(outer, 1)
    limited.app.register_blueprint(outer)
    assert limited.statuses("/deep", 4) == [200] * 4
    assert limited.statuses("/own", 4) == [200, 200, 200, 429]


def test_a_key_func_can_exempt_its_caller(limited: Limited, redis_client: redis.Redis) -> None:
    from flask import request

    def user() -> Any:
        return EXEMPT if request.headers.get("X-Admin") else "k"

    @limited.app.get("/")
    @rate_limit(1, key_func=user)
    def home() -> str:
        return "ok"

    assert limited.statuses("/", 3, headers={"X-Admin": "1"}) == [200] * 3
    assert redis_client.keys() == []
    assert limited.statuses("/", 2) == [200, 429]


def test_clients_of_exempt_networks_are_free(make_app: MakeApp, redis_client: redis.Redis) -> None:
    limited = make_app(
        REDIS_RATELIMIT_EXEMPT="10.0.0.0/8, ::1",
        REDIS_RATELIMIT_TRUSTED_PROXIES="192.0.2.0/24",
        REDIS_RATELIMIT_APPLICATION="1/minute",
    )
    add(limited, "/", rate_limit(1)(lambda: "ok"))
    add(limited, "/plain")
    for address in ("10.1.2.3", "::1", "::ffff:10.9.9.9"):
        environ = {"REMOTE_ADDR": address}
        assert limited.statuses("/", 3, environ_overrides=environ) == [200] * 3
        assert limited.statuses("/plain", 3, environ_overrides=environ) == [200] * 3
    through = {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "10.1.2.3"}
    assert limited.statuses("/", 3, environ_overrides=through) == [200] * 3
    assert redis_client.keys() == []
    claimed = {"REMOTE_ADDR": "203.0.113.1", "HTTP_X_FORWARDED_FOR": "10.1.2.3"}
    assert limited.statuses("/", 2, environ_overrides=claimed) == [200, 429]


# settings


def test_the_client_is_found_behind_the_proxies_of_the_settings(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_TRUSTED_PROXIES=1, REDIS_RATELIMIT_IPV6_PREFIX=48)
    add(limited, "/", rate_limit(1)(lambda: limited.kit.ratelimit.client_ip()))

    def ask(address: str) -> Any:
        return limited.client.get("/", headers={"X-Forwarded-For": f"6.6.6.6, {address}"})

    assert ask("203.0.113.1").text == "203.0.113.1"
    assert ask("203.0.113.2").text == "203.0.113.2"
    assert ask("203.0.113.1").status_code == 429
    assert ask("2001:db8:1:2::3").text == "2001:db8:1::/48"
    assert ask("2001:db8:1:9::9").status_code == 429


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("APPLICATION", "100/fortnight", "fortnight"),
        ("APPLICATION", "many", "many"),
        ("DEFAULT", "0/minute", "0/minute"),
        ("EXEMPT", "10.1.2.3/8", "10.0.0.0/8"),
        ("TRUSTED_PROXIES", "proxy", "proxy"),
        ("TRUSTED_PROXIES", -1, "-1"),
        ("IPV6_PREFIX", 129, "129"),
        ("HEADERS", "x,draft-7", "draft-10"),
        ("HEADERS", "off,x", "'off'"),
        ("PROXY_HEADER", "x-real-ip", "x-forwarded-for"),
    ],
)
def test_a_wrong_setting_is_refused_at_init_app(key: str, value: object, said: str) -> None:
    app = Flask("shop")
    app.config[f"REDIS_RATELIMIT_{key}"] = value
    with pytest.raises(ConfigError, match=rf"REDIS_RATELIMIT_{key}") as refused:
        RedisKit(app)
    assert said in str(refused.value)


def test_what_can_not_be_limited_from_outside_is_refused(limited: Limited) -> None:
    with pytest.raises(TypeError, match="blueprint or an application"):
        limited.kit.ratelimit.limit(lambda: "view", 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit="):
        limited.kit.ratelimit.limit(limited.app, 0)
    with pytest.raises(TypeError, match="exempt"):
        limited.kit.ratelimit.exempt("home")


def test_an_error_handler_is_asked_for_refusals_from_outside_too(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="1/minute")
    add(limited, "/")

    @limited.app.errorhandler(RateLimitExceeded)
    def too_many(error: RateLimitExceeded) -> Response:
        return Response(",".join(error.policies), status=429)

    assert limited.statuses("/", 1) == [200]
    response = limited.client.get("/")
    assert (response.status_code, response.text) == (429, "application per-minute")
