"""What a route's response says of the cache: ``Age``, ``Cache-Control``, ``Cache-Status``.

``Cache-Status`` is RFC 9211's, under the name of the namespace. ``max-age`` is the whole time that
a page is fresh: a recipient takes ``Age`` off it (RFC 9111, 4.2). It is ``private``, as others may
put things of one user's into the response after us (a cookie, a header); of pages that the
developer calls public it is not, unless the request had a cookie.
"""

from __future__ import annotations

from flask import Request, Response

from flask_redis_kit.cache.conclusion import Said, remember, said_of
from flask_redis_kit.cache.flight import Hit
from flask_redis_kit.cache.options import SAFE_METHODS
from flask_redis_kit.core.headers import add_clean

PERSONAL = "private, no-cache"
"""Of pages that are one for each user, so that the next one at this browser doesn't see them."""


class Answer:
    """What the responses of one visit say. ``silent``: they become a part of another page.

    A view class whose method is cached, and which is cached as a whole, makes one page of another:
    what is said of the inner one must not be stored with the outer one.
    """

    __slots__ = ("_namespace", "_public", "_request", "_silent")

    def __init__(self, namespace: str, request: Request, *, public: bool, silent: bool) -> None:
        self._namespace = namespace
        self._request = request
        self._public = public
        self._silent = silent

    def found(self, response: Response, hit: Hit) -> Response:
        """A response from the cache."""
        return self._stored(response, hit, f"hit; ttl={hit.fresh_ms // 1000}")

    def rescued(self, response: Response, hit: Hit, status: int) -> Response:
        """A stale response in place of an error."""
        ttl = hit.fresh_ms // 1000
        what = f"fwd=stale; fwd-status={status}; ttl={ttl}; detail=stale-if-error"
        return self._stored(response, hit, what)

    def bypassed(self, response: Response, reason: str) -> Response:
        """The view's response to a request that gets an answer of its own."""
        return self._said(response, f"fwd=bypass; detail={reason}")

    def refused(self, response: Response, *, stale: bool, reason: str | None = None) -> Response:
        """The view's response, which is not stored; ``reason`` is why."""
        detail = "" if reason is None else f"; detail={reason}"
        return self._said(response, f"fwd={'stale' if stale else 'miss'}{detail}")

    def kept(self, response: Response, *, stale: bool, made_etag: bool) -> Response:
        """The view's response, which is stored. ``made_etag``: its ``ETag`` is not the view's."""
        self._say(response, said_of(response, made_etag=made_etag))
        return self._said(response, f"fwd={'stale' if stale else 'miss'}; stored")

    def _stored(self, response: Response, hit: Hit, what: str) -> Response:
        said: Said = hit.value.said
        if self._silent:
            self._say(response, said)
            return response
        request = self._request
        fields = [("Age", str(hit.age_ms // 1000))]  # none of these was stored
        if not hit.value.says_freshness and request.method in SAFE_METHODS:
            open_to_all = self._public and "HTTP_COOKIE" not in request.environ
            private = "" if open_to_all else "private, "
            grace = hit.grace_ms // 1000
            renewed = f", stale-while-revalidate={grace}" if grace else ""
            seconds = (hit.age_ms + hit.fresh_ms) // 1000
            value = f"{private}max-age={seconds}{renewed}"
            fields.append(("Cache-Control", value))
            if open_to_all:
                said = said._replace(control=value)
        fields.append(self._status(what))
        add_clean(response.headers, fields)
        remember(request, said)
        return response

    def _say(self, response: Response, said: Said) -> None:
        """Leave the rest for the end of the request."""
        if not self._silent:
            remember(self._request, said)
        elif said.etag is not None:
            del response.headers["ETag"]  # the other page gets one of its own

    def _said(self, response: Response, what: str) -> Response:
        """With ``Cache-Status``."""
        if not self._silent:
            add_clean(response.headers, [self._status(what)])
        return response

    def _status(self, what: str) -> tuple[str, str]:
        # a token starts with a letter (RFC 8941, 3.3.4)
        plain = self._namespace[0].isalpha()
        name = self._namespace if plain else f'"{self._namespace}"'
        return "Cache-Status", f"{name}; {what}"
