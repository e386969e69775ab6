"""Hears of a failover at once: one thread per Sentinel listens, one asks every second.

A Sentinel that leads a failover publishes, in this order: ``+failover-state-send-slaveof-noone``
with the replica it chose, about a tenth of a second before it promotes it;
``+failover-state-wait-promotion`` when it has told it so (a coordinated failover: when it has told
the master to hand over); up to a second later, when it has seen the promotion, ``+promoted-slave``;
``+switch-master`` at the end, and the other Sentinels when they hear of it.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from redis.exceptions import RedisError

from flask_redis_kit.core.errors import ServerError
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.sentinel import SentinelDirectory, text_of
from flask_redis_kit.core.url import named

log = logging.getLogger(__name__)

_CHOSEN = ("+failover-state-send-slaveof-noone", "+failover-state-wait-promotion")
_DONE = ("+promoted-slave", "+switch-master")
_GIVEN_UP = ("-failover-abort-master-timeout", "-failover-abort-slave-timeout")
EVENTS = (*_CHOSEN, *_DONE, *_GIVEN_UP)

POLL_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
THREAD_NAME = "redis-kit-sentinel"


class SwitchWatcher:
    """The threads that keep a directory up to date: daemons, per process, started on demand."""

    def __init__(self, directory: SentinelDirectory) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pid: int | None = None
        renew_in_child(self)

    def start(self) -> None:
        """Start the threads unless they run in this process."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._stop = stop = threading.Event()
            targets = [(self._poll, (stop,))]
            targets += [(self._listen, (stop, n)) for n in range(len(self._directory.hosts))]  # type: ignore[misc]
            try:
                for target, arguments in targets:
                    threading.Thread(
                        target=target, args=arguments, name=THREAD_NAME, daemon=True
                    ).start()
            except RuntimeError as error:  # the interpreter is going down
                log.debug("Sentinel can't be watched: %s", error)

    def close(self) -> None:
        """End the threads; the next connection starts them anew."""
        with self._lock:
            self._pid = None
            self._stop.set()

    def after_fork(self) -> None:
        """In a forked child no thread runs until the child connects."""
        self._lock = threading.Lock()
        self._pid = None

    def _poll(self, stop: threading.Event) -> None:
        """A Sentinel that can't be heard can still be asked."""
        while not stop.wait(POLL_SECONDS):
            try:
                self._directory.refresh()
            except ServerError as error:
                log.debug("%s", error)

    def _listen(self, stop: threading.Event, member: int) -> None:
        while not stop.is_set():
            try:
                self._listen_once(stop, member)
            except (RedisError, OSError) as error:
                log.debug("Sentinel %s can't be heard: %s", self._directory.hosts[member], error)
            stop.wait(RECONNECT_SECONDS)

    def _listen_once(self, stop: threading.Event, member: int) -> None:
        connection: Any = self._directory.pools[member].make_connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", *EVENTS, check_health=False)
            while not stop.is_set():
                if connection.can_read(timeout=POLL_SECONDS):
                    self._heard(member, connection.read_response(disable_decoding=True))
        finally:
            connection.disconnect()

    def _heard(self, member: int, message: Any) -> None:
        if not isinstance(message, list) or message[0] != b"message":
            return
        event, words = text_of(message[1]), text_of(message[2]).split()
        if _service(event, words) != self._directory.service:
            return
        log.info("Sentinel %s: %s", named(self._directory.hosts[member]), " ".join([event, *words]))
        if event in _CHOSEN:
            self._directory.expect((words[2], int(words[3])))
        elif event in _GIVEN_UP:
            self._directory.expect_nothing()
        else:
            self._directory.ask(member)


def _service(event: str, words: list[str]) -> str:
    """``master <name> …``, ``slave … @ <name> …``, and ``+switch-master``'s ``<name> …``."""
    if event == "+switch-master":
        return words[0]
    return words[words.index("@") + 1] if "@" in words else words[1]
