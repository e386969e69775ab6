"""A request's body as a part of a key: of a form its fields, of JSON its value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Request

from flask_redis_kit.cache.identity import encode
from flask_redis_kit.cache.query import canonical_form

MAX_BYTES = 65_536
_FORM = "application/x-www-form-urlencoded"


def has_body(environ: Mapping[str, Any]) -> bool:
    """Whether a request has a body, whatever its method: a view can read that of a ``GET``, too."""
    return environ.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ


def canonical_body(request: Request) -> tuple[str, bytes] | None:
    """What kind of body it is, and its bytes, spelled one way; None if it can be part of no key.

    That are bodies of more than 64 kB or of unknown length, of other types than forms and JSON
    (uploads, too), and JSON that can't be read. Fields are sorted by name as in a query; members of
    JSON objects have no order. What is read here, the view reads again.
    """
    length = request.content_length
    if "Transfer-Encoding" in request.headers or (length is not None and length > MAX_BYTES):
        return None
    kind = request.mimetype
    if not length:
        return kind, b""
    if kind == _FORM:
        return kind, canonical_form(request.get_data())
    if not request.is_json:
        return None
    try:
        return kind, encode(json.loads(request.get_data()))
    except (ValueError, RecursionError):
        return None
