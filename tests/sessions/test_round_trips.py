"""What each use of a session costs, counted at the proxy, and which headers it sends."""

from __future__ import annotations

import pytest
import redis

from tests.harness.proxy import Proxy
from tests.sessions.shop import Shop, set_cookies


@pytest.mark.parametrize(
    ("path", "trips"),
    [
        ("/untouched", 0),
        ("/get/a", 1),
        ("/get/missing", 1),
        ("/set/a/one", 1),  # an equal value
        ("/set/a/two", 2),
        ("/append/pen", 2),
        ("/pop/a", 2),
        ("/pop/missing", 1),
        ("/login/7", 2),
        ("/regenerate", 2),
        ("/clear", 1),
        ("/anew/7", 1),
        ("/no-such-page", 0),
    ],
)
def test_a_request_with_a_session_costs(counted: Shop, proxy: Proxy, path: str, trips: int) -> None:
    sid = counted.session_of(a="one", cart={"items": []})
    with proxy.counting() as count:
        counted.visitor(sid).get(path)
    assert count.trips == trips


@pytest.mark.parametrize(
    ("path", "trips"),
    [("/untouched", 0), ("/get/a", 1), ("/clear", 1), ("/read-and-clear", 1), ("/set/a/1", 2)],
)
def test_a_request_with_the_cookie_of_a_missing_session_costs(
    counted: Shop, proxy: Proxy, path: str, trips: int
) -> None:
    with proxy.counting() as count:
        counted.visitor("A" * 43).get(path)
    assert count.trips == trips


@pytest.mark.parametrize(
    ("path", "trips"),
    [
        ("/untouched", 0),
        ("/get/a", 0),
        ("/clear", 0),
        ("/regenerate", 0),
        ("/permanent", 0),
        ("/modified", 0),
        ("/set/a/1", 1),
    ],
)
def test_a_request_without_a_cookie_costs(
    counted: Shop, proxy: Proxy, path: str, trips: int
) -> None:
    with proxy.counting() as count:
        response = counted.visitor().get(path)
    assert count.trips == trips
    assert len(set_cookies(response)) == trips  # only what was stored gets a cookie


def test_a_request_that_leaves_its_session_alone_says_nothing_of_cookies(shop: Shop) -> None:
    response = shop.visitor(shop.session_of(a=1)).get("/untouched")
    assert set_cookies(response) == []
    assert "Vary" not in response.headers
    assert "Cache-Control" not in response.headers


def test_reading_varies_by_cookie_and_sets_none(shop: Shop) -> None:
    response = shop.visitor(shop.session_of(a=1)).get("/get/a")
    assert set_cookies(response) == []
    assert response.headers["Vary"] == "Cookie"
    assert "Cache-Control" not in response.headers


def test_writing_to_a_session_that_has_its_cookie_sets_none(shop: Shop) -> None:
    response = shop.visitor(shop.session_of(a=1)).get("/set/a/2")
    assert set_cookies(response) == []
    assert response.headers["Vary"] == "Cookie"


def test_only_the_changed_fields_are_sent(counted: Shop, proxy: Proxy) -> None:
    sid = counted.session_of(a="one", b="x" * 10_000)
    with proxy.counting() as count:
        counted.visitor(sid).get("/set/a/two")
    assert [c[0] for c in count.commands] == [b"HGETALL", b"PTTL", b"EVALSHA"]
    assert sum(map(len, count.commands[-1])) < 300


def test_a_page_rendered_without_the_session_costs_nothing(counted: Shop, proxy: Proxy) -> None:
    visitor = counted.visitor(counted.session_of(a=1))
    with proxy.counting() as count:
        response = visitor.get("/page")
    assert count.trips == 0
    assert "Vary" not in response.headers


def test_a_session_is_loaded_in_the_trip_of_another_feature(counted: Shop, proxy: Proxy) -> None:
    visitor = counted.visitor(counted.session_of(a="one"))
    with proxy.counting() as count:
        response = visitor.get("/look-up/read")
    assert response.text == "one"
    assert count.trips == 1
    assert response.headers["Vary"] == "Cookie"


def test_a_session_that_only_came_along_counts_as_untouched(counted: Shop, proxy: Proxy) -> None:
    visitor = counted.visitor(counted.session_of(a="one"))
    with proxy.counting() as count:
        response = visitor.get("/look-up/skip")
    assert count.trips == 1
    assert b"HGETALL" in [c[0] for c in count.commands]
    assert "Vary" not in response.headers
    assert set_cookies(response) == []


@pytest.mark.parametrize(("value", "trips"), [("alone", 1), ("saved", 2)])
def test_what_other_features_deferred_goes_out_with_the_save(
    counted: Shop, proxy: Proxy, redis_client: redis.Redis, value: str, trips: int
) -> None:
    visitor = counted.visitor(counted.session_of(a="one"))
    with proxy.counting() as count:
        visitor.get(f"/defer/{value}")
    assert count.trips == trips
    assert redis_client.getdel("x") == value.encode()


def test_setting_permanent_before_every_request_loads_at_the_end_only(
    counted: Shop, proxy: Proxy
) -> None:
    sid = counted.session_of(a="one", _permanent=True)
    with proxy.counting() as count:
        counted.visitor(sid).get("/permanent")
    assert count.trips == 1
    assert [c[0] for c in count.commands] == [b"HGETALL", b"PTTL"]
