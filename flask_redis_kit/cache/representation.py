"""What is stored of a response: status, headers, body, and what a hit must know of them."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from flask import Flask, Response
from werkzeug.datastructures import Headers

from flask_redis_kit.cache.conclusion import Said
from flask_redis_kit.cache.lately import Shared
from flask_redis_kit.cache.storability import is_permitted
from flask_redis_kit.core.errors import CodecError

OWN_FRESHNESS = 1
"""The view said itself how long others may keep the response."""
PERMITTED = 2
"""The view said that everyone may have it, even if a request says who asks."""
MADE_ETAG = 4
"""The view gave no ``ETag``: it is made of the body."""

# those of one connection or one answer: RFC 9110, 7.6.1, RFC 9111, 3.1
_NOT_STORED = frozenset(
    {
        "age",
        "cache-status",
        "connection",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_STATUS = re.compile(r"[1-5][0-9]{2}(?: [\t -\xff]*)?")
"""A status line's code and reason, of one line: RFC 9112, 4."""

Stored = list[Any]


def taken(response: Response) -> Stored:
    """What to store of a response; gives it a length, and an ``ETag`` if it has none."""
    body = response.get_data()
    response.set_data(body)
    flags = 0 if "ETag" in response.headers else MADE_ETAG
    response.add_etag()
    if "Cache-Control" in response.headers or "Expires" in response.headers:
        flags |= OWN_FRESHNESS
        flags |= PERMITTED * is_permitted(response)
    headers = [[name, value] for name, value in response.headers if name.lower() not in _NOT_STORED]
    return [response.status, headers, body, flags]


class Representation(Shared):
    """A response as it is stored, checked: ``response`` makes a new one for each request."""

    __slots__ = ("_body", "_headers", "_status", "is_permitted", "said", "says_freshness")

    def __init__(self, stored: Any) -> None:
        try:
            status, headers, body, flags = stored
            self._status = _checked_status(status)
            self._headers = _checked(headers)
            self._body = bytes(memoryview(body))
            self.says_freshness = bool(flags & OWN_FRESHNESS)
            self.is_permitted = bool(flags & PERMITTED)
            self.said = Said(_etag(self._headers) if flags & MADE_ETAG else None, self._body)
        except (TypeError, ValueError) as error:
            raise CodecError(f"It is no response: {error}") from error

    def response(self, app: Flask) -> Response:
        """The response; nothing of it is shared with another one."""
        headers = Headers()
        headers._list = [*self._headers]
        # the body in a list, or its length would be set again
        return app.response_class([self._body], status=self._status, headers=headers)


def _etag(headers: tuple[tuple[str, str], ...]) -> str | None:
    return next((value for name, value in headers if name.lower() == "etag"), None)


def _checked_status(status: Any) -> str:
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise ValueError(f"{status!r:.100} is no status")
    return status


def _checked(headers: Any) -> tuple[tuple[str, str], ...]:
    """Stored headers, all at once: one by one, as ``Headers`` does it, takes ten times as long.

    ``TypeError`` or ``ValueError`` for what can be no headers: what is stored may come from anybody
    who can write to the server.
    """
    pairs = tuple([(name, value) for name, value in headers])  # faster
    text = "".join(chain.from_iterable(pairs))
    if "\n" in text or "\r" in text:
        raise ValueError("a header has more than one line")
    return pairs
