"""Reading events in Python: in another process, a script, a test."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from flask_redis_kit.events.body import Event
from flask_redis_kit.events.channels import Channel
from flask_redis_kit.events.message import Delivery
from flask_redis_kit.events.positions import StreamId, format_position
from flask_redis_kit.events.subscription import Subscription

_FOREVER = 3600.0


class EventReader(Iterator[Event]):
    """The events of some channels, each channel's in order, without gap or repeat.

    A context manager and an iterator that ends when it is closed. For one thread; ``close()`` may
    come from any.
    """

    def __init__(
        self, subscription: Subscription, positions: Mapping[Channel, StreamId | None]
    ) -> None:
        self._subscription = subscription
        self._given = dict(positions)
        self._ready: deque[Delivery] = deque()
        subscription.join()

    @property
    def position(self) -> str:
        """Where it is: give it as ``after=`` to go on there."""
        return format_position(self._given)

    @property
    def overflows(self) -> int:
        """How often this reader was too slow for live events and read the history instead."""
        return self._subscription.overflows

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None after ``timeout`` seconds without one, or when it is closed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            while self._ready:
                delivery = self._ready.popleft()
                self._given[delivery.channel] = delivery.at
                event = delivery.event()
                if event is not None:
                    return event
            left = _FOREVER if deadline is None else deadline - time.monotonic()
            self._ready.extend(self._subscription.wait(max(0.0, left)))
            if not self._ready and (self._subscription.closed or left <= 0):
                return None

    def __next__(self) -> Event:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Stop; a ``get()`` that waits returns None."""
        self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
