"""The body of a stream of Server-Sent Events, as a WSGI server iterates over it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping

from flask_redis_kit.events.channels import Channel
from flask_redis_kit.events.config import EventsConfig
from flask_redis_kit.events.frames import HEARTBEAT, id_line, preamble
from flask_redis_kit.events.message import Delivery
from flask_redis_kit.events.positions import StreamId, format_position
from flask_redis_kit.events.subscription import Subscription


class EventSource:
    """Turns deliveries into bytes, each with the position of the whole stream after it."""

    def __init__(self, positions: Mapping[Channel, StreamId | None], retry: float) -> None:
        self._sent = dict(positions)
        # many clients lose their streams together and should not come back together
        self._retry = retry * random.uniform(0.7, 1.3)  # noqa: S311  # jitter

    def start(self) -> bytes:
        """What a stream begins with."""
        return preamble(self._position(), self._retry)

    def frames(self, deliveries: Iterable[Delivery]) -> bytes:
        """The events in order, damaged ones left out."""
        parts: list[bytes] = []
        for delivery in deliveries:
            self._sent[delivery.channel] = delivery.at
            lines = delivery.lines()
            if lines is not None:
                parts += (id_line(self._position()), lines)
        return b"".join(parts)

    def _position(self) -> str | None:
        """None while one channel's is unknown: the browser then keeps the one it came with."""
        known = all(at is not None for at in self._sent.values())
        return format_position(self._sent) if known else None


class LiveStream(Iterator[bytes]):
    """A stream that stays open: what was missed, then live events, and comments in a silence.

    Not a generator: the ``finally`` of one that was never started would not run. Nothing is
    registered before the first ``next()``; ``close()`` takes it back from any thread.
    """

    def __init__(
        self,
        subscription: Subscription,
        positions: Mapping[Channel, StreamId | None],
        config: EventsConfig,
    ) -> None:
        self._subscription = subscription
        self._source = EventSource(positions, config.retry)
        self._heartbeat = config.heartbeat
        self._age = config.stream_max_age * random.uniform(0.8, 1.2)  # noqa: S311  # jitter
        self._end: float | None = None

    def __next__(self) -> bytes:
        if self._end is None:
            self._end = time.monotonic() + self._age
            self._subscription.join()
            return self._source.start()
        if self._subscription.closed:
            raise StopIteration
        left = self._end - time.monotonic()
        if left <= 0:
            self.close()
            raise StopIteration
        found = self._subscription.wait(min(self._heartbeat, left))
        return self._source.frames(found) or HEARTBEAT

    def close(self) -> None:
        """End the stream; a reader that waits for it is woken."""
        self._subscription.close()


def missed_events(
    subscription: Subscription,
    positions: Mapping[Channel, StreamId | None],
    config: EventsConfig,
) -> bytes:
    """A stream that is over at once: what was missed, and when to come back."""
    source = EventSource(positions, config.retry)
    return source.start() + source.frames(subscription.missed())
