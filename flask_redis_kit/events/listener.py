"""The listener: one thread and one connection that hears all channels of a process.

It speaks RESP2 on the connection itself, because redis-py's ``PubSub`` reconnects and subscribes
again silently, so that nobody learns that messages were lost in between. A connection on which
nothing was heard for a while must answer a PING, or it is given up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any, Protocol

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.events.message import log

IDLE = 5.0
"""Seconds of silence before a PING, and again before the connection is given up."""
LONGEST_PAUSE = 5.0
_CHUNK = 65536
_BATCH = 500


class Receiver(Protocol):
    """Who is told what the listener hears, and knows what it should hear. Never waits."""

    def wanted(self) -> set[str]:
        """The topics to hear."""

    def is_wanted(self, topic: str) -> bool:
        """Whether this one is to be heard."""

    def heard(self, topic: str, payload: bytes) -> None:
        """A message came."""

    def subscribed(self, topic: str) -> None:
        """The server has acknowledged a subscription."""


class Listener:
    """Runs until ``stop()``; whatever breaks the connection, it comes back by itself."""

    def __init__(self, connector: Connector, receiver: Receiver) -> None:
        self._receiver = receiver
        self._pool = connector.make_pool(
            socket_timeout=IDLE,
            max_connections=1,
            decode_responses=False,
            protocol=2,
            health_check_interval=0,
        )
        self._address = connector.address
        self._thread = threading.Thread(target=self._run, name="redis-kit-events", daemon=True)
        self._wake_end, self._wake = os.pipe()
        os.set_blocking(self._wake_end, False)
        os.set_blocking(self._wake, False)
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._stopping = False
        self._failures = 0  # since a subscription was last acknowledged
        self._connection: Any = None
        self._asked: set[str] = set()  # SUBSCRIBE was sent on this connection
        self._live: set[str] = set()  # ... and acknowledged

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and is to go on."""
        return self._thread.is_alive() and not self._stopping

    def live(self, topics: Iterable[str]) -> list[str]:
        """Those of the topics that are heard now."""
        return [topic for topic in topics if topic in self._live]

    def changed(self, topics: Iterable[str]) -> None:
        """Look at these topics again: whether they are wanted may have changed."""
        with self._lock:
            self._changed.update(topics)
            self._signal()

    def stop(self) -> None:
        """End the thread and its connection, and wait for that."""
        with self._lock:
            self._stopping = True
            self._signal()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2 * IDLE)

    def abandon(self) -> None:
        """In a forked child: close our copies of what the parent's thread uses, unheard there."""
        self._stopping = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()  # closes only: the connection knows that it is the parent's
        self._close_pipe()

    def _signal(self) -> None:
        if self._wake >= 0:
            with contextlib.suppress(BlockingIOError):  # it is full, so the thread will wake
                os.write(self._wake, b"!")

    def _close_pipe(self) -> None:
        for end in (self._wake, self._wake_end):
            if end >= 0:
                os.close(end)
        self._wake = self._wake_end = -1

    # the thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._listen()
            except FAILURES as error:
                self._failures += 1
                level = logging.WARNING if self._failures == 3 else logging.INFO
                log.log(level, "lost the connection to %s: %s", self._address, error)
            except Exception:  # noqa: BLE001  # one bad message must not make all streams deaf
                self._failures += 1
                log.exception("the events' listener failed; it starts again")
            self._hang_up()
            if not self._stopping:
                longest = min(LONGEST_PAUSE, 0.05 * 2 ** min(self._failures, 10))
                self._pause(random.uniform(0, longest))  # noqa: S311  # jitter
        with self._lock:
            self._close_pipe()

    def _listen(self) -> None:
        """Connect, subscribe, and hear until the connection breaks or ``stop()``."""
        self._connection = self._pool.get_connection()
        sock: Any = self._connection._sock
        reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        poller = select.poll()
        poller.register(self._wake_end, select.POLLIN)
        poller.register(sock, select.POLLIN)
        self._subscribe(self._receiver.wanted())
        heard, asked = time.monotonic(), False
        while not self._stopping:
            pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
            ready = {fd for fd, _ in poller.poll(0 if pending else IDLE * 1000)}
            if self._wake_end in ready:
                self._follow_changes()
            if pending or sock.fileno() in ready:
                self._hear(sock, reader)
                heard, asked = time.monotonic(), False
            elif time.monotonic() - heard >= IDLE:
                if asked and time.monotonic() - heard >= 2 * IDLE:
                    raise RedisConnectionError("nothing was heard, and no answer to PING")
                if not asked:
                    self._send([("PING",)])
                    asked = True

    def _hear(self, sock: Any, reader: hiredis.Reader) -> None:
        sock.setblocking(False)
        try:
            data = sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        finally:
            sock.settimeout(IDLE)
        if not data:
            raise RedisConnectionError("the server closed the connection")
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            self._dispatch(reply)

    def _dispatch(self, reply: Any) -> None:
        if isinstance(reply, ResponseError):
            raise reply
        if not isinstance(reply, list) or len(reply) != 3:
            return  # the answer to PING
        kind, topic = reply[0], (reply[1] or b"").decode(errors="replace")
        if kind == b"message":
            self._receiver.heard(topic, reply[2])
        elif kind == b"subscribe" and topic in self._asked:
            self._failures = 0
            self._live.add(topic)
            self._receiver.subscribed(topic)

    def _follow_changes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_end, _CHUNK)
        with self._lock:
            topics, self._changed = self._changed, set()
        wanted = {topic for topic in topics if self._receiver.is_wanted(topic)}
        self._unsubscribe((topics - wanted) & self._asked)
        self._subscribe(wanted - self._asked)

    def _subscribe(self, topics: set[str]) -> None:
        self._asked |= topics
        self._send(_batches("SUBSCRIBE", topics))

    def _unsubscribe(self, topics: set[str]) -> None:
        self._asked -= topics
        self._live -= topics
        self._send(_batches("UNSUBSCRIBE", topics))

    def _send(self, commands: list[tuple[str, ...]]) -> None:
        if commands:
            connection = self._connection
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._live.clear()
        self._asked.clear()
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)

    def _pause(self, seconds: float) -> None:
        """Wait, but not if it should stop."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            if select.select([self._wake_end], [], [], left)[0]:
                os.read(self._wake_end, _CHUNK)


def _batches(command: str, topics: set[str]) -> list[tuple[str, ...]]:
    names = sorted(topics)
    return [(command, *names[n : n + _BATCH]) for n in range(0, len(names), _BATCH)]
