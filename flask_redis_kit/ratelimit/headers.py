"""The headers of a limited response, in each dialect that clients understand.

``draft-10`` is draft-ietf-httpapi-ratelimit-headers-10, Lists of RFC 9651; ``draft-11`` has the
names that the working group chose after it (its pull request 166: ``a`` for what is available,
``w`` for the seconds until more is, ``c`` for the cost). ``x`` is the de-facto trio, whose reset is
a time (seconds since 1970); with ``x-delta`` it is a number of seconds from now.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from flask_redis_kit.ratelimit.limits import RateLimitResult

DIALECTS = ("x", "x-delta", "draft-10", "draft-11", "off")

X_LIMIT, X_REMAINING, X_RESET = "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"
POLICY, STATE = "RateLimit-Policy", "RateLimit"
NAMES = frozenset(name.lower() for name in (X_LIMIT, X_REMAINING, X_RESET, POLICY, STATE))

SOON = 1.0
"""Seconds until it is worth asking a concurrency limit again: its leases end when others are done,
and the end of the first lease is only the latest moment."""

_LARGEST = 999_999_999_999_999
"""The largest Integer of RFC 9651."""
_UNITS = {"draft-10": ("r", "t"), "draft-11": ("a", "w")}


def limit_headers(
    results: Sequence[RateLimitResult], dialects: Sequence[str]
) -> list[tuple[str, str]]:
    """The headers that tell how these limits stand. ``Retry-After`` is not among them.

    The trio has room for one limit: the tightest. The standard's fields list them all; shadow
    limits appear nowhere.
    """
    shown = [result for result in results if result.counted and not result.shadow]
    if not shown:
        return []
    headers: list[tuple[str, str]] = []
    for dialect in dialects:
        if dialect in _UNITS:
            headers += _standard(shown, dialect)
        elif dialect != "off":
            headers += _trio(shown, delta=dialect == "x-delta")
    return headers


def checked_dialects(dialects: Sequence[str]) -> Sequence[str]:
    """Names of dialects; ``ValueError`` for an unknown one, and for "off" beside others."""
    for dialect in dialects:
        if dialect not in DIALECTS:
            known = ", ".join(map(repr, DIALECTS))
            raise ValueError(f"{dialect!r} is none of {known}.")
    if "off" in dialects and len(dialects) > 1:
        raise ValueError("'off' can't stand beside others.")
    return dialects


def is_shown(result: RateLimitResult) -> bool:
    """Whether clients are told of a limit."""
    return result.counted and not result.shadow


def distinct_policies(shown: Sequence[RateLimitResult]) -> list[str]:
    """The names of these limits as clients see them; the second of a name ends in "-2"."""
    return _distinct([result.policy for result in shown])


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        names = [
            name if name not in names[:n] else f"{name}-{names[:n].count(name) + 1}"
            for n, name in enumerate(names)
        ]
    return names


def _trio(shown: Sequence[RateLimitResult], *, delta: bool) -> list[tuple[str, str]]:
    result = shown[0] if len(shown) == 1 else min(shown, key=_prominence)
    seconds = _seconds_left(result)
    left = result.remaining if result.allowed else 0
    reset = math.ceil(seconds if delta else time.time() + seconds)
    return [(X_LIMIT, str(result.limit)), (X_REMAINING, str(left)), (X_RESET, str(reset))]


def _prominence(result: RateLimitResult) -> tuple[bool, bool, int, float]:
    """The tightest first; a concurrency limit, which has no reset, only where it refused."""
    if not result.allowed:
        return (False, False, 0, -result.retry_after)
    return (True, result.kind == "concurrency", result.remaining, -result.reset_after)


def _standard(shown: Sequence[RateLimitResult], dialect: str) -> list[tuple[str, str]]:
    available, until = _UNITS[dialect]
    told = [(each.policy, each.limit, each.window * (each.kind == "rate")) for each in shown]
    described = _described(tuple(told))
    states: list[str] = []
    for name, result in zip(described.names, shown, strict=True):
        state = f"{name};{available}={result.remaining if result.allowed else 0}"
        wait = math.ceil(_seconds_left(result)) if result.kind == "rate" else 0
        if wait:
            state += f";{until}={wait if wait < _LARGEST else _LARGEST}"
        if dialect == "draft-11" and result.allowed and result.cost != 1:
            state += f";c={result.cost}"
        states.append(state)
    return [(POLICY, described.policies), (STATE, ", ".join(states))]


class _Described(NamedTuple):
    """The names of policies as they stand in a field, and the field that says what they are."""

    names: tuple[str, ...]
    policies: str


@lru_cache(maxsize=1024)
def _described(shown: tuple[tuple[str, int, float], ...]) -> _Described:
    """``shown``: the policy of each limit, its units, and its window; 0 if it has none."""
    names = tuple(map(structured_string, _distinct([policy for policy, _, _ in shown])))
    policies = [
        f"{name};q={limit};" + (f"w={math.ceil(window)}" if window else 'qu="concurrent-requests"')
        for name, (_, limit, window) in zip(names, shown, strict=True)
    ]
    return _Described(names, ", ".join(policies))


@lru_cache(maxsize=1024)
def structured_string(text: str) -> str:
    """A String of RFC 9651: quoted and escaped; what is not printable ASCII, percent-encoded."""
    if not (text.isascii() and text.isprintable()):
        text = quote(text, safe="".join(map(chr, range(32, 127))), errors="surrogatepass")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _seconds_left(result: RateLimitResult) -> float:
    """Until more is available; 0: nothing is in use."""
    if result.kind == "concurrency":
        return SOON
    wait = result.reset_after if result.allowed else result.retry_after
    return result.window if wait == math.inf else wait
