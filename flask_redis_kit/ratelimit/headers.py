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
from urllib.parse import quote

from flask_redis_kit.ratelimit.limits import Kind, RateLimitResult

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


Field = tuple[str, str]
"""A header: its name and its value."""

Told = tuple[str, int, float, Kind, int]
"""What clients are told of a limit each time: its policy, units, window, kind; the cost."""

Row = tuple[bool, bool, int, float, int]
"""How a limit stands, so that the tightest is the smallest: whether it has room; whether it is a
concurrency limit, which has no reset; the units left; minus the seconds to wait; its place."""


def limit_headers(results: Sequence[RateLimitResult], dialects: Sequence[str]) -> list[Field]:
    """The headers that tell how these limits stand. ``Retry-After`` is not among them.

    The trio has room for one limit: the tightest. The standard's fields list them all; shadow
    limits appear nowhere.
    """
    shown = [result for result in results if is_shown(result)]
    told = [(each.policy, each.limit, each.window, each.kind, each.cost) for each in shown]
    form = form_of(tuple(told), tuple(dialects))
    return form.filled([form.row(n, each) for n, each in enumerate(shown)])


class Form:
    """The headers of certain limits, written as far as they are the same each time."""

    __slots__ = ("_dialects", "_leased", "_names", "_policies", "_told", "_units")

    def __init__(self, told: tuple[Told, ...], dialects: tuple[str, ...]) -> None:
        self._told = told
        self._dialects = dialects
        self._leased = [kind == "concurrency" for _, _, _, kind, _ in told]
        self._units = [(X_LIMIT, str(limit)) for _, limit, _, _, _ in told]
        self._names = [
            structured_string(each) for each in _distinct([policy for policy, *_ in told])
        ]
        policies = [
            f"{name};q={limit};"
            + (f"w={math.ceil(window)}" if kind == "rate" else 'qu="concurrent-requests"')
            for name, (_, limit, window, kind, _) in zip(self._names, told, strict=True)
        ]
        self._policies = (POLICY, ", ".join(policies))

    def row(self, n: int, result: RateLimitResult) -> Row:
        """How the limit at place ``n`` stands."""
        if result.allowed:
            return (True, self._leased[n], result.remaining, -result.reset_after, n)
        return (False, False, 0, -result.retry_after, n)

    def rows(self, numbers: Sequence[int], places: Sequence[int]) -> list[Row]:
        """How the limits stand by the script's numbers; each has its first at one of ``places``."""
        rows: list[Row] = []
        for n, at in enumerate(places):
            left, reset, _, retry = numbers[at : at + 4]
            if retry == 0:
                rows.append((True, self._leased[n], left, reset / -1_000_000, n))
            else:
                wait = -math.inf if retry < 0 else retry / -1_000_000
                rows.append((False, False, 0, wait, n))
        return rows

    def filled(self, rows: Sequence[Row]) -> list[Field]:
        """The headers, from a row for each limit in their order."""
        fields: list[Field] = []
        if not rows:
            return fields
        for dialect in self._dialects:
            if dialect in _UNITS:
                fields += (self._policies, (STATE, self._states(rows, dialect)))
            elif dialect != "off":
                row = rows[0] if len(rows) == 1 else min(rows)
                reset = self._wait(row)
                if dialect == "x":
                    reset += time.time()
                fields += (
                    self._units[row[4]],
                    (X_REMAINING, str(row[2])),
                    (X_RESET, str(math.ceil(reset))),
                )
        return fields

    def _states(self, rows: Sequence[Row], dialect: str) -> str:
        available, until = _UNITS[dialect]
        states: list[str] = []
        for name, row, leased in zip(self._names, rows, self._leased, strict=True):
            state = f"{name};{available}={row[2]}"
            if row[3] and not leased:
                wait = math.ceil(-row[3] if row[3] > -_LARGEST else self._wait(row))
                state += f";{until}={wait if wait < _LARGEST else _LARGEST}"
            if dialect == "draft-11" and row[0]:
                cost = self._told[row[4]][4]
                state += f";c={cost}" if cost != 1 else ""
            states.append(state)
        return ", ".join(states)

    def _wait(self, row: Row) -> float:
        """Seconds until more is available; 0: nothing is in use."""
        _, _, window, kind, _ = self._told[row[4]]
        if kind == "concurrency":
            return SOON
        return window if row[3] == -math.inf else -row[3]


form_of = lru_cache(maxsize=1024)(Form)


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


@lru_cache(maxsize=1024)
def structured_string(text: str) -> str:
    """A String of RFC 9651: quoted and escaped; what is not printable ASCII, percent-encoded."""
    if not (text.isascii() and text.isprintable()):
        text = quote(text, safe="".join(map(chr, range(32, 127))), errors="surrogatepass")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
