"""What waits for one reader: live messages up to a bound, and channels it must read again."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from flask_redis_kit.events.message import Message


class Taken(NamedTuple):
    """What ``take`` found: topics to read again, and live messages."""

    stale: set[str]
    messages: list[Message]


class Inbox:
    """Filled by the hub, which never waits for it; emptied by one reader.

    When it overflows, its messages are dropped and their channels marked stale: the reader takes
    them from the history. While a channel is stale its messages need not be kept, as each of them
    was in the history before it was heard.
    """

    __slots__ = ("_bytes", "_changed", "_messages", "_stale", "closed", "overflows", "topics")

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = tuple(topics)
        self.closed = False
        self.overflows = 0
        self._changed = threading.Condition(threading.Lock())
        self._messages: list[Message] = []
        self._bytes = 0
        self._stale: set[str] = set()

    def offer(self, message: Message, max_length: int, max_bytes: int) -> None:
        """Add a live message, or mark its channel stale when there is no room."""
        size = len(message.body or b"")
        with self._changed:
            if self.closed or message.topic in self._stale:
                return
            if len(self._messages) >= max_length or self._bytes + size > max_bytes:
                self._stale.update(waiting.topic for waiting in self._messages)
                self._stale.add(message.topic)
                self._messages.clear()
                self._bytes = 0
                self.overflows += 1
            else:
                self._messages.append(message)
                self._bytes += size
            self._changed.notify()

    def mark_stale(self, topics: Iterable[str]) -> None:
        """Have these channels read again from the history."""
        with self._changed:
            self._stale.update(topics)
            self._changed.notify()

    def take(self, timeout: float) -> Taken:
        """Empty it, after waiting up to ``timeout`` seconds for something to be there."""
        with self._changed:
            self._changed.wait_for(self._ready, timeout if timeout > 0 else 0)
            taken = Taken(self._stale, self._messages)
            self._stale, self._messages, self._bytes = set(), [], 0
            return taken

    def close(self) -> None:
        """Wake the reader: nothing more will come."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """In a forked child: closed, and its lock may be held by a thread that isn't here."""
        self.closed = True
        self._changed = threading.Condition(threading.Lock())

    def _ready(self) -> bool:
        return bool(self.closed or self._messages or self._stale)
