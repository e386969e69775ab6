"""Hears what one kit does in one application: the base of metrics and tracing.

Signals are the process's; an ``Observer`` listens to those of its application and says which server
each is about. Nothing it hears contains a key or a value.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from blinker import Signal
from flask import Flask
from redis.exceptions import AskError, MovedError, NoScriptError, TryAgainError

from flask_redis_kit.core import signals
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.counters import Counters
from flask_redis_kit.core.errors import NotInitialized
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.names import DEFAULT_NAME
from flask_redis_kit.core.state import KitState
from flask_redis_kit.core.wire import Wire

log = logging.getLogger(__name__)
S = TypeVar("S")

_SENT_AGAIN = (NoScriptError, MovedError, AskError, TryAgainError)
"""Replies that are no failure: the wire sends the command again."""


class Observer(Generic[S]):
    """Base class: override what you want to hear. Lives as long as its application.

    ``S`` is what a subclass keeps per server (one for each URL; a whole Cluster is one), made by
    ``watch``. An exception in a hook is logged once and never reaches the application.
    """

    def __init__(self, state: KitState) -> None:
        self._state = state
        self._servers: dict[Connector, S] = {}
        self._complained = False
        self._listening: tuple[tuple[Signal, Callable[..., None]], ...] = (
            (signals.trip, self._heard_trip),
            (signals.retried, self._heard_retry),
            (signals.refused, self._heard_refusal),
            (signals.breaker_changed, self._heard_breaker),
            (signals.counted, self._heard_count),
        )

    # what a subclass overrides

    def watch(self, connector: Connector) -> S:
        """Make what is kept for a server. May be called twice at the same time."""
        raise NotImplementedError

    def forget(self, connector: Connector, server: S) -> None:
        """Nothing more is to be heard of a server."""

    def trip(
        self,
        server: S,
        *,
        commands: int,
        seconds: float,
        error: Exception | None,
        error_replies: Sequence[Exception],
    ) -> None:
        """A round trip ended, in this thread. ``error_replies``: of commands that failed alone."""

    def retried(self, server: S, *, commands: int, reason: str) -> None:
        """Commands are sent again; see ``signals.retried``."""

    def refused(self, server: S) -> None:
        """An open breaker let nothing through."""

    def breaker_changed(self, server: S) -> None:
        """A breaker opened or closed; on Cluster that of a node."""

    def counted(self, *, feature: str, subject: str, outcome: str, amount: int) -> None:
        """A feature counted something; see ``signals.counted``."""

    # listening

    def install(self) -> None:
        """Listen from now on. Servers that are known already are watched at once; no I/O."""
        for wire in self._state.wires():
            self._server(wire.connector)
        for signal, receiver in self._listening:
            signal.connect(receiver)  # held weakly by the signal
        self._state.receivers.append(self)

    def uninstall(self) -> None:
        """Listen no more; doing it twice is harmless."""
        for signal, receiver in self._listening:
            signal.disconnect(receiver)
        if self in self._state.receivers:
            self._state.receivers.remove(self)
        for connector, server in self._servers.items():
            self.forget(connector, server)
        self._servers = {}

    def _server(self, connector: Connector) -> S | None:
        found = self._servers.get(connector)
        if found is None and any(w.connector is connector for w in self._state.wires()):
            found = self._servers.setdefault(connector, self.watch(connector))
        return found

    def _server_behind(self, breaker: CircuitBreaker) -> S | None:
        for wire in self._state.wires():
            if breaker in breakers(wire.connector):
                return self._server(wire.connector)
        return None

    def _heard_trip(
        self,
        wire: Wire,
        *,
        commands: int,
        seconds: float,
        error: Exception | None,
        error_replies: Sequence[Exception] = (),
    ) -> None:
        server = self._server(wire.connector)  # None: another application's
        if server is not None:
            self._guarded(
                self.trip,
                server,
                commands=commands,
                seconds=seconds,
                error=error,
                error_replies=[r for r in error_replies if not isinstance(r, _SENT_AGAIN)],
            )

    def _heard_retry(self, wire: Wire, *, commands: int, reason: str) -> None:
        server = self._server(wire.connector)
        if server is not None:
            self._guarded(self.retried, server, commands=commands, reason=reason)

    def _heard_refusal(self, breaker: CircuitBreaker, **_: object) -> None:
        server = self._server_behind(breaker)
        if server is not None:
            self._guarded(self.refused, server)

    def _heard_breaker(self, breaker: CircuitBreaker, **_: object) -> None:
        server = self._server_behind(breaker)
        if server is not None:
            self._guarded(self.breaker_changed, server)

    def _heard_count(self, counters: Counters, **facts: Any) -> None:
        if self._state.owns(counters):
            self._guarded(self.counted, **facts)

    def _guarded(self, hook: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        try:
            hook(*args, **kwargs)
        except Exception as failure:  # noqa: BLE001  # a listener's failure is not the request's
            self._complain(failure)

    def _complain(self, failure: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.error("%s failed; said once: %r", type(self).__name__, failure, exc_info=failure)


def kit_state(app: Flask, kit: str = DEFAULT_NAME) -> KitState:
    """The state of a kit in an application; ``NotInitialized`` says what is missing."""
    state = app.extensions.get("redis_kit", {}).get(kit)
    if state is None:
        raise NotInitialized(
            f"Application {app.name!r} has no RedisKit named {kit!r}. Call kit.init_app(app) first."
        )
    assert isinstance(state, KitState)  # noqa: S101  # the kit puts nothing else there
    return state


def breakers(connector: Connector) -> list[CircuitBreaker]:
    """The breaker of a server; of a Cluster, its own and those of the primaries. No I/O."""
    nodes = connector.nodes
    if nodes is None or not nodes.known:
        return [connector.breaker]
    return [connector.breaker, *(node.breaker for node in nodes.primaries())]


def open_breakers(connector: Connector) -> int:
    """How many breakers are open: 0 or 1; on Cluster one for each primary that is away."""
    return sum(breaker.state == "open" for breaker in breakers(connector))


def pool_use(connector: Connector) -> tuple[int, int]:
    """Connections in use now, and how many there may be; of a Cluster, over all primaries."""
    nodes = connector.nodes
    if nodes is None:
        return connector.pool.in_use, connector.pool.max_connections
    pools = [node.pool for node in nodes.primaries()] if nodes.known else []
    return sum(pool.in_use for pool in pools), sum(pool.max_connections for pool in pools)
