"""Sends Exchanges over a connector: one alone, or several in one round trip.

What is sent again, and when: a command that never left is sent on a new connection; one whose
connection broke before its reply is sent once more only if its Exchange is idempotent (twice where
Sentinel is followed: a failover cuts connections to the old master, and to the new one when its
promotion is seen); one whose reply is late is never sent again. What the server refused to run is
sent again whatever it does: a call of a script that it doesn't know, and a write where Sentinel's
master is one no more.
redis-py's own retries are off.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from flask_redis_kit.core import conversation, signals
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.diagnosis import read_error
from flask_redis_kit.core.errors import (
    CircuitOpen,
    PoolExhausted,
    ReplyTimeout,
    ServerError,
    ServerUnavailable,
)
from flask_redis_kit.core.exchange import Command, Exchange, Operation, Outcome, Reply
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.script import ScriptCall

T = TypeVar("T")
_MOVED = (ReadOnlyError, MasterDownError)
_REPEATS = 2
"""A demoted server may say first that it doesn't know the script, then that it may not write."""
_BROKEN = (RedisConnectionError, RedisTimeoutError, OSError)


class Tally(Protocol):
    """Whoever wants to know how many round trips were made."""

    trips: int


class Route(NamedTuple):
    """A way to one server."""

    pool: Pool
    breaker: CircuitBreaker
    address: str


class Wire:
    """The one way by which features reach a server. Thread-safe; holds no state of a request."""

    __slots__ = ("clustered", "connector")

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.clustered = False
        """True where keys of different hash tags may live on different servers."""

    def send(self, exchange: Exchange[T]) -> T:
        """Send one Exchange; one round trip. Raises its error."""
        outcome: Outcome[T] = self.send_many((exchange,))[0]
        return outcome.result()

    def send_many(
        self, exchanges: Sequence[Exchange[Any]], tally: Tally | None = None
    ) -> list[Outcome[Any]]:
        """Send several Exchanges in this order in one round trip; an Outcome for each.

        Never raises for a server's failure: it stands in the Outcomes. ``tally`` counts the trips,
        those of a second attempt and of unknown scripts too.
        """
        try:
            self.connector.breaker.check()
        except CircuitOpen as error:
            return [Outcome(error=error) for _ in exchanges]
        outcomes, broken = self._attempt(exchanges, tally)
        if broken is not None:
            self._send_broken_again(exchanges, outcomes, broken, tally)
        return outcomes

    def _send_broken_again(
        self,
        exchanges: Sequence[Exchange[Any]],
        outcomes: list[Outcome[Any]],
        broken: ServerUnavailable | None,
        tally: Tally | None,
    ) -> None:
        """Once more what may run twice, if the connection broke; its outcomes take their places."""
        places = [n for n, exchange in enumerate(exchanges) if exchange.idempotent]
        again = [exchanges[n] for n in places]
        for _ in range(1 if self.connector.following is None else 2):
            cut = broken is not None and broken.maybe_sent and not isinstance(broken, ReplyTimeout)
            if not again or not cut:
                return
            _tell_retry(self, [c for exchange in again for c in exchange.commands], "broken")
            retried, broken = self._attempt(again, tally)
            for place, outcome in zip(places, retried, strict=True):
                outcomes[place] = outcome

    def server_of(self, key: str) -> tuple[str, int] | None:  # noqa: ARG002  # a Cluster's
        """The server that has a key, as far as is known without asking; None where it is one.

        After a failover it is another one, as soon as anything was sent to that.
        """
        following = self.connector.following
        return None if following is None else following.directory.known

    def run(self, operation: Operation[T]) -> T:
        """Run an operation, each of its Exchanges in its own round trip."""
        if isinstance(operation, Exchange):
            return self.send(operation)
        return drive(operation, self.send)

    def transact(
        self,
        exchanges: Sequence[Exchange[Any]],
        tally: Tally | None = None,
        *,
        route: Route | None = None,
        asking: bool = False,
    ) -> list[Reply]:
        """Send MULTI, all commands, EXEC in one round trip, and never again; the raw replies.

        Scripts go with their source. ``route`` and ``asking`` (for a slot on its way there) are for
        a Cluster's node. Raises ``ServerError``; errors of commands stand among the replies.
        """
        connector = self.connector
        route = route or Route(connector.pool, connector.breaker, connector.address)
        route.breaker.check()
        commands: list[Command] = [("ASKING",)] if asking else []
        commands.append(("MULTI",))
        commands += [with_source(c) for exchange in exchanges for c in exchange.commands]
        commands.append(("EXEC",))
        try:
            replies = self._trip(commands, tally, route)
        except ServerError as error:
            if isinstance(error, ServerUnavailable) and not isinstance(error, PoolExhausted):
                route.breaker.failed(error)
            raise
        route.breaker.succeeded()
        return replies[1:] if asking else replies

    def _attempt(
        self, exchanges: Sequence[Exchange[Any]], tally: Tally | None
    ) -> tuple[list[Outcome[Any]], ServerUnavailable | None]:
        breaker = self.connector.breaker
        commands: Sequence[Command]
        if len(exchanges) == 1:
            commands = exchanges[0].commands
        else:
            commands = [c for exchange in exchanges for c in exchange.commands]
        try:
            replies = self._trip(commands, tally)
            if any([isinstance(reply, Exception) for reply in replies]):  # noqa: C419  # of few, faster
                for _ in range(_REPEATS):
                    if not self._repeat_refused(exchanges, replies, tally):
                        break
        except ServerError as error:
            if isinstance(error, ServerUnavailable) and not isinstance(error, PoolExhausted):
                breaker.failed(error)
            broken = error if isinstance(error, ServerUnavailable) else None
            return [Outcome(error=error) for _ in exchanges], broken
        breaker.succeeded()
        if len(exchanges) == 1:
            return [exchanges[0].outcome(replies)], None
        outcomes: list[Outcome[Any]] = []
        start = 0
        for exchange in exchanges:
            end = start + len(exchange.commands)
            outcomes.append(exchange.outcome(replies[start:end]))
            start = end
        return outcomes, None

    def _repeat_refused(
        self, exchanges: Sequence[Exchange[Any]], replies: list[Reply], tally: Tally | None
    ) -> bool:
        """Send what was refused again in one more trip, scripts with their source.

        Reads of the same feature that came after it saw the state before it: they are sent again
        behind it, so that the order within a feature holds. False if nothing was refused.
        """
        following = self.connector.following
        refusals = NoScriptError if following is None else (NoScriptError, *_MOVED)
        again: list[int] = []
        features: set[str] = set()
        commands: list[Command] = []
        position = 0
        for exchange in exchanges:
            follows = exchange.read_only and exchange.feature in features
            for command in exchange.commands:
                refused = isinstance(replies[position], refusals)
                if refused or follows:
                    again.append(position)
                    commands.append(with_source(command))
                if refused:
                    features.add(exchange.feature)
                position += 1
        if not again:
            return False
        if following is not None and any(isinstance(replies[n], _MOVED) for n in again):
            following.directory.demoted()
        _tell_retry(self, commands, "refused")
        try:
            repeated: list[Reply] = self._trip(commands, tally)
        except ServerError as error:
            # what the first trip did stands; only these calls failed
            repeated = [error] * len(again)
        for position, reply in zip(again, repeated, strict=True):
            replies[position] = reply
        return True

    def _trip(
        self, commands: Sequence[Command], tally: Tally | None, route: Route | None = None
    ) -> list[Reply]:
        """Send commands and read a reply for each; errors of a command stand in the list."""
        if tally is not None:
            tally.trips += 1
        if signals.trip.receivers:
            return self._observed(commands, route)
        return self._send_and_read(commands, route)

    def _observed(self, commands: Sequence[Command], route: Route | None) -> list[Reply]:
        """The trip, measured for those who listen."""
        started = time.perf_counter()
        error: Exception | None = None
        replies: list[Reply] = []
        try:
            replies = self._send_and_read(commands, route)
        except ServerError as caught:
            error = caught
            raise
        finally:
            signals.trip.send(
                self,
                commands=len(commands),
                seconds=time.perf_counter() - started,
                error=error,
                error_replies=[reply for reply in replies if isinstance(reply, Exception)],
            )
        return replies

    def _send_and_read(self, commands: Sequence[Command], route: Route | None) -> list[Reply]:
        source = route or self.connector
        pool = source.pool
        connection: Any = pool.get_connection()
        try:
            packed = [c.on_wire() if isinstance(c, ScriptCall) else c for c in commands]
            conversation.write(connection, packed)
            return conversation.read(connection, len(packed))
        except _BROKEN as error:
            connection.disconnect()
            raise read_error(error, source.address, connection.names) from error
        except BaseException:
            # also when interrupted between sending and reading: what is still to come on this
            # connection must never be read as somebody else's reply
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


def _tell_retry(wire: Wire, commands: Sequence[Command], reason: str) -> None:
    if signals.retried.receivers:
        signals.retried.send(wire, commands=len(commands), reason=reason)


def send_commands(connection: Any, commands: Sequence[Command], address: str) -> None:
    """Write commands to a connection, scripts by their SHA-1; ``ServerUnavailable`` if it broke."""
    packed = [c.on_wire() if isinstance(c, ScriptCall) else c for c in commands]
    try:
        conversation.write(connection, packed)
    except _BROKEN as error:
        raise read_error(error, address, connection.names) from error


def read_replies(connection: Any, count: int, address: str) -> list[Reply]:
    """The next replies; an error of a command stands among them, a broken connection is raised."""
    try:
        return conversation.read(connection, count)
    except _BROKEN as error:
        raise read_error(error, address, connection.names) from error


def with_source(command: Command) -> Command:
    """The command; a script's call with its source instead of its SHA-1."""
    return command.by_source() if isinstance(command, ScriptCall) else command


def drive(operation: Generator[Exchange[Any], Any, T], send: Any) -> T:
    """Run a generator of Exchanges, each by ``send``; errors are raised at its ``yield``."""
    try:
        exchange = next(operation)
        while True:
            try:
                value = send(exchange)
            except Exception as error:  # noqa: BLE001  # handed to the operation, which decides
                exchange = operation.throw(error)
            else:
                exchange = operation.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result
