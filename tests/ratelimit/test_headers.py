"""The headers in each dialect: what a client's parser reads is what the limits say."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit import rate_limit
from flask_redis_kit.ratelimit import RateLimitResult
from flask_redis_kit.ratelimit.headers import distinct_policies, limit_headers, structured_string
from tests.ratelimit.conftest import MakeApp


def result(policy: str, limit: int, window: float, remaining: int, **more: Any) -> RateLimitResult:
    facts: dict[str, Any] = {"reset_after": 12.3, "retry_after": 0.0, "allowed": True, **more}
    return RateLimitResult("home", limit, window, remaining, policy=policy, **facts)


BURST = result("burst", 100, 60, 99)
DAILY = result("daily", 1000, 86_400, 4, reset_after=36_000.0, cost=5)
FULL = result("full", 5, 60, 0, allowed=False, retry_after=17.2)
PLACES = result("places", 3, 60, 2, kind="concurrency")


@pytest.mark.parametrize(
    ("dialect", "state"),
    [
        ("draft-10", '"burst";r=99;t=13, "daily";r=4;t=36000, "full";r=0;t=18, "places";r=2'),
        ("draft-11", '"burst";a=99;w=13, "daily";a=4;w=36000;c=5, "full";a=0;w=18, "places";a=2'),
    ],
)
def test_the_standard_s_fields_list_every_limit(dialect: str, state: str) -> None:
    headers = dict(limit_headers([BURST, DAILY, FULL, PLACES], [dialect]))
    assert headers == {
        "RateLimit-Policy": '"burst";q=100;w=60, "daily";q=1000;w=86400, "full";q=5;w=60, '
        '"places";q=3;qu="concurrent-requests"',
        "RateLimit": state,
    }


def test_the_trio_shows_the_tightest_limit() -> None:
    def trio(*results: RateLimitResult) -> list[str]:
        return [value for _, value in limit_headers(results, ["x-delta"])]

    assert trio(BURST, DAILY, PLACES) == ["1000", "4", "36000"]
    assert trio(BURST, DAILY, FULL, PLACES) == ["5", "0", "18"]
    assert trio(PLACES) == ["3", "2", "1"]
    shut = result("places", 3, 60, 0, kind="concurrency", allowed=False, retry_after=50.0)
    assert trio(BURST, shut) == ["3", "0", "1"]


def test_what_was_not_counted_or_is_tried_out_is_not_shown() -> None:
    hidden = [result("a", 5, 60, 5, counted=False), result("b", 5, 60, 1, shadow=True)]
    assert limit_headers(hidden, ["x", "draft-10"]) == []
    assert dict(limit_headers([*hidden, BURST], ["draft-10"]))["RateLimit"] == '"burst";r=99;t=13'
    assert limit_headers([BURST], ["off"]) == []
    assert limit_headers([BURST], []) == []


def test_several_policies_of_one_name_are_told_apart() -> None:
    assert distinct_policies([BURST, DAILY, BURST, BURST]) == [
        "burst",
        "daily",
        "burst-2",
        "burst-3",
    ]


def test_an_unused_limit_has_no_time_to_tell() -> None:
    fresh = result("fresh", 5, 0.5, 5, reset_after=0.0)
    headers = dict(limit_headers([fresh], ["draft-10"]))
    assert headers == {"RateLimit-Policy": '"fresh";q=5;w=1', "RateLimit": '"fresh";r=5'}
    never = result("never", 5, 60, 0, allowed=False, retry_after=math.inf)
    assert dict(limit_headers([never], ["draft-10"]))["RateLimit"] == '"never";r=0;t=60'


SF_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')


@settings(deadline=None)  # a busy machine
@given(st.text(max_size=40))
def test_every_name_is_a_string_of_the_standard(name: str) -> None:
    """RFC 9651, 3.3.3: printable ASCII, with only the quote and the backslash escaped."""
    assert SF_STRING.fullmatch(structured_string(name))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", '"plain"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\\b", r'"a\\b"'),
        ("Tür", '"T%C3%BCr"'),
        ("a\r\nSet-Cookie: b", '"a%0D%0ASet-Cookie: b"'),
        ("\ud800", '"%ED%A0%80"'),
    ],
)
def test_a_name_can_not_break_out_of_its_header(name: str, written: str) -> None:
    assert structured_string(name) == written


@pytest.mark.parametrize(
    ("setting", "present"),
    [
        (None, {"X-RateLimit-Limit", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy"}),
        ("x", {"X-RateLimit-Limit", "X-RateLimit-Reset"}),
        ("draft-11", {"RateLimit", "RateLimit-Policy"}),
        ("off", set()),
    ],
)
def test_the_setting_picks_the_dialects(
    make_app: MakeApp, setting: str | None, present: set[str]
) -> None:
    limited = make_app(REDIS_RATELIMIT_HEADERS=setting)
    limited.app.add_url_rule("/", "home", rate_limit(1, name='a "name"')(lambda: "ok"))
    every = {"X-RateLimit-Limit", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy"}
    for status in (200, 429):
        response = limited.client.get("/")
        assert response.status_code == status
        assert set(response.headers.keys()) & every == present
        # when to come again is said whatever the dialect, but to those only who were refused
        assert ("Retry-After" in response.headers) == (status == 429)
        if "RateLimit" in present:
            assert response.headers["RateLimit-Policy"] == r'"a \"name\"";q=1;w=60'


def test_a_body_and_the_headers_name_the_same_policies(make_app: MakeApp) -> None:
    limited = make_app(REDIS_RATELIMIT_APPLICATION="9/minute")

    @limited.app.get("/täst/<name>")
    @rate_limit(9)
    @rate_limit(1, key_func=lambda: "k")
    def home(name: str) -> str:
        return name

    assert limited.client.get("/täst/a b").status_code == 200
    response = limited.client.get("/täst/a b")
    body = response.get_json(force=True)
    assert body["violated-policies"] == ["per-minute-2"]
    assert '"per-minute";r=8' in response.headers["RateLimit"]
    assert '"per-minute-2";r=0' in response.headers["RateLimit"]
    assert '"application per-minute";r=8' in response.headers["RateLimit"]
    assert body["instance"] == "/t%C3%A4st/a%20b"
