"""What a channel still holds, and whether it joins on to what a reader has."""

from __future__ import annotations

from typing import NamedTuple

from flask_redis_kit.core.exchange import Exchange, Reply
from flask_redis_kit.core.script import Script
from flask_redis_kit.events.channels import Channel
from flask_redis_kit.events.message import Message
from flask_redis_kit.events.positions import ZERO, StreamId, parse_id

READ = Script("flask_redis_kit.events", "lua/read.lua")
PAGE = 100
"""Events read in one go, so that a reader far behind needs little memory."""


class Page(NamedTuple):
    """A channel's last id and some of the events after a position, as of one moment."""

    last: StreamId
    messages: list[Message]

    @property
    def full(self) -> bool:
        """True if there may be more."""
        return len(self.messages) == PAGE

    def joins(self, position: StreamId) -> bool:
        """True if nothing is missing between ``position`` and the end of this page."""
        at = position
        for message in self.messages:
            if message.prev != at:
                return False
            at = message.id
        return self.full or at == self.last


def read_exchange(channel: Channel, position: StreamId | None) -> Exchange[Page]:
    """The last id, and at most ``PAGE`` events after ``position``; without a position none."""

    def parse(replies: list[Reply]) -> Page:
        last, entries = replies[0]
        return Page(parse_id(last) or ZERO, [_message(channel, entry) for entry in entries])

    after = "" if position is None else str(position)
    call = READ.call((channel.history, channel.meta), (after, PAGE))
    return Exchange("events", channel.history, [call], parse, read_only=True)


def _message(channel: Channel, entry: Reply) -> Message:
    raw, flat = entry
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    prev = parse_id(fields.get(b"p"))
    return Message(channel.topic, parse_id(raw) or ZERO, prev, fields.get(b"d"))
