"""Limits written as text: ``100/minute``, ``5 per 10 seconds; 1000/day``."""

from __future__ import annotations

import re

SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "month": 30 * 86_400,
    "year": 365 * 86_400,
}

_RATE = re.compile(
    r"(?P<limit>\d+)?\s*(?:/|\bper\b)\s*(?P<multiple>\d+)?\s*(?P<unit>[a-z]+)\Z", re.ASCII
)
_CURE = (
    "Write for example '100/minute', '5 per 10 seconds' or '10/second; 1000/day'; the units are "
    "second, minute, hour, day, month (30 days) and year (365 days)."
)


def parse_limits(text: str) -> tuple[tuple[int, int], ...]:
    """The limits in ``text`` as (units, window in seconds), in their order.

    ``[n] per|/ [m] second|minute|hour|day|month|year[s]``, several separated by ``,``, ``;`` or
    ``|``; a missing number is 1. Raises ``ValueError`` that quotes what it can't read.
    """
    if not isinstance(text, str):
        raise TypeError(f"A limit is a text like '100/minute', not {text!r}.")
    parts = [part.strip() for part in re.split(r"[,;|]", text)]
    if parts and not parts[-1]:
        parts.pop()  # a separator at the end
    if not parts or not all(parts):
        raise ValueError(f"There is no limit in {text!r}. {_CURE}")
    limits = tuple(_parsed(part, text) for part in parts)
    windows = [window for _, window in limits]
    for window in windows:
        if windows.count(window) > 1:
            raise ValueError(f"{text!r} has two limits for {window} seconds: keep the smaller one.")
    return limits


def _parsed(part: str, text: str) -> tuple[int, int]:
    match = _RATE.match(part.lower())
    unit = match["unit"].removesuffix("s") if match else ""
    if match is None or unit not in SECONDS:
        of = "" if part == text else f" in {text!r}"
        raise ValueError(f"{part!r}{of} is no limit. {_CURE}")
    limit, multiple = int(match["limit"] or 1), int(match["multiple"] or 1)
    if limit < 1 or multiple < 1:
        raise ValueError(f"{part!r} has a zero in it: nothing would ever be admitted. {_CURE}")
    return limit, multiple * SECONDS[unit]
