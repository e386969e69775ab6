"""Limits written as text."""

from __future__ import annotations

from typing import Any

import pytest

from flask_redis_kit.ratelimit.rates import parse_limits


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("100/minute", [(100, 60)]),
        ("100 per minute", [(100, 60)]),
        ("100 / minutes", [(100, 60)]),
        ("5 per 10 seconds", [(5, 10)]),
        ("5/10second", [(5, 10)]),
        ("per second", [(1, 1)]),
        ("/hour", [(1, 3600)]),
        ("1000 PER Day", [(1000, 86_400)]),
        ("7/month, 70/year", [(7, 30 * 86_400), (70, 365 * 86_400)]),
        ("10/second; 100/minute | 2000/day", [(10, 1), (100, 60), (2000, 86_400)]),
        ("10/second;", [(10, 1)]),
        (" 2 per 2 hours ", [(2, 7200)]),
    ],
)
def test_what_people_write_is_understood(text: str, limits: list[tuple[int, int]]) -> None:
    assert parse_limits(text) == tuple(limits)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        (" ; ", "' ; '"),
        ("100", "'100'"),
        ("100/fortnight", "'100/fortnight'"),
        ("100/m", "'100/m'"),
        ("ten per minute", "'ten per minute'"),
        ("-5/minute", "'-5/minute'"),
        ("1.5/minute", "'1.5/minute'"),
        ("5perminute", "'5perminute'"),
        ("100//minute", "'100//minute'"),
        ("100/minute 5/hour", "'100/minute 5/hour'"),
        ("100/minute;;5/hour", "'100/minute;;5/hour'"),
        ("100/minute; fast", "'fast'"),
        ("0/minute", "'0/minute'"),
        ("5 per 0 seconds", "'5 per 0 seconds'"),
        ("²/minute", "'²/minute'"),
    ],
)
def test_what_is_no_limit_is_quoted_with_a_cure(text: str, quoted: str) -> None:
    with pytest.raises(ValueError, match="for example") as caught:
        parse_limits(text)
    assert quoted in str(caught.value)


def test_two_limits_of_one_window_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two limits for 60 seconds"):
        parse_limits("5/minute, 9/60 seconds")


def test_a_limit_is_a_text() -> None:
    wrong: Any = 100
    with pytest.raises(TypeError, match="100"):
        parse_limits(wrong)
