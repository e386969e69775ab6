"""The hub: who in this process listens to what, and the one thread that hears it all.

The table of readers is the truth about what to subscribe to; the listener's connection is brought
in line with it. Every acknowledged subscription, the first or one after a broken connection, makes
the channel's readers read the history again: it is the only sign that nothing will be missed from
now on.
"""

from __future__ import annotations

import os
import threading

from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.events.inbox import Inbox
from flask_redis_kit.events.listener import Listener
from flask_redis_kit.events.message import Message, log


class Hub:
    """All readers of one application in one process. Starts nothing before the first reader."""

    def __init__(self, connector: Connector, *, queue_length: int, queue_bytes: int) -> None:
        self._connector = connector
        self._queue_length = queue_length
        self._queue_bytes = queue_bytes
        self._lock = threading.Lock()
        self._inboxes: set[Inbox] = set()
        self._readers: dict[str, set[Inbox]] = {}
        self._listener: Listener | None = None
        self._pid = os.getpid()
        renew_in_child(self)

    @property
    def readers(self) -> int:
        """How many readers there are now."""
        with self._lock:
            return len(self._inboxes)

    def join(self, inbox: Inbox) -> None:
        """Begin to fill an inbox. Its channels turn stale when they are live."""
        if self._pid != os.getpid():
            self.after_fork()  # a fork that Python's hooks did not see
        with self._lock:
            if inbox.closed:
                return
            self._inboxes.add(inbox)
            if not inbox.topics:
                return
            for topic in inbox.topics:
                self._readers.setdefault(topic, set()).add(inbox)
            listener = self._listener
            if listener is None or not listener.alive:
                listener = self._listener = Listener(self._connector, self)
                listener.start()
            live = listener.live(inbox.topics)
            listener.changed(inbox.topics)
        if live:
            inbox.mark_stale(live)

    def leave(self, inbox: Inbox) -> None:
        """Stop filling an inbox, and close it."""
        inbox.close()
        with self._lock:
            if inbox not in self._inboxes:
                return
            self._inboxes.discard(inbox)
            for topic in inbox.topics:
                readers = self._readers.get(topic)
                if readers is not None:
                    readers.discard(inbox)
                    if not readers:
                        del self._readers[topic]
            if self._listener is not None:
                self._listener.changed(inbox.topics)

    def close(self) -> None:
        """Close every inbox and end the thread and its connection. A later reader starts anew."""
        with self._lock:
            inboxes, self._inboxes = self._inboxes, set()
            self._readers.clear()
            listener, self._listener = self._listener, None
        for inbox in inboxes:
            inbox.close()
        if listener is not None:
            listener.stop()

    def after_fork(self) -> None:
        """In a forked child: the parent's readers, thread and connection are not ours."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        inboxes, self._inboxes = self._inboxes, set()
        self._readers = {}
        listener, self._listener = self._listener, None
        for inbox in inboxes:
            inbox.abandon()
        if listener is not None:
            listener.abandon()

    # called by the listener, in its thread

    def wanted(self) -> set[str]:
        """The topics somebody listens to."""
        with self._lock:
            return set(self._readers)

    def is_wanted(self, topic: str) -> bool:
        """Whether somebody listens to a topic."""
        return topic in self._readers

    def heard(self, topic: str, payload: bytes) -> None:
        """Pass a live message on."""
        message = Message.live(topic, payload)
        if message is None:
            log.warning("ignored a foreign message on %s", topic)
            return
        for inbox in self._readers_of(topic):
            inbox.offer(message, self._queue_length, self._queue_bytes)

    def subscribed(self, topic: str) -> None:
        """From now on nothing of a topic is missed; what was, is in the history."""
        for inbox in self._readers_of(topic):
            inbox.mark_stale((topic,))

    def _readers_of(self, topic: str) -> list[Inbox]:
        with self._lock:
            return list(self._readers.get(topic, ()))
