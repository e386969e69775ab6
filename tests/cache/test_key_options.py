"""What is a part of a function's key: ``vary``, ``key``, ``ignore`` and ``version``."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis
from flask import Flask, g, request, session

from flask_redis_kit import RedisKit
from flask_redis_kit.cache.binding import Binding
from flask_redis_kit.cache.flight import Call
from flask_redis_kit.cache.identity import Namer
from flask_redis_kit.cache.recent import RecentCalls


def test_a_result_varies_by_what_a_function_tells(kit: RedisKit) -> None:
    locale = ["en"]
    calls: list[str] = []

    @kit.cache.cache_result(vary=lambda: locale[0])
    def greeting(name: str) -> str:
        calls.append(locale[0])
        return f"{locale[0]} {name}"

    assert greeting("a") == "en a"
    locale[0] = "de"
    assert greeting("a") == greeting("a") == "de a"
    locale[0] = "en"
    assert greeting("a") == "en a"
    assert calls == ["en", "de"]


def test_invalidate_reaches_all_variants(kit: RedisKit) -> None:
    locale = ["en"]
    calls: list[str] = []

    @kit.cache.cache_result(vary=[lambda: locale[0]])
    def greeting(name: str) -> str:
        calls.append(name)
        return name

    for locale[0] in ("en", "de"):
        greeting("a")
        greeting("b")
    greeting.invalidate("a")
    for locale[0] in ("en", "de"):
        greeting("a")
        greeting("b")
    assert calls == ["a", "b", "a", "b", "a", "a"]


def test_a_function_varies_by_headers_of_the_current_request(kit: RedisKit, app: Flask) -> None:
    @kit.cache.cache_result(vary="X-Tenant")
    def tenant() -> str | None:
        return request.headers.get("X-Tenant") if request else None

    def asked(name: str) -> str | None:
        with app.test_request_context(headers={"X-Tenant": name}):
            return tenant()

    assert [asked("a"), asked("b"), asked("a"), tenant()] == ["a", "b", "a", None]
    with app.test_request_context(headers={"X-Tenant": "a"}):
        tenant.invalidate()
    assert asked("b") == "b"


def test_a_header_too_long_for_a_key_is_computed(
    kit: RedisKit, app: Flask, redis_client: redis.Redis
) -> None:
    @kit.cache.cache_result(vary="X-Tenant")
    def tenant() -> int:
        return len(request.headers["X-Tenant"])

    for size in (5000, 5001):
        with app.test_request_context(headers={"X-Tenant": "x" * size}):
            assert tenant() == size
            assert tenant.cache_key()
    assert not list(redis_client.scan_iter("frk:*:cache:v:*"))


def test_what_varies_by_its_user_may_read_the_session(kit: RedisKit, app: Flask) -> None:
    calls: list[str] = []

    def user() -> Any:
        return session.get("user")

    @kit.cache.cache_result(vary=user)
    def page() -> str:
        calls.append(session["user"])
        return f"of {session['user']}"

    def of(name: str) -> str:
        with app.test_request_context():
            session["user"] = name
            return page()

    assert [of("a"), of("b"), of("a")] == ["of a", "of b", "of a"]
    assert calls == ["a", "b"]


def test_what_varies_by_something_else_may_not_read_the_session(
    kit: RedisKit, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A locale tells no users apart."""

    @kit.cache.cache_result(vary=lambda: "en", exceptions=KeyError)
    def page(fails: bool = False) -> str:
        if fails:
            raise KeyError(session["user"])
        return f"of {session['user']}"

    def of(name: str, *args: bool) -> str:
        with app.test_request_context():
            session["user"] = name
            return page(*args)

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert [of("a"), of("b"), of("a")] == ["of a", "of b", "of a"]
        for name in "ab":
            with pytest.raises(KeyError, match=name):
                of(name, True)
    (record,) = caplog.records
    assert "page: its result is not cached, as it reads the session" in record.getMessage()


def test_what_varies_by_the_user_loaded_before_may_read_the_session(
    kit: RedisKit, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """As Flask-Login's current_user: asked again, it doesn't read the session."""
    calls: list[str] = []

    @kit.cache.cache_result(vary=lambda: g.user)
    def page() -> str:
        calls.append(session["user"])
        return f"of {session['user']}"

    def of(name: str, user: str | None) -> str:
        with app.test_request_context():
            session["user"] = name
            g.user = user
            return page()

    with caplog.at_level(logging.WARNING, "flask_redis_kit.cache"):
        assert [of("a", "a"), of("b", "b"), of("a", "a")] == ["of a", "of b", "of a"]
        assert calls == ["a", "b"]
        assert [of("c", None), of("d", None)] == ["of c", "of d"], "nobody is not one user"
    assert not caplog.records


@pytest.mark.parametrize("vary", ["Cookie", lambda: f"user {session['user']}"])
def test_what_varies_by_the_cookie_or_reads_the_session_for_it_may_read_it(
    vary: Any, kit: RedisKit, app: Flask
) -> None:
    calls: list[str] = []

    @kit.cache.cache_result(vary=vary)
    def page(n: int) -> str:
        calls.append(session["user"])
        return f"{n} of {session['user']}"

    def of(name: str) -> list[str]:
        with app.test_request_context(headers={"Cookie": name}):
            session["user"] = name
            return [page(1), *page.cached_many([1, 2])]

    expected = {name: [f"1 of {name}", f"1 of {name}", f"2 of {name}"] for name in "ab"}
    for name in "aba":
        assert of(name) == expected[name]
    assert calls == ["a", "a", "b", "b"]


def test_a_vary_function_is_called_once_for_a_call_or_for_many(kit: RedisKit) -> None:
    locale = ["en"]
    calls: list[str] = []

    def told() -> str:
        calls.append(locale[0])
        return locale[0]

    @kit.cache.cache_result(vary=told)
    def greeting(name: str) -> str:
        return f"{locale[0]} {name}"

    assert greeting.cached_many("ab") == ["en a", "en b"]
    locale[0] = "de"
    assert greeting.cached_many("ab") == ["de a", "de b"]
    assert greeting("a") == "de a"
    assert greeting("c") == "de c"
    assert calls == ["en", "de", "de", "de"]
    assert greeting.refresh("a") == greeting("a") == "de a"


def test_what_a_vary_function_gives_needs_an_identity(kit: RedisKit) -> None:
    @kit.cache.cache_result(vary=object)
    def value() -> int:
        return 1

    with pytest.raises(TypeError, match=r"value: what vary\[0\] gives contains a builtins.object"):
        value()


def test_key_replaces_the_arguments(kit: RedisKit) -> None:
    class User:
        def __init__(self, user_id: int, name: str) -> None:
            self.id, self.name = user_id, name

    calls: list[str] = []

    @kit.cache.cache_result(key=lambda user, **_: user.id, tags=["profiles"])
    def profile(user: User, *, lang: str = "en") -> str:
        calls.append(user.name)
        return user.name

    assert profile(User(1, "a")) == profile(User(1, "other"), lang="de") == "a"
    assert profile(User(2, "b")) == "b"
    profile.invalidate(User(2, "whoever"))
    profile(User(2, "c"))
    kit.cache.invalidate_tags("profiles")
    profile(User(1, "d"))
    assert calls == ["a", "b", "c", "d"]
    with pytest.raises(TypeError, match="missing a required argument: 'user'"):
        profile()  # type: ignore[call-arg]  # that is the point


def test_what_key_takes_from_elsewhere_counts_at_every_call(kit: RedisKit) -> None:
    tenant = ["a"]

    @kit.cache.cache_result(key=lambda n: (tenant[0], n))
    def value(n: int) -> str:
        return f"{tenant[0]} {n}"

    assert value(1) == value(1) == "a 1"
    tenant[0] = "b"
    assert value(1) == value(1) == "b 1"


def test_an_ignored_parameter_tells_no_calls_apart(kit: RedisKit) -> None:
    calls: list[int] = []

    @kit.cache.cache_result(ignore=("db",), tags=["n:{n}"])
    def row(db: object, n: int) -> int:
        calls.append(n)
        return n

    assert row(object(), 1) == row(object(), n=1) == row(db=object(), n=1) == 1
    assert row(object(), 2) == 2
    row.invalidate(None, 1)
    assert row(object(), 1) == 1
    kit.cache.invalidate_tags("n:2")
    assert row(object(), 2) == 2
    assert calls == [1, 2, 1, 2]


def test_a_tag_may_name_an_ignored_parameter(kit: RedisKit) -> None:
    calls: list[str] = []

    @kit.cache.cache_result(ignore=("reason",), tags=["reason:{reason}"])
    def value(reason: str, n: int) -> int:
        calls.append(reason)
        return n

    value("a", 1)
    value("b", 1)  # what is stored doesn't have this call's tags
    value("b", 1)
    kit.cache.invalidate_tags("reason:a")
    value("b", 1)
    kit.cache.invalidate_tags("reason:b")
    value("b", 1)
    assert calls == ["a", "b", "b"]


def test_another_version_is_another_value(kit: RedisKit) -> None:
    def one(version: Any) -> Any:
        def value() -> str:
            return repr(version)

        return kit.cache.cache_result("v", version=version)(value)

    assert len({one(version).cache_key() for version in (None, 1, "1", 2)}) == 4
    assert one(1).cache_key() == one(1).cache_key()


def test_an_argument_that_a_wrong_type_equals_is_another_call(kit: RedisKit) -> None:
    """Also when the same arguments were given lately: 1 == True == 1.0, 0.0 == -0.0."""

    @kit.cache.cache_result()
    def kind(value: object, *more: object) -> str:
        return repr(value)

    for _ in range(3):
        for value in (1, True, 1.0, 0, False, 0.0, -0.0, "1", b"1", None):
            assert kind(value) == repr(value)
    assert len({kind.cache_key(value) for value in (1, True, 1.0)}) == 3
    assert kind.cache_key(1) != kind.cache_key(1, 1)


def test_of_many_and_of_long_arguments_few_are_remembered() -> None:
    binding = Binding(lambda n: n, (), "f")
    recent = RecentCalls(binding)
    call = Call(Namer("fn").digest({}), ())
    for n in range(5000):
        recent.learn((n,), call)
    assert sum(recent.find((n,)) is call for n in range(5000)) <= 1024
    recent.learn(("x" * 201,), call)
    assert recent.find(("x" * 201,)) is None
    assert recent.find(([],)) is None


def test_no_raw_input_reaches_redis(kit: RedisKit, redis_client: redis.Redis) -> None:
    secret = "s3cr3t{slot}\n"

    @kit.cache.cache_result("prefix-of-mine", vary=lambda: secret, tags=["a-tag-of-mine"])
    def value(word: str) -> int:
        return 1

    value(secret)
    value(secret)
    keys = b"".join(redis_client.scan_iter("*"))
    assert b"s3cr3t" not in keys
    assert b"prefix-of-mine" not in keys
