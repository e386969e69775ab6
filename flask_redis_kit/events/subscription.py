"""One reader's view of its channels: history and live messages, spliced without gap or repeat.

The reader registers first and reads the history after the server has acknowledged the subscription,
from the last event it has. Live messages it has already are dropped; one that does not join on to
what it has (each names the id before it) makes it read the history again; if even that does not
join on, events are lost to it, and it gets a reset.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.events.channels import Channel
from flask_redis_kit.events.history import Page, read_exchange
from flask_redis_kit.events.hub import Hub
from flask_redis_kit.events.inbox import Inbox
from flask_redis_kit.events.message import Delivery, Message, log
from flask_redis_kit.events.positions import StreamId

RETRY = 1.0
"""Seconds, about, until a failed read of the history is tried again."""


class Subscription:
    """Gives what comes after ``positions``, channel by channel in order. For one thread.

    ``positions``  where to begin; None: at the newest event when first read.
    ``lost``       channels whose first reading gives a reset, as it is unknown what was missed.
    """

    def __init__(
        self,
        hub: Hub,
        wire: Wire,
        positions: Mapping[Channel, StreamId | None],
        *,
        lost: Iterable[Channel] = (),
        replay_limit: int,
    ) -> None:
        self._hub = hub
        self._wire = wire
        self._at = dict(positions)
        self._lost = set(lost)
        self._replay_limit = replay_limit
        self._channels = {channel.topic: channel for channel in self._at}
        self._replayed = dict.fromkeys(self._at, 0)
        self._due: set[Channel] = set()
        self._due_at = 0.0
        self._failed: set[Channel] = set()
        self._inbox = Inbox(self._channels)
        self._joined = False

    @property
    def closed(self) -> bool:
        """True once ``close()`` was called here or the hub was closed."""
        return self._inbox.closed

    @property
    def overflows(self) -> int:
        """How often it was too slow for live messages and had to read the history instead."""
        return self._inbox.overflows

    def join(self) -> None:
        """Listen to the hub. Returns at once; what happens from now on is not missed."""
        if not self._joined:
            self._joined = True
            self._hub.join(self._inbox)

    def close(self) -> None:
        """Stop listening; wakes the reader. From any thread, any number of times."""
        self._hub.leave(self._inbox)

    def wait(self, timeout: float) -> list[Delivery]:
        """What came, waiting up to ``timeout`` seconds for something; empty: nothing did."""
        self.join()
        deadline = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            until = min(deadline, self._due_at) if self._due else deadline
            stale, messages = self._inbox.take(until - now)
            found = self._accepted(messages, {self._channels[topic] for topic in stale})
            found += self._read_due()
            if found or self.closed or time.monotonic() >= deadline:
                return found

    def missed(self) -> list[Delivery]:
        """What came since the positions, without listening: at most the replay limit each."""
        self._due |= set(self._at)
        found: list[Delivery] = []
        while self._due and self._due_at <= time.monotonic():
            found += self._read_due()
        return found

    def _accepted(self, messages: Iterable[Message], stale: set[Channel]) -> list[Delivery]:
        """The live messages that join on; the channels of the others are due to be read."""
        if stale:
            self._due |= stale
            self._due_at = min(self._due_at, time.monotonic())
        found = []
        for message in messages:
            channel = self._channels[message.topic]
            at = self._at[channel]
            if channel in self._due or (at is not None and message.id <= at):
                continue  # the coming read gives it; or it was given already
            if message.prev != at:
                self._due.add(channel)
                self._due_at = 0.0
                continue
            self._at[channel] = message.id
            found.append(Delivery(channel, message.id, message))
        return found

    def _read_due(self) -> list[Delivery]:
        """Read the channels that are due, in one round trip."""
        if not self._due or self._due_at > time.monotonic():
            return []
        channels, self._due = list(self._due), set()
        exchanges = [read_exchange(channel, self._at[channel]) for channel in channels]
        found: list[Delivery] = []
        for channel, outcome in zip(channels, self._wire.send_many(exchanges), strict=True):
            if outcome.error is None:
                self._failed.discard(channel)
                found += self._spliced(channel, outcome.result())
            elif isinstance(outcome.error, FAILURES):
                self._due.add(channel)
                if channel not in self._failed:
                    self._failed.add(channel)
                    log.warning("can't read the events of %s yet: %s", channel.name, outcome.error)
                # all readers of this process fail at once; they must not come back at once
                self._due_at = time.monotonic() + random.uniform(0.5, 1.5) * RETRY  # noqa: S311
            else:
                raise outcome.error
        return found

    def _spliced(self, channel: Channel, page: Page) -> list[Delivery]:
        at = self._at[channel]
        if at is None or channel in self._lost:
            self._at[channel] = page.last
            if channel not in self._lost:
                return []
            self._lost.discard(channel)
            return [Delivery(channel, page.last, None)]
        self._replayed[channel] += len(page.messages)
        if not page.joins(at) or self._replayed[channel] > self._replay_limit:
            self._replayed[channel] = 0
            self._at[channel] = page.last
            return [Delivery(channel, page.last, None)]
        if page.messages:
            self._at[channel] = page.messages[-1].id
        if page.full:
            self._due.add(channel)
        else:
            self._replayed[channel] = 0
        return [Delivery(channel, message.id, message) for message in page.messages]
