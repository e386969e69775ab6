"""Positions: the id of an event in its channel, and of a stream in all of its channels.

An id is ``<ms>-<seq>`` as in Redis Streams. Two channels may hold the same id, so the position of a
stream names each channel: ``v1;<hash8>=<ms>-<seq>;…``. Browsers send it back as Last-Event-ID.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from flask_redis_kit.events.channels import MAX_CHANNELS, Channel

_ID = re.compile(rb"(\d{1,16})-(\d{1,16})\Z")
_PART = re.compile(r"([0-9a-f]{8})=([0-9]{1,16})-([0-9]{1,16})\Z")
_LONGEST = 3 + MAX_CHANNELS * 43


class StreamId(NamedTuple):
    """The id of an event; ids of a channel only grow."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


ZERO = StreamId(0, 0)
"""Before the first event of a channel."""


def parse_id(text: bytes | None) -> StreamId | None:
    """The id, or None if it isn't one."""
    found = _ID.match(text) if isinstance(text, bytes) else None
    return StreamId(int(found[1]), int(found[2])) if found else None


def format_position(ids: Mapping[Channel, StreamId | None]) -> str:
    """A stream's position, without the channels whose id is unknown."""
    parts = (f"{channel.hash8}={at}" for channel, at in ids.items() if at is not None)
    return ";".join(("v1", *parts))


def parse_position(text: str, channels: Iterable[Channel]) -> dict[Channel, StreamId] | None:
    """The ids of those channels that the position names; None if it is malformed."""
    version, *parts = text.split(";") if len(text) <= _LONGEST else [""]
    if version != "v1":
        return None
    found: dict[str, StreamId] = {}
    for part in parts:
        match = _PART.match(part)
        if match is None or match[1] in found:
            return None
        found[match[1]] = StreamId(int(match[2]), int(match[3]))
    return {channel: found[channel.hash8] for channel in channels if channel.hash8 in found}
