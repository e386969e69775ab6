"""Queries as parts of a key: two that ask for the same thing are spelled the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlencode

MAX_BYTES = 4096
MAX_PARAMETERS = 64
_TRACKING = frozenset({"gclid", "fbclid"})


def canonical_query(text: bytes, parsed: Callable[[], Iterable[tuple[str, str]]]) -> str | None:
    """The query sorted by name, without tracking parameters; None if it is too large.

    ``text`` is the query as it came, ``parsed`` gives its parameters in their order.
    """
    if not text:
        return ""
    if len(text) > MAX_BYTES:
        return None
    pairs = [
        (name, value)
        for name, value in parsed()
        if name not in _TRACKING and not name.startswith("utm_")
    ]
    if len(pairs) > MAX_PARAMETERS:
        return None
    return urlencode(sorted(pairs, key=lambda pair: pair[0]))
