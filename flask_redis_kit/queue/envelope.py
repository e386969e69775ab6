"""A job as it is stored: a fixed header that scripts can read, and a body for the worker.

::

    byte 0        version of the body
    byte 1        priority: h, n or l (scripts read it)
    bytes 2-3     how often the job has failed, big-endian
    bytes 4-11    since when it is held back because nobody knows its task, server ms; 0: it isn't
    from byte 12  the kit's codec: {"n": task, "p": payload, "u": user}

The header has this layout in every version, so an old worker can hold back a newer job.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError

VERSION = 1
MAX_FAILURES = 0xFFFF
_HEADER = struct.Struct(">BcHQ")


@dataclass(frozen=True, slots=True)
class Header:
    """What can be known of a job of any version."""

    version: int
    priority: str
    failures: int
    held_since_ms: int
    body: bytes

    def pack(self, *, failures: int | None = None, held_since_ms: int = 0) -> bytes:
        """The envelope again, with other counts."""
        count = self.failures if failures is None else failures
        priority = self.priority.encode()
        return _HEADER.pack(self.version, priority, min(count, MAX_FAILURES), held_since_ms) + (
            self.body
        )


@dataclass(frozen=True, slots=True)
class Body:
    """What the worker runs, and whom to tell of it."""

    task: str
    payload: dict[str, Any]
    user: str | int | None


def seal(codec: Codec, priority: str, body: Body) -> bytes:
    """The envelope of a new job. ``CodecError`` names what in the payload can't be stored."""
    content = codec.encode({"n": body.task, "p": body.payload, "u": body.user})
    return Header(VERSION, priority, 0, 0, content).pack()


def read_header(envelope: bytes) -> Header:
    """The header; ``CodecError`` if this is no envelope."""
    try:
        version, priority, failures, since = _HEADER.unpack_from(envelope)
    except struct.error as error:
        raise CodecError(f"{len(envelope)} bytes are no envelope of a job.") from error
    if version == 0 or priority not in (b"h", b"n", b"l"):
        raise CodecError("These bytes are no envelope of a job.")
    return Header(version, priority.decode(), failures, since, envelope[_HEADER.size :])


def read_body(codec: Codec, header: Header) -> Body:
    """The body of an envelope of this version; ``CodecError`` if it can't be read."""
    content = codec.decode(header.body)
    match content:
        case {"n": str(task), "p": dict(payload), "u": str() | int() | None as user}:
            return Body(task, payload, user)
    raise CodecError("The envelope of a job has another shape than expected.")
