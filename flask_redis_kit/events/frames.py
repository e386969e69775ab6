"""Server-Sent Events on the wire (HTML standard, section 9.2.6), proof against injection.

Only CR, LF and CRLF end a line there. ``str.splitlines`` would split at U+2028 and others too.
"""

from __future__ import annotations

import json
import re

_LINE_END = re.compile(rb"\r\n|\r|\n")
_UNSAFE = re.compile(r"[\r\n\0]")

HEARTBEAT = b":\n\n"


def preamble(position: str | None, retry: float) -> bytes:
    """The start of a stream: the position and ``retry`` (seconds), but no event.

    A browser keeps the position even if it never gets an event, and so misses none later.
    """
    return b": stream\nretry: %d\n%s\n" % (round(retry * 1000), id_line(position))


def id_line(position: str | None) -> bytes:
    """The line that makes ``position`` the browser's Last-Event-ID; without one there is none."""
    if position is None:
        return b""
    return b"id: %s\n" % _UNSAFE.sub("", position).encode()


def event_lines(type: str, body: bytes) -> bytes:  # noqa: A002  # the field's name
    """An event without its id, ready to be shared by all streams. Empty data is data."""
    data = b"".join(b"data: %s\n" % line for line in _LINE_END.split(body.replace(b"\0", b"")))
    return b"event: %s\n%s\n" % (_UNSAFE.sub("", type).encode(), data)


def reset_lines(channel: str, timestamp: str) -> bytes:
    """A ``reset``: events of ``channel`` are lost to this reader, who should load anew."""
    content = {"type": "reset", "data": {"channel": channel}, "timestamp": timestamp}
    return event_lines("reset", json.dumps(content, separators=(",", ":")).encode())
