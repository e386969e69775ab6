"""``kit.events``: publishing, the endpoint's stream, and readers in Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from flask import Response, request
from redis.exceptions import ResponseError

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.transaction import Transaction
from flask_redis_kit.events.channels import Channel, UserId
from flask_redis_kit.events.config import EventsConfig
from flask_redis_kit.events.engine import EventsEngine
from flask_redis_kit.events.errors import EventNameError
from flask_redis_kit.events.message import log
from flask_redis_kit.events.positions import StreamId, format_position, parse_position
from flask_redis_kit.events.publisher import NOT_PUBLISHED, Publication, clearer
from flask_redis_kit.events.reader import EventReader
from flask_redis_kit.events.sse import LiveStream, missed_events
from flask_redis_kit.events.stream import EventStream, can_stay_open, last_event_id
from flask_redis_kit.events.transaction import EventsTransaction

Positions = dict[Channel, StreamId | None]


class EventsFeature(Feature[EventsConfig, EventsEngine]):
    """Events to browsers and to other processes; what a reader missed is replayed."""

    name: ClassVar[str] = "events"
    config_class = EventsConfig
    keyspace = (
        KeySpec(
            "frk:{<ns>:<partition>}:event:h:<channel>",
            "stream",
            "1 h (a user's: 15 min) after the last event",
            "a channel's newest events, for those who come back",
        ),
        KeySpec(
            "frk:{<ns>:<partition>}:event:m:<channel>",
            "hash",
            "30 d after the last event",
            "a channel's last event id",
        ),
        KeySpec(
            "frk:{<ns>:<partition>}:event:c:<channel>",
            "channel",
            "nothing is stored",
            "pub/sub: a channel's live events",
        ),
    )

    def build(self, context: Context[EventsConfig]) -> EventsEngine:
        """The engine of one application."""
        return EventsEngine(context.wire, context.keys, context.config)

    def close(self, engine: EventsEngine) -> None:
        """End every stream and reader."""
        engine.close()

    def transactional(self, tx: Transaction) -> EventsTransaction:
        """``tx.events``."""
        return EventsTransaction(self.engine(), tx)

    def end_streams(self) -> None:
        """End every stream and reader of this process, at once; for a server that shuts down.

        A browser comes back by itself, to another process or after the restart.
        """
        self.engine().close()

    def publish(self, channel: str, type: str, data: object = None) -> Publication:  # noqa: A002  # the field's name
        """Publish an event to a channel: to its history and to everybody who hears it now.

        ``channel``  1 to 200 ASCII letters, digits or ``_ . : @ / -``.
        ``type``     the same alphabet; not ``reset``, ``open`` or ``error``.
        ``data``     JSON types: dict, list, str, int, float, bool, None. At most 64 KiB as JSON.

        One round trip, atomic; sent at once and never twice. Raises ``EventNameError``,
        ``EventDataError`` or ``EventTooLarge`` for what can't be published, ``ServerUnavailable``
        when Redis is away, ``BrokenChannel`` when the channel's key holds something else.
        """
        return self._publish(self.engine().channels.plain(channel), type, data)

    def publish_to_user(self, user_id: UserId, type: str, data: object = None) -> Publication:  # noqa: A002  # the field's name
        """Publish an event to one user's streams, on all of his devices. As ``publish``."""
        return self._publish(self.engine().channels.user(user_id), type, data)

    def publish_broadcast(self, type: str, data: object = None) -> Publication:  # noqa: A002  # the field's name
        """Publish an event to every stream of the application. As ``publish``."""
        return self._publish(self.engine().channels.broadcast(), type, data)

    def stream(self, user: UserId | None = None, channels: Iterable[str] = ()) -> Response:
        """The answer of an endpoint: Server-Sent Events of these channels, for a browser.

        What ``user`` is sent, the named ``channels`` (up to 16 in all), and the broadcasts. Who may
        hear what is for the view to decide before it calls this. A browser that comes back gets
        what it missed, by its Last-Event-ID or ``?last_event_id=``; if that is too much or no
        longer there, a ``reset`` event tells it to load its page's state anew.

        The stream ends after ten minutes, about, and the browser comes back, authorised anew. A
        server that handles one request at a time gets an answer that ends at once instead.

        At most one round trip before the answer begins, one when this process hears its channels,
        none while live events join on. Redis being away delays the events, not this answer.
        """
        engine, context = self.engine(), self.context()
        found = engine.channels.of(channels, user)
        if not context.config.enabled:
            return EventStream(status=204)  # tells a browser not to come back
        if request.method == "HEAD":
            return EventStream(b"")
        positions, lost = self._start(found, last_event_id(request))
        subscription = engine.subscription(positions, lost=lost)
        if can_stay_open(request):
            return EventStream(LiveStream(subscription, positions, context.config))
        return EventStream(missed_events(subscription, positions, context.config))

    def cursor(self, channels: Iterable[str] = (), user: UserId | None = None) -> str:
        """The position of now in these channels, for a page whose state was read after it.

        Put it into the page, and open its stream with ``?last_event_id=`` and it: what happens
        between is not missed. One round trip.
        """
        found = self.engine().channels.of(channels, user)
        return format_position(self._heads(found) if self.context().config.enabled else {})

    def subscribe(
        self,
        channels: Iterable[str] = (),
        user: UserId | None = None,
        *,
        after: str | None = None,
    ) -> EventReader:
        """Read events in Python: everything published after this call returned, or after a cursor.

        ::

            with kit.events.subscribe(channels=["orders"]) as events:
                for event in events:
                    print(event.type, event.data)

        One round trip (none with a cursor of all the channels), raising ``ServerUnavailable`` when
        Redis is away; later it waits until Redis is back. Shares the process's hub connection.
        """
        engine, config = self.engine(), self.context().config
        found = engine.channels.of(channels, user)
        if not config.enabled:
            return EventReader(engine.subscription({}), {})
        known = parse_position(after, found) if after is not None else {}
        if known is None:
            raise EventNameError(f"after={after!r} is no cursor: use kit.events.cursor(...).")
        positions = self._completed(found, known)
        return EventReader(engine.subscription(positions), positions)

    def _publish(self, channel: Channel, type: str, data: object) -> Publication:  # noqa: A002  # the field's name
        exchange = self.engine().publication(channel, type, data)
        context = self.context()
        if not context.config.enabled:
            return NOT_PUBLISHED
        try:
            return context.send(exchange)
        except ResponseError as error:
            raise clearer(error, channel) from error

    def _start(
        self, channels: Sequence[Channel], given: str | None
    ) -> tuple[Positions, Sequence[Channel]]:
        """Where a stream begins, and the channels of which it can't know what it missed."""
        known = parse_position(given, channels) if given is not None else {}
        if known is None:
            return dict.fromkeys(channels), channels
        try:
            return self._completed(channels, known), ()
        except FAILURES as error:
            # an answer other than 200 would make the browser give up for good
            log.warning("a stream begins without knowing where: %s", error)
            unknown = [channel for channel in channels if channel not in known]
            return {channel: known.get(channel) for channel in channels}, unknown

    def _completed(self, channels: Sequence[Channel], known: dict[Channel, StreamId]) -> Positions:
        heads = self._heads([channel for channel in channels if channel not in known])
        return {channel: known.get(channel, heads.get(channel)) for channel in channels}

    def _heads(self, channels: Sequence[Channel]) -> Positions:
        if not channels:
            return {}
        outcomes = self.context().send_many(self.engine().heads(channels))
        return {
            channel: outcome.result().last
            for channel, outcome in zip(channels, outcomes, strict=True)
        }
