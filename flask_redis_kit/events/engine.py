"""The events of one application: what publishes, what reads, and the hub between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.events.channels import Channel, Channels
from flask_redis_kit.events.config import EventsConfig
from flask_redis_kit.events.history import Page, read_exchange
from flask_redis_kit.events.hub import Hub
from flask_redis_kit.events.positions import StreamId
from flask_redis_kit.events.publisher import Publication, publish_exchange
from flask_redis_kit.events.subscription import Subscription


class EventsEngine:
    """Knows no Flask; opens no connection and starts no thread before the first reader."""

    def __init__(self, wire: Wire, keys: KeyBuilder, config: EventsConfig) -> None:
        self.wire = wire
        self.config = config
        self.channels = Channels(keys, config)
        self.hub = Hub(
            wire.connector, queue_length=config.queue_length, queue_bytes=config.queue_bytes
        )

    def publication(
        self,
        channel: Channel,
        type: str,  # noqa: A002  # the field's name
        data: object,
    ) -> Exchange[Publication]:
        """The publication of one event, not sent yet."""
        return publish_exchange(channel, type, data, self.config.payload_limit)

    def heads(self, channels: Sequence[Channel]) -> list[Exchange[Page]]:
        """Look-ups of the channels' last ids, not sent yet."""
        return [read_exchange(channel, None) for channel in channels]

    def subscription(
        self, positions: Mapping[Channel, StreamId | None], *, lost: Iterable[Channel] = ()
    ) -> Subscription:
        """A reader that goes on at these positions; it listens to nothing yet."""
        return Subscription(
            self.hub, self.wire, positions, lost=lost, replay_limit=self.config.replay_limit
        )

    def close(self) -> None:
        """End every stream and reader of this process, the hub's thread and its connection."""
        self.hub.close()
