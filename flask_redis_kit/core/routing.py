"""The wire of a Cluster: one pipeline per node, all sent before any is read.

Redirections are followed per command: what a node refused (MOVED, ASK, TRYAGAIN, CLUSTERDOWN,
READONLY, NOSCRIPT) did not run there, so it is sent again whatever it does. What broke on the way
follows the same rule as everywhere: only an idempotent Exchange is sent again.

Order is kept among the commands for one slot as long as that doesn't move. While it moves, keys
that are there already and keys that are not lie on two nodes: a command may be overtaken by one
behind it for another key. Reads are then sent again, so they see what was written before them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from operator import attrgetter
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

from flask_redis_kit.core import signals
from flask_redis_kit.core.cluster import (
    GLANCE_SECONDS,
    Address,
    ClusterNodes,
    Node,
    slot_of,
)
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.errors import (
    PoolExhausted,
    ReplyTimeout,
    ServerError,
    ServerUnavailable,
)
from flask_redis_kit.core.exchange import Command, Exchange, Outcome, Reply
from flask_redis_kit.core.wire import Tally, Wire, read_replies, send_commands, with_source

HOPS = 16
"""How often a command may be redirected."""
WAITS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Seconds between attempts while a slot is on its way or has no primary."""

_REDIRECTIONS = (MovedError, AskError, TryAgainError, ClusterDownError, ReadOnlyError)
_ASKING: Command = ("ASKING",)


class _Item:
    """One command on its way."""

    __slots__ = ("ask", "command", "exchange", "hops", "position", "retried", "slot")

    def __init__(self, position: int, exchange: Exchange[Any], command: Command) -> None:
        self.position = position
        self.exchange = exchange
        self.command = command
        self.slot = slot_of(exchange.key) if exchange.key else None
        self.ask: Address | None = None
        self.hops = 0
        self.retried = False


class _Group:
    """The commands for one node in one round. ``answered``: how many of them have a reply."""

    __slots__ = ("answered", "connection", "error", "items", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.items: list[_Item] = []
        self.answered = 0
        self.connection: Any = None
        self.error: ServerError | None = None

    def send(self) -> None:
        """Take a connection and send; a failure stands in ``error``."""
        commands: list[Command] = []
        for item in self.items:
            if item.ask is not None:
                commands.append(_ASKING)
            commands.append(item.command)
        try:
            self.connection = self.node.pool.get_connection()
            send_commands(self.connection, commands, self.node.name)
        except ServerError as error:
            self.error = error

    def read(self, replies: list[Reply], *, at_once: bool) -> None:
        """Read what there is to read. ``at_once``: the time to answer is over already."""
        connection, name = self.connection, self.node.name
        try:
            if at_once and not connection.is_stale():
                raise ReplyTimeout(f"{name} did not reply in time; the command may have run.")
            for item in self.items:
                if item.ask is not None:
                    read_replies(connection, 1, name)
                replies[item.position] = read_replies(connection, 1, name)[0]
                self.answered += 1
        except ServerError as error:
            self.error = error

    def leave(self) -> None:
        """Give the connection back, without what may still come on it."""
        connection, self.connection = self.connection, None
        if connection is not None:
            if self.answered < len(self.items):
                connection.disconnect()
            self.node.pool.release(connection)


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

    def server_of(self, key: str) -> Address | None:
        """The node that has a key's slot, as far as is known without asking."""
        return self.nodes.last_known(slot_of(key))

    def send_many(
        self, exchanges: Sequence[Exchange[Any]], tally: Tally | None = None
    ) -> list[Outcome[Any]]:
        """Send several Exchanges in one round trip of waiting; an Outcome for each.

        Each redirection costs one more trip. Never raises for a server's failure.
        """
        if not self.nodes.known:
            try:
                self._find()
            except ServerError as error:
                return [Outcome(error=error) for _ in exchanges]
        items: list[_Item] = []
        for exchange in exchanges:
            for command in exchange.commands:
                items.append(_Item(len(items), exchange, command))
        replies: list[Reply] = [None] * len(items)
        pending, waits = items, iter(WAITS)
        for _ in range(HOPS):
            if tally is not None:
                tally.trips += 1
            pending, wait = self._round(pending, replies)
            if not pending:
                break
            if wait:
                pause = next(waits, None)
                if pause is None:
                    break
                time.sleep(pause)
        if pending:
            self._give_up(pending, replies)
        return _outcomes(exchanges, replies)

    def _find(self) -> None:
        """The first question to the cluster, behind the breaker of the cluster as a whole."""
        breaker = self.connector.breaker
        breaker.check()
        try:
            self.nodes.primaries()
        except ServerUnavailable as error:
            breaker.failed(error)
            raise
        breaker.succeeded()

    def _round(self, items: list[_Item], replies: list[Reply]) -> tuple[list[_Item], bool]:
        """One trip: returns what has to go again, in order, and whether to wait before."""
        started = time.perf_counter() if signals.trip.receivers else 0.0
        groups = self._grouped(items, replies)
        try:
            for group in groups:
                group.send()
            late = False
            for group in groups:
                if group.error is None:
                    group.read(replies, at_once=late)
                late = late or isinstance(group.error, ReplyTimeout)
        finally:
            # also when interrupted: nobody may read what was meant for us
            for group in groups:
                group.leave()
        if groups and started:
            self._tell_trip(groups, replies, time.perf_counter() - started)
        again: list[_Item] = []
        wait = False
        for group in groups:
            wait = self._judged(group, replies, again) or wait
        if again:
            _add_following_reads(items, again)
            again.sort(key=attrgetter("position"))
            if signals.retried.receivers:
                self._tell_retry(again, replies)
        return again, wait

    def _tell_trip(self, groups: list[_Group], replies: list[Reply], seconds: float) -> None:
        answers = [replies[i.position] for group in groups for i in group.items[: group.answered]]
        signals.trip.send(
            self,
            commands=sum(len(group.items) for group in groups),
            seconds=seconds,
            error=next((group.error for group in groups if group.error is not None), None),
            error_replies=[reply for reply in answers if isinstance(reply, Exception)],
        )

    def _tell_retry(self, again: list[_Item], replies: list[Reply]) -> None:
        broken = sum(isinstance(replies[item.position], ServerError) for item in again)
        for count, reason in ((broken, "broken"), (len(again) - broken, "refused")):
            if count:
                signals.retried.send(self, commands=count, reason=reason)

    def _grouped(self, items: list[_Item], replies: list[Reply]) -> list[_Group]:
        groups: dict[Node, _Group] = {}
        keyless: dict[int, Node] = {}
        for item in items:
            try:
                if item.ask is not None:
                    node = self.nodes.at(item.ask)
                elif item.slot is not None:
                    node = self.nodes.of_slot(item.slot)
                else:  # all commands of an Exchange go the same way
                    node = keyless.get(id(item.exchange)) or self.nodes.any()
                    keyless[id(item.exchange)] = node
                node.breaker.check()
            except ServerError as error:
                # what went wrong first says more than that nobody tries again
                if not isinstance(replies[item.position], ServerError):
                    replies[item.position] = error
                continue
            group = groups.get(node)
            if group is None:
                group = groups[node] = _Group(node)
            group.items.append(item)
        if len(groups) == 1:
            return list(groups.values())
        # always in the same order: two threads must not wait for each other's connections
        return sorted(groups.values(), key=lambda group: group.node.address)

    def _judged(self, group: _Group, replies: list[Reply], again: list[_Item]) -> bool:
        """What becomes of a group's items; whether to wait before the next round."""
        error, breaker = group.error, group.node.breaker
        down = wait = False
        for item in group.items[: group.answered]:
            reply = replies[item.position]
            if isinstance(reply, ResponseError):
                down = down or isinstance(reply, ClusterDownError)
                wait = self._redirected(group.node, item, reply, again) or wait
        if error is None:
            if not down:
                breaker.succeeded()
            return wait
        if isinstance(error, ServerUnavailable) and not isinstance(error, PoolExhausted):
            breaker.failed(error)
        self._broken(group, error, replies, again)
        return wait

    def _redirected(
        self, node: Node, item: _Item, reply: ResponseError, again: list[_Item]
    ) -> bool:
        """An error reply: if the command did not run, say where it goes, and whether to wait."""
        asked, item.ask = item.ask, None
        wait = False
        if isinstance(reply, NoScriptError):
            item.command, item.ask = with_source(item.command), asked
        elif isinstance(reply, MovedError):
            address = self.nodes.named_by(node, reply)
            self.nodes.moved(reply.slot_id, address)
            # two nodes that send it to each other: one hasn't heard yet
            wait = item.hops > 1
        elif isinstance(reply, AskError):
            item.ask = self.nodes.named_by(node, reply)
        elif isinstance(reply, TryAgainError):
            item.ask, wait = asked, True
        elif isinstance(reply, (ClusterDownError, ReadOnlyError)):
            self._look(node)
            wait = True
        else:
            return False
        item.hops += 1
        again.append(item)
        return wait

    def _broken(
        self, group: _Group, error: ServerError, replies: list[Reply], again: list[_Item]
    ) -> None:
        maybe_sent = isinstance(error, ServerUnavailable) and error.maybe_sent
        retry = isinstance(error, ServerUnavailable) and not isinstance(
            error, (ReplyTimeout, PoolExhausted)
        )
        if retry:
            self._look(group.node)
        for item in group.items[group.answered :]:
            replies[item.position] = error
            if retry and not item.retried and (item.exchange.idempotent or not maybe_sent):
                item.retried, item.ask = True, None
                again.append(item)

    def _look(self, failed: Node) -> None:
        """Whether another node took over."""
        with contextlib.suppress(ServerError):  # the commands themselves say what is wrong
            self.nodes.refresh(last=failed.address, seconds=GLANCE_SECONDS)

    def _give_up(self, pending: list[_Item], replies: list[Reply]) -> None:
        """What is still redirected after all the waiting."""
        down: dict[Node, ServerUnavailable] = {}
        for item in pending:
            reply = replies[item.position]
            if not isinstance(reply, _REDIRECTIONS):
                continue
            error = ServerUnavailable(
                f"The cluster at {self.nodes.names} can't serve slot {item.slot} now: "
                f"{type(reply).__name__} ({reply}). A slot that is stuck between two nodes, or a "
                "primary without a replica to take over, needs an administrator.",
                address=self.nodes.names,
            )
            error.__cause__ = reply
            replies[item.position] = error
            if isinstance(reply, ClusterDownError) and item.slot is not None:
                with contextlib.suppress(ServerError):
                    down[self.nodes.of_slot(item.slot)] = error
        for node, error in down.items():
            node.breaker.failed(error)


def _add_following_reads(items: list[_Item], again: list[_Item]) -> None:
    """Reads behind a command that goes again saw their slot as it was before that."""
    starts: dict[tuple[str, int | None], int] = {}
    for item in again:
        place = (item.exchange.feature, item.slot)
        starts[place] = min(item.position, starts.get(place, item.position))
    going = {item.position for item in again}
    for item in items:
        start = starts.get((item.exchange.feature, item.slot))
        if (
            start is not None
            and start < item.position
            and item.position not in going
            and item.exchange.read_only
        ):
            item.ask = None
            again.append(item)


def _outcomes(exchanges: Sequence[Exchange[Any]], replies: list[Reply]) -> list[Outcome[Any]]:
    outcomes = []
    start = 0
    for exchange in exchanges:
        end = start + len(exchange.commands)
        outcomes.append(exchange.outcome(replies[start:end]))
        start = end
    return outcomes
