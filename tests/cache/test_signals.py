"""Signals of the cache, and what is counted: by prefix, never by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask, Response, render_template_string, session

from flask_redis_kit import CodecError, RedisKit, cache_result
from flask_redis_kit.cache import signals
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy

Told = list[tuple[str, dict[str, Any]]]
NAMES = ("hit", "miss", "stale", "renewal", "stored", "refused")


@pytest.fixture
def told(app: Flask) -> Iterator[Told]:
    """What was told of the application: the signal's name and its facts."""
    found: Told = []

    def listener(name: str) -> Callable[..., None]:
        return lambda _, **facts: found.append((name, facts))

    with ExitStack() as stack:
        for name in NAMES:
            stack.enter_context(getattr(signals, name).connected_to(listener(name), app))
        yield found


def shortly(told: Told) -> list[str]:
    """Name, subject and reason of each, and forget them."""
    short = [
        " ".join([name, facts["subject"], *([facts["reason"]] if "reason" in facts else [])])
        for name, facts in told
    ]
    told.clear()
    return short


def test_values_by_hand(kit: RedisKit, told: Told) -> None:
    kit.cache.get("secret")
    kit.cache.set("secret", "x" * 50, tags=["t"], grace=100)
    kit.cache.get("secret")
    assert shortly(told) == ["miss (by hand)", "stored (by hand)", "hit (by hand)"]
    kit.cache.get_many(["secret", "a", "b"])
    assert Counter(shortly(told)) == {"hit (by hand)": 1, "miss (by hand)": 2}
    kit.cache.add("secret", 1)
    assert shortly(told) == [], "it is there: neither stored nor refused"
    kit.cache.invalidate_tags("t", soft=True)
    kit.cache.get("secret", stale=True)
    kit.cache.get("secret")
    assert shortly(told) == ["stale (by hand)", "miss (by hand)"]
    kit.cache.invalidate_tags("t")
    kit.cache.set("secret", 1, tags=["t"])
    assert shortly(told) == ["refused (by hand) invalidated"]
    for value, reason in ((object(), "encoding"), (b"x" * 6_000_000, "size")):
        with pytest.raises(CodecError):
            kit.cache.set("secret", value)
        assert shortly(told) == [f"refused (by hand) {reason}"]


def test_what_was_stored_is_told_with_its_size(kit: RedisKit, told: Told) -> None:
    kit.cache.set("k", "x" * 1000)
    kit.cache.cache_result("numbers")(lambda: list(range(100)))()
    sizes = [facts["size"] for name, facts in told if name == "stored"]
    assert sizes[0] > 1000
    assert 100 < sizes[1] < 200
    assert all("secret" not in str(facts) for _, facts in told)
    assert told[0][1]["milliseconds"] == 0


def test_functions(kit: RedisKit, told: Told) -> None:
    @kit.cache.cache_result("product", tags=["t"], when=lambda value: value != 3)
    def product(n: int) -> object:
        if n == 2:
            kit.cache.invalidate_tags("t")
        return {4: object(), 5: b"x" * 6_000_000}.get(n, n)

    for n, expected in (
        (1, ["miss product", "stored product"]),
        (1, ["hit product"]),
        (2, ["miss product", "refused product invalidated"]),
        (3, ["miss product", "refused product when"]),
        (4, ["miss product", "refused product encoding"]),
        (5, ["miss product", "refused product size"]),
    ):
        product(n)
        assert shortly(told) == expected, n


def test_a_function_without_a_prefix_goes_by_its_name(kit: RedisKit, told: Told) -> None:
    @kit.cache.cache_result()
    def number() -> int:
        return 1

    number()
    [miss, stored] = shortly(told)
    assert miss.startswith("miss tests.cache.test_signals.")
    assert stored.endswith(".number")


def test_routes_and_fragments(app: Flask, kit: RedisKit, told: Told) -> None:
    @app.get("/cookie")
    @cache_result("cookie")
    def cookie() -> Response:
        response = Response("x")
        response.set_cookie("a", "b")
        return response

    @app.get("/error")
    @cache_result("error")
    def error() -> Response:
        return Response("x", status=500)

    @app.get("/session")
    @cache_result("session")
    def personal() -> str:
        return str(session.get("name"))

    @app.get("/fragment")
    def fragment() -> str:
        return render_template_string('{% cache 300, "menu" %}x{% endcache %}')

    client = app.test_client()
    for path, expected in (
        ("/cookie", ["miss cookie", "refused cookie set-cookie"]),
        ("/error", ["miss error", "refused error status"]),
        ("/session", ["miss session", "refused session session"]),
        ("/fragment", ["miss fragment:menu", "stored fragment:menu"]),
        ("/fragment", ["hit fragment:menu"]),
    ):
        client.get(path)
        assert shortly(told) == expected, path


def test_only_the_application_that_was_asked_for_is_told_of(
    make_kit: MakeKit, proxy: Proxy, told: Told, kit: RedisKit
) -> None:
    other = make_kit(proxy.url, name="other")
    other.cache.get("k")
    assert told == []
    kit.cache.get("k")
    assert shortly(told) == ["miss (by hand)"]


def test_a_listener_that_fails_is_heard(kit: RedisKit, app: Flask) -> None:
    def listener(_: object, **_facts: object) -> None:
        raise ZeroDivisionError

    with signals.miss.connected_to(listener, app), pytest.raises(ZeroDivisionError):
        kit.cache.get("k")
    assert kit.cache.get("k") is None
