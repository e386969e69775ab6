"""What a client gets: 429 or 503, their bodies, and the headers of every limited response."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Response, current_app, has_request_context
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException, ServiceUnavailable, TooManyRequests
from werkzeug.http import parse_accept_header

from flask_redis_kit.core.errors import RedisKitError
from flask_redis_kit.ratelimit.decision import Decision
from flask_redis_kit.ratelimit.headers import SOON, distinct_policies, is_shown
from flask_redis_kit.ratelimit.limits import RateLimitResult

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.sansio.response import Response as SansIOResponse

    from flask_redis_kit.ratelimit.rule import Rule

_PROBLEMS = "https://iana.org/assignments/http-problem-types#"
_LARGEST = 10**9
"""Longer than any window: nothing is gained by saying it more exactly."""


class _Problem(HTTPException):
    """An HTTP error whose body is JSON (RFC 9457) or, for who prefers it, HTML."""

    problem = ""
    retry_seconds = 1
    policies: tuple[str, ...] = ()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, as Flask asks for it, without the cost of a response that it makes one of."""
        if self.response is not None or type(self).get_response is not HTTPException.get_response:
            return super().__call__(environ, start_response)
        body = self.get_body(environ).encode()
        headers = [*self.get_headers(environ), ("Content-Length", str(len(body)))]
        start_response(f"{self.code} {self.name.upper()}", headers)
        return [body]

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
        instance = "" if environ is None else f'"instance": {json.dumps(_path(environ))}, '
        policies = ", ".join(map(json.dumps, self.policies))
        return (  # of text alone json.dumps is fast
            f'{{"type": "{_PROBLEMS}{self.problem}", "title": {json.dumps(self.name)}, '
            f'"status": {self.code}, "detail": {json.dumps(self.description)}, {instance}'
            f'"violated-policies": [{policies}], "retry_after": {self.retry_seconds}}}\n'
        )


class RateLimitExceeded(RedisKitError, _Problem, TooManyRequests):
    """A limit refused the request; Flask answers it with 429.

    ``retry_after``  seconds until the same request would be admitted if nobody else asks.
    ``limit``        the limit that refused, in requests per ``window`` seconds.
    ``policies``     the names of all limits that refused.
    ``result``       all that is known about the tightest of them.
    """

    problem = "quota-exceeded"
    retry_after: float  # type: ignore[assignment]  # werkzeug's is for a header: whole seconds

    def __init__(
        self,
        result: RateLimitResult,
        response: SansIOResponse | None = None,
        *,
        decision: Decision | None = None,
        policies: tuple[str, ...] = (),
    ) -> None:
        refused = (result,) if decision is None else decision.refused
        seconds = retry_after(refused)
        self.retry_seconds = whole_seconds(seconds)
        super().__init__(_description(result, self.retry_seconds), response)
        self.retry_after = seconds
        self.result = result
        self.decision = decision
        self.limit = result.limit
        self.window = result.window
        self.policies = policies or tuple(each.policy for each in refused)

    def __reduce__(self) -> tuple[Any, ...]:
        """So that a pool of processes can hand it on: with all its data, without a response."""
        make = partial(RateLimitExceeded, decision=self.decision, policies=self.policies)
        return make, (self.result,)


class _Answered(RateLimitExceeded):
    """A refusal with the answer of a rule's own: no error handler is asked for another."""

    code = None  # type: ignore[assignment]  # so Flask gives back the response that it carries


class RateLimitUnavailable(RedisKitError, _Problem, ServiceUnavailable):
    """The limit could not be checked and its policy is "closed"; Flask answers it with 503."""

    problem = "temporary-reduced-capacity"
    retry_after: float  # type: ignore[assignment]  # werkzeug's is for a header: whole seconds

    def __init__(self, retry_after: float = 1.0, policies: tuple[str, ...] = ()) -> None:
        super().__init__("The service is short of capacity for a moment. Try again soon.")
        self.retry_after = retry_after
        self.retry_seconds = whole_seconds(retry_after)
        self.policies = policies


def refusal_of(
    decision: Decision, rules: Mapping[str, Rule], standings: Mapping[str, RateLimitResult]
) -> RateLimitExceeded | RateLimitUnavailable:
    """The exception that answers a decision which admits nobody.

    ``standings``: all limits of the request, by key, which the headers are going to show.
    """
    if decision.unavailable:
        unknown = tuple(r.policy for r in decision.results if not r.counted and not r.shadow)
        return RateLimitUnavailable(getattr(decision.failure, "retry_after", 1.0), unknown)
    refused = decision.refused
    result = refused[0]
    if len(refused) > 1:
        result = min(refused, key=lambda result: result.tightness)
    keys = [
        claim.key
        for claim, each in zip(decision.claims, decision.results, strict=True)
        if not each.allowed and not each.shadow
    ]
    shown = {key: each for key, each in standings.items() if is_shown(each)}
    names = dict(zip(shown, distinct_policies(list(shown.values())), strict=True))
    policies = tuple([names[key] for key in keys if key in names])
    own = [rules[key].response for key in keys if key in rules and rules[key].response]
    make = own[0] if own and has_request_context() else None
    if make is not None:
        return _Answered(result, _made(make, decision), decision=decision, policies=policies)
    return RateLimitExceeded(result, decision=decision, policies=policies)


def retry_after(refused: Iterable[RateLimitResult]) -> float:
    """Seconds until a request that these limits refused may be admitted."""
    return max(SOON if each.kind == "concurrency" else each.retry_after for each in refused)


def _made(make: Callable[[Decision], Any], decision: Decision) -> Response:
    """A response of the user's making: 429 unless it says otherwise, never to be stored."""
    value = make(decision)
    response = current_app.make_response(value)
    if response.status_code == 200 and not isinstance(value, (tuple, Response)):
        response.status_code = TooManyRequests.code
    response.headers["Retry-After"] = str(whole_seconds(retry_after(decision.refused)))
    response.headers["Cache-Control"] = "no-store"
    return response


def whole_seconds(seconds: float) -> int:
    """As ``Retry-After`` has it: rounded up, at least 1."""
    return max(1, math.ceil(min(seconds, _LARGEST)))


def _description(result: RateLimitResult, seconds: int) -> str:
    requests, are = ("request", "is") if result.limit == 1 else ("requests", "are")
    if result.kind == "concurrency":
        return f"At most {result.limit} {requests} at the same time {are} allowed. Try again soon."
    return (
        f"At most {result.limit} {requests} in {_spoken(result.window)} {are} allowed. "
        f"Try again in {_spoken(seconds)}."
    )


def _prefers_html(environ: WSGIEnvironment | None) -> bool:
    accepted = (environ or {}).get("HTTP_ACCEPT", "")
    return bool(accepted) and (_is_html if len(accepted) < 500 else _is_html.__wrapped__)(accepted)


@lru_cache(maxsize=256)
def _is_html(accepted: str) -> bool:
    """Whether a header ``Accept`` prefers HTML to JSON."""
    accept = parse_accept_header(accepted, MIMEAccept)
    html = max(accept.quality("text/html"), accept.quality("application/xhtml+xml"))
    return bool(
        html > max(accept.quality("application/json"), accept.quality("application/problem+json"))
    )


def _path(environ: WSGIEnvironment) -> str:
    """The path of a request as a URI reference; WSGI has its bytes as Latin-1."""
    path = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    return quote(path.encode("latin-1", "replace"), safe="/:@!$&'()*+,;=~")


def _spoken(seconds: float) -> str:
    return f"{seconds:g} second" + ("" if seconds == 1 else "s")
