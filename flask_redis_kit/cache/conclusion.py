"""The last word on a cached route's answer, when hooks and decorators have had theirs.

What they do to a page is not in the cache. So the ``ETag`` of what is stored is none of the page
they make of it: by it a browser would keep the page of who was logged in before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import Flask, Request, Response, request_finished
from werkzeug.http import generate_etag

from flask_redis_kit.core.views import current_request

_SAID = "_redis_kit_cache_answer"
_CONDITIONS = (
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_MATCH",
    "HTTP_IF_UNMODIFIED_SINCE",
)


class Said(NamedTuple):
    """What the cache has said of its answer to one request.

    ``etag``     the ``ETag`` that it made of ``body``; None if it made none.
    ``control``  a ``Cache-Control`` that lets shared caches keep the answer, if it said so.
    """

    etag: str | None
    body: object
    control: str | None = None


def remember(request: Request, said: Said) -> None:
    """Remember what the cache says of its answer, until the end of the request."""
    vars(request)[_SAID] = said


def said_of(response: Response, *, made_etag: bool) -> Said:
    """What the cache says of an answer that it has not stored yet."""
    return Said(response.headers.get("ETag") if made_etag else None, _only_part(response))


def watch(app: Flask) -> None:
    """Conclude the answers of an application from now on. Doing it twice is harmless."""
    request_finished.connect(_conclude, app)


def _conclude(app: Flask, response: Response, **_: Any) -> None:  # noqa: ARG001  # a receiver's
    """Make what was said true of the response as it is sent; answer a condition, such as a known
    ``ETag``, for success only (RFC 9110, 13.2)."""
    request = current_request()
    said: Said | None = None if request is None else vars(request).pop(_SAID, None)
    if request is None or said is None:
        return
    headers = response.headers
    is_open = said.control is not None and headers.get("Cache-Control") == said.control
    if is_open and "Set-Cookie" in headers:
        # whoever comes for the first time had none, and gets one
        headers["Cache-Control"] = f"private, {said.control}"
    is_same = said.body is not None and _only_part(response) is said.body
    if not is_same and said.etag is not None and headers.get("ETag") == said.etag:
        _correct_etag(response)
    environ = request.environ
    conditional = any([name in environ for name in _CONDITIONS])  # noqa: C419  # of few, faster
    if conditional and 200 <= response.status_code < 300:
        response.make_conditional(request)


def _correct_etag(response: Response) -> None:
    if response.direct_passthrough or response.is_streamed:
        del response.headers["ETag"]
    else:
        response.set_etag(generate_etag(response.get_data()))


def _only_part(response: Response) -> object:
    """The body of a response that has it in one piece."""
    parts = response.response
    return parts[0] if type(parts) is list and len(parts) == 1 else None
