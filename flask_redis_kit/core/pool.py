"""A blocking connection pool with a cheap check that a pooled connection is clean and alive.

redis-py's ``BlockingConnectionPool`` does the same with several locks, callbacks and a metrics
record per lease; here one of an idle connection costs a deque and one ``poll``. It stays a redis-py
pool, so the user's ``redis.Redis`` runs on it. A connection with unread data on it, or one that the
server has closed, is never handed out: it is connected anew.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from redis import ConnectionPool
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flask_redis_kit.core.errors import PoolExhausted
from flask_redis_kit.core.names import SettingNames


class Pool(ConnectionPool):
    """At most ``max_connections`` connections; a caller waits up to ``wait`` seconds for one.

    ``names``: what its settings are called, in errors of its own and of its connections.
    """

    def __init__(
        self,
        *,
        wait: float = 0.2,
        max_connections: int = 50,
        names: SettingNames = SettingNames(),  # noqa: B008  # it is frozen
        **kwargs: Any,
    ) -> None:
        self._wait = wait
        self._names = names
        self._generation = 0
        self._idle: deque[AbstractConnection] = deque()
        self._all: list[AbstractConnection] = []
        super().__init__(max_connections=max_connections, **kwargs)

    def __repr__(self) -> str:
        place = {n: v for n, v in self.connection_kwargs.items() if n in ("host", "port", "path")}
        return f"<Pool of up to {self.max_connections} {self.connection_class.__name__} {place}>"

    def reset(self) -> None:
        """Forget every connection (redis-py calls it in a forked child, too)."""
        self._lock = threading.RLock()
        self._idle = deque()
        self._all = []
        self._making = 0
        self._waiting = 0
        self._came_back = threading.Condition(self._lock)
        self._available_connections = []
        self._in_use_connections = set()
        self._created_connections = 0
        self.pid = os.getpid()

    def get_connection(  # type: ignore[override]  # redis-py names the TCP class alone
        self,
        command_name: object = None,  # noqa: ARG002  # redis-py's signature
        *keys: object,  # noqa: ARG002
        **options: object,  # noqa: ARG002
    ) -> AbstractConnection:
        """A connection that is connected and has nothing unread on it.

        Raises ``PoolExhausted`` after the wait, ``ServerUnavailable`` when it can't connect.
        """
        if self.pid != os.getpid():
            self._checkpid()
        connection: AbstractConnection | None = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._another()
            self._make_ready(connection)
        except BaseException:
            if connection is not None:
                self.release(connection)
            raise
        return connection

    def _another(self) -> AbstractConnection:
        """A new connection if there may be one more, else the first that comes back."""
        deadline = time.monotonic() + self._wait
        with self._came_back:
            while len(self._all) + self._making >= self.max_connections:
                self._waiting += 1
                try:
                    # looked for after telling that somebody waits: see release()
                    with contextlib.suppress(IndexError):
                        return self._idle.pop()
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise self._exhausted()
                    self._came_back.wait(left)
                finally:
                    self._waiting -= 1
            self._making += 1
        made: list[AbstractConnection] = []
        try:
            made.append(self.make_connection())
        finally:
            with self._came_back:
                self._making -= 1
                self._all += made
                if not made:
                    self._came_back.notify()
        return made[0]

    def make_connection(self, **overrides: Any) -> Any:
        """A connection like those of the pool, but none of them; ``overrides`` beat the settings.

        It is not connected yet.
        """
        connection: Any = self.connection_class(**{**self.connection_kwargs, **overrides})
        connection.names = self._names
        return connection

    def _exhausted(self) -> PoolExhausted:
        return PoolExhausted(
            f"All {self.max_connections} connections are in use, and none came back within "
            f"{self._wait} s. Raise {self._names.of('MAX_CONNECTIONS')}, or look for a connection "
            "that is kept (a pipeline or pub/sub that isn't closed)."
        )

    def _make_ready(self, connection: Any) -> None:
        if connection._sock is not None and (
            connection.generation != self._generation or connection.is_stale()
        ):
            connection.disconnect()
        while connection._sock is None:
            connection.generation = self._generation
            connection.connect()
            if connection.generation != self._generation:
                connection.disconnect()  # dropped meanwhile: it may have gone to the old server
        if connection.health_check_interval:
            try:
                connection.check_health()
            except ResponseError:
                pass  # it answers, if only that this user may not PING
            except (RedisConnectionError, RedisTimeoutError, OSError):
                # broken, or forgotten on the way there; a server that hangs is found by connecting
                connection.disconnect()
                connection.connect()

    def release(self, connection: Any) -> None:
        """Give a connection back."""
        if connection.pid != os.getpid():
            # it belongs to the parent of this process: closing our copy harms nothing there
            connection.disconnect()
            return
        if connection.should_reconnect():
            connection.disconnect()
        self._idle.append(connection)
        if self._waiting:
            with self._came_back:
                self._came_back.notify()

    def drop(self, keep: Callable[[Any], bool] = lambda _: False, *, at_once: bool = True) -> None:
        """Break every connection but those to keep: the server behind the address changed.

        One in use fails at once, or else ends what it is doing; no other is used again before it
        is connected anew.
        """
        with self._lock:
            self._generation += 1
            connections: list[Any] = list(self._all)
            kept = [connection for connection in connections if keep(connection)]
            for connection in kept:
                connection.generation = self._generation
        for connection in connections if at_once else ():
            sock = connection._sock
            if sock is not None and connection not in kept:
                # its own thread closes it: a socket closed here could be another's by then; and
                # TLS is left as it is, or that thread might send its next bytes in the clear
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections; each connects again when it is used again."""
        self._checkpid()
        with self._lock:
            connections: list[Any] = list(self._all if inuse_connections else self._idle)
        for connection in connections:
            connection.disconnect()

    def close(self) -> None:
        """The same as ``disconnect()``."""
        self.disconnect()

    @property
    def in_use(self) -> int:
        """How many connections are handed out now."""
        return max(0, len(self._all) - len(self._idle))

    def get_connection_count(self) -> list[tuple[int, dict[str, str]]]:
        """Idle and used connections, as redis-py's metrics ask for them."""
        return [(len(self._idle), {"state": "idle"}), (self.in_use, {"state": "used"})]

    def _get_free_connections(self) -> set[Any]:
        return set(self._idle)

    def _get_in_use_connections(self) -> set[Any]:
        return set(self._all) - set(self._idle)
