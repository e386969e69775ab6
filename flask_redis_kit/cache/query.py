"""Queries as parts of a key: two that ask for the same thing are spelled the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import unquote_to_bytes, urlencode

MAX_BYTES = 4096
MAX_PARAMETERS = 64
_TRACKING = frozenset(
    {b"gclid", b"gclsrc", b"dclid", b"gbraid", b"wbraid", b"gad_source", b"srsltid", b"_ga", b"_gl"}
    | {b"fbclid", b"igsh", b"igshid", b"msclkid", b"yclid", b"ttclid", b"twclid"}
    | {b"mc_cid", b"mc_eid"}
)


def canonical_query(text: bytes, allowed: Collection[str] | None = None) -> str | None:
    """The query sorted by name, the values of one name in their order; None if it is too large.

    ``allowed`` names the parameters that count; None: all but those by which advertisers follow
    visitors (``utm_…``, ``gclid``, ``fbclid`` and the like). ``a`` is the same as ``a=``, and
    ``%61=+`` as ``a=%20``. Too large is what keeps more than 64 of them, or 4 kB.
    """
    if not text:
        return ""
    known = None if allowed is None else {each.encode("utf-8", "replace") for each in allowed}
    pairs: list[tuple[bytes, bytes]] = []
    size = 0
    for name, value in _pairs(text):
        if _is_tracking(name) if known is None else name not in known:
            continue
        pairs.append((name, value))
        size += len(name) + len(value) + 2
        if size > MAX_BYTES or len(pairs) > MAX_PARAMETERS:
            return None
    pairs.sort(key=_name)
    return urlencode(pairs)


def canonical_form(text: bytes) -> bytes:
    """The fields of a form, sorted by name, the values of one name in their order."""
    pairs = sorted(_pairs(text), key=_name)
    return urlencode(pairs).encode()


def _pairs(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    for piece in text.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            yield _decoded(name), _decoded(value)


def _name(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0]


def _is_tracking(name: bytes) -> bool:
    return name in _TRACKING or name.startswith(b"utm_")


def _decoded(part: bytes) -> bytes:
    return unquote_to_bytes(part.replace(b"+", b" "))
