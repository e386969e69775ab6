"""What a client gets: 429 or 503, their bodies, and the headers of every limited response."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException, ServiceUnavailable, TooManyRequests
from werkzeug.http import parse_accept_header

from flask_redis_kit.core.errors import RedisKitError
from flask_redis_kit.ratelimit.limits import RateLimitResult

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Response
    from werkzeug.sansio.response import Response as SansIOResponse

_STATE = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_STATE_LOWER = frozenset(name.lower() for name in _STATE)
_PROBLEMS = "https://iana.org/assignments/http-problem-types#"


class _Problem(HTTPException):
    """An HTTP error whose body is JSON (RFC 9457) or, for who prefers it, HTML."""

    problem = ""
    retry_seconds = 1

    def get_headers(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, Any] | None = None,  # noqa: ARG002  # werkzeug's signature
    ) -> list[tuple[str, str]]:
        """The type of the body, ``Retry-After`` and ``Cache-Control: no-store``."""
        html = _prefers_html(environ)
        return [
            ("Content-Type", "text/html; charset=utf-8" if html else "application/problem+json"),
            ("Retry-After", str(self.retry_seconds)),
            ("Cache-Control", "no-store"),
        ]

    def get_body(
        self,
        environ: WSGIEnvironment | None = None,
        scope: dict[str, Any] | None = None,
    ) -> str:
        """A short text that names the limit and when to come again, never the key."""
        if _prefers_html(environ):
            return super().get_body(environ, scope)
        body = {
            "type": _PROBLEMS + self.problem,
            "title": self.name,
            "status": self.code,
            "detail": self.description,
            "retry_after": self.retry_seconds,
        }
        return json.dumps(body) + "\n"


class RateLimitExceeded(RedisKitError, _Problem, TooManyRequests):
    """A limit refused the request; Flask answers it with 429.

    ``retry_after``  seconds until the same request would be admitted if nobody else asks.
    ``limit``        the limit that refused, in requests per ``window`` seconds.
    ``result``       all that is known about it.
    """

    problem = "quota-exceeded"
    retry_after: float  # type: ignore[assignment]  # werkzeug's is for a header: whole seconds

    def __init__(self, result: RateLimitResult, response: SansIOResponse | None = None) -> None:
        requests = "request" if result.limit == 1 else "requests"
        super().__init__(
            f"At most {result.limit} {requests} in {_spoken(result.window)} are allowed. "
            f"Try again in {_spoken(result.retry_seconds)}.",
            response,
        )
        self.result = result
        self.retry_after = result.retry_after
        self.retry_seconds = result.retry_seconds
        self.limit = result.limit
        self.window = result.window


class RateLimitUnavailable(RedisKitError, _Problem, ServiceUnavailable):
    """The limit could not be checked and its policy is "closed"; Flask answers it with 503."""

    problem = "temporary-reduced-capacity"
    retry_after: float  # type: ignore[assignment]  # werkzeug's is for a header: whole seconds

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("The service is short of capacity for a moment. Try again soon.")
        self.retry_after = retry_after
        self.retry_seconds = max(1, math.ceil(retry_after))


def set_headers(response: Response, result: RateLimitResult) -> None:
    """Put the state of the tightest limit of a request into its response.

    ``X-RateLimit-Reset`` is the time, in seconds since 1970, when the next unit frees.
    ``Retry-After`` stands on 429 and 503 only.
    """
    wait = result.reset_after if result.allowed else result.retry_after
    headers = response.headers
    for name in [name for name, _ in headers if name.lower() in _STATE_LOWER]:
        headers.remove(name)  # somebody's own, or a stored response's
    figures = (
        str(result.limit),
        str(result.remaining if result.allowed else 0),
        str(math.ceil(time.time() + wait)),
    )
    for name, figure in zip(_STATE, figures, strict=True):
        headers.add(name, figure)
    if response.status_code == TooManyRequests.code and not result.allowed:
        headers["Retry-After"] = str(result.retry_seconds)
        headers["Cache-Control"] = "no-store"


def _prefers_html(environ: WSGIEnvironment | None) -> bool:
    accept = parse_accept_header((environ or {}).get("HTTP_ACCEPT", ""), MIMEAccept)
    html = max(accept.quality("text/html"), accept.quality("application/xhtml+xml"))
    return bool(
        html > max(accept.quality("application/json"), accept.quality("application/problem+json"))
    )


def _spoken(seconds: float) -> str:
    return f"{seconds:g} second" + ("" if seconds == 1 else "s")
