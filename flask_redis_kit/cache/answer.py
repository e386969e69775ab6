"""What a route's response says of the cache: ``Age``, ``Cache-Control``, ``Cache-Status``, 304.

``Cache-Status`` is RFC 9211's, under the name of the namespace. ``max-age`` is the whole time that
a page is fresh: a recipient takes ``Age`` off it (RFC 9111, 4.2). It is ``private``, as others may
put things of one user's into the response after us (a cookie, a header); of pages that the
developer calls public it is not, unless the request had a cookie.
"""

from __future__ import annotations

from flask import Request, Response

from flask_redis_kit.cache.flight import Hit
from flask_redis_kit.cache.options import SAFE_METHODS

PERSONAL = "private, no-cache"
"""Of pages that are one for each user, so that the next one at this browser doesn't see them."""
_CONDITIONS = frozenset(
    {"HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE"}
)


def mark(response: Response, namespace: str, what: str) -> None:
    """Say in ``Cache-Status`` what became of the request here."""
    # a token starts with a letter (RFC 8941, 3.3.4)
    name = namespace if namespace[0].isalpha() else f'"{namespace}"'
    response.headers.add("Cache-Status", f"{name}; {what}")


def describe(response: Response, hit: Hit, request: Request, *, public: bool) -> None:
    """Say how old a stored response is; and how long it is fresh, if the view didn't."""
    add = response.headers.add  # neither was stored
    add("Age", str(hit.age_ms // 1000))
    if hit.value.says_freshness or request.method not in SAFE_METHODS:
        return
    private = "" if public and "HTTP_COOKIE" not in request.environ else "private, "
    grace = f", stale-while-revalidate={hit.grace_ms // 1000}" if hit.grace_ms >= 1000 else ""
    add("Cache-Control", f"{private}max-age={(hit.age_ms + hit.fresh_ms) // 1000}{grace}")


def found(hit: Hit) -> str:
    """``Cache-Status`` of a response from the cache."""
    return f"hit; ttl={hit.fresh_ms // 1000}"


def rescued(hit: Hit, status: int) -> str:
    """``Cache-Status`` of a stale response in place of an error."""
    ttl = hit.fresh_ms // 1000
    return f"fwd=stale; fwd-status={status}; ttl={ttl}; detail=stale-if-error"


def bypassed(reason: str) -> str:
    """``Cache-Status`` of a request that got an answer of its own."""
    return f"fwd=bypass; detail={reason}"


def computed(*, stale: bool, stored: bool, reason: str | None = None) -> str:
    """``Cache-Status`` of a response from the view; ``reason`` is why it is not stored."""
    what = "fwd=stale" if stale else "fwd=miss"
    if stored:
        return f"{what}; stored"
    return what if reason is None else f"{what}; detail={reason}"


def meet_conditions(response: Response, request: Request) -> None:
    """Answer a condition, such as a known ``ETag``; for success only (RFC 9110, 13.2)."""
    if 200 <= response.status_code < 300 and not _CONDITIONS.isdisjoint(request.environ):
        response.make_conditional(request)
