"""The wire of a Cluster: one pipeline per node, all sent before any is read.

Redirections are followed per command: what a node refused (MOVED, ASK, TRYAGAIN, CLUSTERDOWN,
READONLY) did not run there, so it is sent again whatever it does. What broke on the way follows the
same rule as everywhere: only an idempotent Exchange is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from flask_redis_kit.core.cluster import Address, ClusterNodes, Node, slot_of
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.errors import PoolExhausted, ReplyTimeout, ServerError, ServerUnavailable
from flask_redis_kit.core.exchange import Command, Exchange, Outcome, Reply
from flask_redis_kit.core.wire import Tally, Wire, read_reply, send_commands, with_source

HOPS = 8
"""How often a command may be redirected."""
WAITS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Seconds between attempts while a slot is on its way or has no primary."""


class _Item:
    """One command on its way."""

    __slots__ = ("ask", "command", "exchange", "position", "retried", "slot")

    def __init__(self, position: int, exchange: Exchange[Any], command: Command) -> None:
        self.position = position
        self.exchange = exchange
        self.command = command
        self.slot = slot_of(exchange.key) if exchange.key else None
        self.ask: Address | None = None
        self.retried = False


class _Group:
    """The commands for one node in one attempt."""

    __slots__ = ("connection", "error", "items", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.items: list[_Item] = []
        self.connection: Any = None
        self.error: ServerError | None = None


def wire_to(connector: Connector) -> Wire:
    """The wire that fits a connector's topology."""
    return Wire(connector) if connector.nodes is None else ClusterWire(connector, connector.nodes)


class ClusterWire(Wire):
    """Sends Exchanges to the nodes that hold their slots."""

    __slots__ = ("nodes",)

    def __init__(self, connector: Connector, nodes: ClusterNodes) -> None:
        super().__init__(connector)
        self.clustered = True
        self.nodes = nodes

    def send_many(
        self, exchanges: Sequence[Exchange[Any]], tally: Tally | None = None
    ) -> list[Outcome[Any]]:
        """Send several Exchanges in one round trip of waiting; an Outcome for each."""
        items = [
            _Item(0, exchange, command) for exchange in exchanges for command in exchange.commands
        ]
        for position, item in enumerate(items):
            item.position = position
        replies: list[Reply] = [None] * len(items)
        pending, waits = items, 0
        for _ in range(HOPS):
            if tally is not None:
                tally.trips += 1
            pending, wait = self._attempt_items(pending, replies)
            if not pending:
                break
            if wait:
                if waits == len(WAITS):
                    break
                time.sleep(WAITS[waits])
                waits += 1
        return _outcomes(exchanges, replies)

    def _attempt_items(self, items: list[_Item], replies: list[Reply]) -> tuple[list[_Item], bool]:
        """One round: returns what has to go again, in order, and whether to wait before."""
        again: list[_Item] = []
        groups = self._grouped(items, replies)
        wait = False
        for group in groups:
            self._send_group(group)
        for group in groups:
            if group.error is None:
                self._read_group(group, replies)
        for group in groups:
            if group.error is not None:
                self._broken(group, replies, again)
            else:
                wait = self._redirected(group, replies, again) or wait
        _follow_scripts(items, replies, again)
        again.sort(key=lambda item: item.position)
        return again, wait

    def _grouped(self, items: list[_Item], replies: list[Reply]) -> list[_Group]:
        groups: dict[Node, _Group] = {}
        for item in items:
            try:
                if item.ask is not None:
                    node = self.nodes.at(item.ask)
                else:
                    node = self.nodes.any() if item.slot is None else self.nodes.of_slot(item.slot)
                node.breaker.check()
            except ServerError as error:
                replies[item.position] = error
                continue
            groups.setdefault(node, _Group(node)).items.append(item)
        return list(groups.values())

    def _send_group(self, group: _Group) -> None:
        commands: list[Command] = []
        for item in group.items:
            if item.ask is not None:
                commands.append(("ASKING",))
            commands.append(item.command)
        try:
            group.connection = group.node.pool.get_connection()
            send_commands(group.connection, commands, self.connector.address)
        except ServerError as error:
            self._give_back(group, error)

    def _read_group(self, group: _Group, replies: list[Reply]) -> None:
        try:
            for item in group.items:
                if item.ask is not None:
                    read_reply(group.connection, self.connector.address)
                replies[item.position] = read_reply(group.connection, self.connector.address)
        except ServerError as error:
            self._give_back(group, error)
        except BaseException:
            group.connection.disconnect()
            raise
        else:
            self._give_back(group, None)

    def _give_back(self, group: _Group, error: ServerError | None) -> None:
        group.error = error
        if group.connection is not None:
            if error is not None:
                group.connection.disconnect()
            group.node.pool.release(group.connection)
        if error is None:
            group.node.breaker.succeeded()
        elif isinstance(error, ServerUnavailable) and not isinstance(error, PoolExhausted):
            group.node.breaker.failed(error)

    def _broken(self, group: _Group, replies: list[Reply], again: list[_Item]) -> None:
        error = group.error
        maybe_sent = isinstance(error, ServerUnavailable) and error.maybe_sent
        retry = isinstance(error, ServerUnavailable) and not isinstance(
            error, (ReplyTimeout, PoolExhausted)
        )
        if retry:
            self._refresh(group.node.address)
        for item in group.items:
            if retry and not item.retried and (item.exchange.idempotent or not maybe_sent):
                item.retried, item.ask = True, None
                again.append(item)
            else:
                replies[item.position] = error

    def _redirected(self, group: _Group, replies: list[Reply], again: list[_Item]) -> bool:
        wait = stale = False
        for item in group.items:
            reply = replies[item.position]
            if not isinstance(reply, ResponseError):
                continue
            asked, item.ask = item.ask, None
            if isinstance(reply, MovedError):
                self.nodes.moved(reply.slot_id, (reply.host, reply.port))
                stale = True
            elif isinstance(reply, AskError):
                item.ask = (reply.host, reply.port)
            elif isinstance(reply, TryAgainError):
                item.ask, wait = asked, True
            elif isinstance(reply, (ClusterDownError, ReadOnlyError)):
                stale = wait = True
            elif not isinstance(reply, NoScriptError):
                continue
            else:
                item.command, item.ask = with_source(item.command), asked
            again.append(item)
        if stale:
            self._refresh(group.node.address)
        return wait

    def _refresh(self, failed: Address) -> None:
        try:
            self.nodes.refresh(failed=failed)
        except ServerError:
            return  # the commands themselves say what is wrong


def _follow_scripts(items: list[_Item], replies: list[Reply], again: list[_Item]) -> None:
    """Reads behind an unknown script of their feature saw the state before it: send them again."""
    unknown = {
        item.exchange.feature: item.position
        for item in reversed(again)
        if isinstance(replies[item.position], NoScriptError)
    }
    for item in items:
        first = unknown.get(item.exchange.feature)
        follows = first is not None and first < item.position and item.exchange.read_only
        if follows and item not in again:
            again.append(item)


def _outcomes(exchanges: Sequence[Exchange[Any]], replies: list[Reply]) -> list[Outcome[Any]]:
    outcomes = []
    start = 0
    for exchange in exchanges:
        end = start + len(exchange.commands)
        outcomes.append(exchange.outcome(replies[start:end]))
        start = end
    return outcomes
