"""A published event as it arrives, from the history or live, not read yet."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask_redis_kit.events.body import RESET, Event, decode, timestamp_of
from flask_redis_kit.events.channels import Channel
from flask_redis_kit.events.frames import event_lines, reset_lines
from flask_redis_kit.events.positions import StreamId, parse_id

log = logging.getLogger("flask_redis_kit.events")


class Message:
    """One event: its id, the id before it in its channel, its body. Shared by all its readers.

    The body is read by the first reader that needs it, in its own thread, never in the hub's.
    """

    __slots__ = ("_content", "_lines", "body", "id", "prev", "topic")

    def __init__(self, topic: str, id: StreamId, prev: StreamId | None, body: bytes | None) -> None:  # noqa: A002  # the field's name
        self.topic = topic
        self.id = id
        self.prev = prev
        self.body = body
        self._content: dict[str, Any] | bool | None = None
        self._lines: bytes | None = None

    @classmethod
    def live(cls, topic: str, payload: bytes) -> Message | None:
        """From pub/sub: ``<id> <prev> <body>``; None if it is something else."""
        try:
            first, second, body = payload.split(b" ", 2)
        except ValueError:
            return None
        id, prev = parse_id(first), parse_id(second)  # noqa: A001
        return None if id is None or prev is None else cls(topic, id, prev, body)

    def content(self) -> dict[str, Any] | None:
        """What it says; None, and one warning, if the body is damaged."""
        if self._content is None:
            try:
                self._content = decode(self.body or b"")
            except (ValueError, RecursionError) as error:
                self._content = False
                log.warning("skipped the damaged event %s of %s: %s", self.id, self.topic, error)
        return self._content if isinstance(self._content, dict) else None

    def lines(self) -> bytes | None:
        """It as Server-Sent Event without an id; None if it is damaged."""
        if self._lines is None:
            content = self.content()
            if content is not None:
                self._lines = event_lines(content["type"], self.body or b"")
        return self._lines


class Delivery(NamedTuple):
    """What a reader gets next from one channel, and the position after it; no message: a reset."""

    channel: Channel
    at: StreamId
    message: Message | None

    def event(self) -> Event | None:
        """As an ``Event``; None if it is damaged."""
        name, at = self.channel.name, str(self.at)
        if self.message is None:
            return Event(name, RESET, None, at, datetime.now(UTC))
        content = self.message.content()
        if content is None:
            return None
        when = timestamp_of(content, self.at.ms)
        return Event(name, content["type"], content.get("data"), at, when)

    def lines(self) -> bytes | None:
        """As Server-Sent Event without an id; None if it is damaged."""
        if self.message is None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return reset_lines(self.channel.name, now)
        return self.message.lines()
