"""A worker's own connections: nothing that may have run is sent again, see ``Consumer.broken``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.diagnosis import read_error
from flask_redis_kit.core.exchange import Command, Exchange, Reply
from flask_redis_kit.core.routing import wire_to
from flask_redis_kit.core.script import ScriptCall
from flask_redis_kit.core.wire import with_source


class Quick(Protocol):
    """Where a worker's questions are answered at once."""

    def ask(self, exchanges: Sequence[Exchange[Any]]) -> list[Any]:
        """Send in one trip and return the values; raises the first error."""

    def drop(self) -> None:
        """Forget what is still to come."""

    def close(self) -> None:
        """The end."""


class Lines:
    """The lines of one worker: ``quick`` for its questions, and one for each place to wait at.

    On Cluster a worker has its own slot table, and connections to each node that has its queues.
    """

    def __init__(self, connector: Connector, timeout: float) -> None:
        self.spread = connector.nodes is not None
        """Whether queues may lie on different servers."""
        self.quick: Quick
        self._connector = connector
        if self.spread:
            settings = replace(connector.settings, socket_timeout=timeout, max_connections=2)
            self._connector = Connector(settings)
            self.quick = _Routed(self._connector)
        else:
            self.quick = Line(connector, timeout)

    def waiting(self, timeout: float, key: str) -> Line:
        """A line to wait at the server that has ``key``."""
        return Line(self._connector, timeout, key)


class _Routed:
    """Asks each queue's own node, all in one trip, and follows redirections."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._wire = wire_to(connector)

    def ask(self, exchanges: Sequence[Exchange[Any]]) -> list[Any]:
        return [outcome.result() for outcome in self._wire.send_many(exchanges)]

    def drop(self) -> None:
        """Nothing: the wire keeps no connection with something to come."""

    def close(self) -> None:
        self._connector.close()


class Line:
    """One connection of its own, used by one thread. ``timeout`` (s) is for each reply."""

    def __init__(self, connector: Connector, timeout: float, key: str = "") -> None:
        self._address = connector.address
        self._names = connector.settings.names
        self._client = connector.dedicated(socket_timeout=timeout, key=key)
        self._connection: Any = None

    def ask(self, exchanges: Sequence[Exchange[Any]]) -> list[Any]:
        """Send in one trip and return the values; raises the first error. Nothing is re-sent,
        except calls of scripts that the server doesn't know: those come again with their source.
        """
        if not exchanges:
            return []
        commands = [command for exchange in exchanges for command in exchange.commands]
        self.send(commands)
        replies = self.read(len(commands))
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            self.send([with_source(commands[n]) for n in unknown])
            for n, reply in zip(unknown, self.read(len(unknown)), strict=True):
                replies[n] = reply
        values = []
        for exchange in exchanges:
            count = len(exchange.commands)
            values.append(exchange.outcome(replies[:count]).result())
            replies = replies[count:]
        return values

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; ``read`` their replies later."""
        packed = [c.by_sha() if isinstance(c, ScriptCall) else c for c in commands]
        try:
            connection = self._connected()
            connection.send_packed_command(connection.pack_commands(packed), check_health=False)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self.drop()
            raise read_error(error, self._address, self._names) from error

    def read(self, count: int) -> list[Reply]:
        """The next replies; errors of a command stand in the list."""
        replies: list[Reply] = []
        try:
            for _ in range(count):
                try:
                    replies.append(self._connection.read_response(disable_decoding=True))
                except ResponseError as reply:
                    replies.append(reply)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self.drop()
            raise read_error(error, self._address, self._names) from error
        return replies

    def fileno(self) -> int:
        """The socket, to be polled."""
        number: int = self._connection._sock.fileno()
        return number

    def drop(self) -> None:
        """Close the connection, with whatever is still to come on it; the next call opens one."""
        if self._connection is not None:
            self._connection.disconnect()

    def close(self) -> None:
        """The end."""
        self.drop()
        self._connection = None
        self._client.connection_pool.disconnect()

    def _connected(self) -> Any:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._client.connection_pool.get_connection()
        elif connection._sock is None:
            connection.connect()
        elif connection.is_stale():
            connection.disconnect()
            connection.connect()
        return connection
