"""An event as JSON: ``{"type": …, "data": …, "timestamp": …}``, for browsers and all languages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask_redis_kit.events.channels import NAME
from flask_redis_kit.events.errors import EventDataError, EventNameError, EventTooLarge

RESET = "reset"
RESERVED = frozenset({RESET, "open", "error"})
"""Types that EventSource or the kit itself uses."""

_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as ``subscribe()`` gives it.

    ``channel``    its name; ``user~<id>`` for a user's, ``broadcast~`` for a broadcast.
    ``type``       what ``publish`` was given, or ``"reset"``: events of this channel are lost to
                   this reader (it was away for too long), so what it knows must be loaded anew.
    ``data``       JSON types; None for a reset.
    ``id``         ``<ms>-<seq>``, growing within the channel; the ms are the server's clock.
    ``timestamp``  when it was published, by the publisher's clock; UTC.
    """

    channel: str
    type: str
    data: Any
    id: str
    timestamp: datetime


def encode(type: str, data: object, limit: int) -> bytes:  # noqa: A002  # the field's name
    """The body of an event of at most ``limit`` bytes.

    Raises ``EventNameError``, ``EventDataError`` or ``EventTooLarge``.
    """
    if not isinstance(type, str) or not NAME.match(type):
        raise EventNameError(
            f"type {type!r} can't be one: use 1 to 200 ASCII letters, digits, '_', '.', ':', '@', "
            "'/' or '-'."
        )
    if type in RESERVED:
        raise EventNameError(
            f"type {type!r} is reserved: browsers and the kit give it a meaning of their own. "
            "Choose another, e.g. 'order." + type + "'."
        )
    _refuse_foreign(data, "data")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {"type": type, "data": data, "timestamp": now}
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode()
    except ValueError as error:  # a lone surrogate, an int of many thousand digits
        raise EventDataError(f"data can't be written as JSON: {error}") from None
    if len(body) > limit:
        raise EventTooLarge(
            f"The event {type!r} has {len(body)} bytes; {limit} are allowed "
            "(REDIS_EVENTS_PAYLOAD_LIMIT). Publish an id, and let the reader fetch the rest.",
            size=len(body),
            limit=limit,
        )
    return body


def decode(body: bytes) -> dict[str, Any]:
    """The content of a body: a dict with a valid ``type``. ``ValueError`` if it is none."""
    content = json.loads(body, parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError("an event is an object")
    name = content.get("type")
    if not isinstance(name, str) or not NAME.match(name) or name in RESERVED:
        raise ValueError("an event has a type")
    return content


def timestamp_of(content: dict[str, Any], ms: int) -> datetime:
    """When it was published; by its id where it doesn't say."""
    try:
        found = datetime.fromisoformat(content["timestamp"])
    except (KeyError, TypeError, ValueError):
        return datetime.fromtimestamp(ms / 1000, UTC)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _refuse_foreign(value: object, place: str, depth: int = 0) -> None:
    """Raise ``EventDataError`` for the first value that JSON can't say as it is."""
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise EventDataError(f"{place} is {value!r}, which JSON can't say.")
        return
    if depth >= _DEPTH:
        raise EventDataError(f"data is nested more than {_DEPTH} deep, or contains itself.")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise EventDataError(
                    f"{place} has the key {key!r} ({_kind(key)}); JSON's keys are str."
                )
            _refuse_foreign(item, f"{place}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for n, item in enumerate(value):
            _refuse_foreign(item, f"{place}[{n}]", depth + 1)
    else:
        raise EventDataError(
            f"{place} is a {_kind(value)}, which is no JSON type. Convert it first: str(...) for a "
            "UUID or Decimal, .isoformat() for a date, a list for a set."
        )


def _kind(value: object) -> str:
    return type(value).__qualname__
