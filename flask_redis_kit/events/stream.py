"""The answer of a view that gives a stream of Server-Sent Events."""

from __future__ import annotations

from flask import Request, Response

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
    "Vary": "Origin",
}


class EventStream(Response):
    """``text/event-stream``, not to be stored, compressed or buffered.

    Reading the body of one that stays open (``get_data``) would never end: it raises instead.
    """

    default_mimetype = "text/event-stream"
    implicit_sequence_conversion = False

    def __init__(self, body: object = None, status: int = 200) -> None:
        super().__init__(body, status=status, headers=HEADERS)  # type: ignore[arg-type]  # bytes or an iterator of them


def last_event_id(request: Request) -> str | None:
    """The position that a browser comes back with; the header wins over ``?last_event_id=``."""
    return request.headers.get("Last-Event-ID") or request.args.get("last_event_id") or None


def can_stay_open(request: Request) -> bool:
    """False where one request occupies the whole process, as with gunicorn's sync workers."""
    return bool(request.is_multithread)
