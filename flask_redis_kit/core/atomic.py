"""Several Exchanges as one MULTI … EXEC: which server it goes to, and what its replies mean.

It is sent again only when a server refused all of it because it is not the one to ask (a slot that
moved, a master that is one no more): then nothing of it was applied there. Whatever else happens,
it is sent once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from flask_redis_kit.core.cluster import GLANCE_SECONDS, Address, ClusterNodes, Node
from flask_redis_kit.core.errors import (
    PoolExhausted,
    ServerError,
    ServerUnavailable,
    TransactionUncertain,
)
from flask_redis_kit.core.exchange import Exchange, Reply
from flask_redis_kit.core.following import Following
from flask_redis_kit.core.routing import HOPS, WAITS
from flask_redis_kit.core.wire import Route, Tally, Wire

_DEMOTED = (ReadOnlyError, MasterDownError)
_REDIRECTIONS = (MovedError, AskError, TryAgainError, ClusterDownError, ReadOnlyError)
_ATTEMPTS = 3
"""On masters under Sentinel."""


class Refusal(NamedTuple):
    """Nothing was applied. ``position`` of the command that the server would not take, if any."""

    error: Exception
    position: int | None


class Executed(NamedTuple):
    """``replies``: one for each command, errors among them; none if it was refused.

    ``unprotected``: the server refused MULTI, so each command ran by itself.
    """

    replies: list[Reply]
    refusal: Refusal | None = None
    unprotected: Exception | None = None


def execute(
    wire: Wire, exchanges: Sequence[Exchange[Any]], slot: int | None, tally: Tally | None = None
) -> Executed:
    """Run the Exchanges as one transaction, in one round trip; ``slot`` is that of all their keys.

    Raises ``TransactionUncertain`` when the reply was lost, another ``ServerError`` when nothing
    was sent.
    """
    connector = wire.connector
    try:
        if connector.nodes is not None:
            replies = _on_cluster(wire, connector.nodes, exchanges, slot, tally)
        elif connector.following is not None:
            replies = _on_master(wire, connector.following, exchanges, tally)
        else:
            replies = wire.transact(exchanges, tally)
    except ServerUnavailable as error:
        if not error.maybe_sent:
            raise
        raise TransactionUncertain(
            "The reply to the transaction was lost: it was applied as a whole or not at all. "
            f"It is not sent again; look before you repeat it. {error}",
            address=error.address,
        ) from error
    return _judged(replies)


def _judged(replies: list[Reply]) -> Executed:
    multi, *queued, executed = replies
    if isinstance(multi, Exception):  # by an ACL, say; the commands ran as they came in
        if all(isinstance(reply, Exception) for reply in queued):
            return Executed([], Refusal(multi, None))
        return Executed(queued, unprotected=multi)
    refusal = _refused(queued, executed)
    return Executed([], refusal) if refusal is not None else Executed(executed)


def _refused(queued: Sequence[Reply], executed: Reply) -> Refusal | None:
    if isinstance(executed, list):
        return None
    for position, reply in enumerate(queued):
        if isinstance(reply, Exception):
            return Refusal(reply, position)
    if isinstance(executed, Exception):
        return Refusal(executed, None)
    return Refusal(ExecAbortError("a watched key has changed"), None)


def _on_master(
    wire: Wire, following: Following, exchanges: Sequence[Exchange[Any]], tally: Tally | None
) -> list[Reply]:
    for _ in range(_ATTEMPTS):
        replies = wire.transact(exchanges, tally)
        if not _was_demoted(exchanges, replies):
            break
        following.directory.demoted()
    return replies


def _was_demoted(exchanges: Sequence[Exchange[Any]], replies: list[Reply]) -> bool:
    """Whether a server that is no master any more applied nothing of it."""
    _, *queued, executed = replies
    refusal = _refused(queued, executed)
    if refusal is not None:
        # between the commands and EXEC it says so in other words
        said = "because of: READONLY" in str(refusal.error)
        return isinstance(refusal.error, _DEMOTED) or said
    # a script is refused only when it writes; reads before it did no harm
    reads = [exchange.read_only for exchange in exchanges for _ in exchange.commands]
    return any(isinstance(reply, _DEMOTED) for reply in executed) and all(
        isinstance(reply, _DEMOTED) or read for reply, read in zip(executed, reads, strict=True)
    )


def _on_cluster(
    wire: Wire,
    nodes: ClusterNodes,
    exchanges: Sequence[Exchange[Any]],
    slot: int | None,
    tally: Tally | None,
) -> list[Reply]:
    ask: Address | None = None
    waits = iter(WAITS)
    searched = False
    for hop in range(HOPS):
        node = _node(nodes, slot, ask)
        route = Route(node.pool, node.breaker, node.name)
        try:
            replies = wire.transact(exchanges, tally, route=route, asking=ask is not None)
        except ServerUnavailable as error:
            if error.maybe_sent or isinstance(error, PoolExhausted) or searched:
                raise
            searched, ask = True, None
            _look(nodes, node)
            continue
        refusal = _refused(replies[1:-1], replies[-1])
        if refusal is None or not isinstance(refusal.error, _REDIRECTIONS):
            break
        ask, wait = _redirected(nodes, node, refusal.error, ask)
        pause = next(waits, None) if wait or hop > 1 else 0.0
        if pause is None or hop == HOPS - 1:
            raise _unserved(nodes, node, slot, refusal.error)
        time.sleep(pause)
    return replies


def _node(nodes: ClusterNodes, slot: int | None, ask: Address | None) -> Node:
    if ask is not None:
        return nodes.at(ask)
    return nodes.any() if slot is None else nodes.of_slot(slot)


def _redirected(
    nodes: ClusterNodes, node: Node, error: ResponseError, asked: Address | None
) -> tuple[Address | None, bool]:
    """Whom to ask instead, if not the owner of the slot; and whether to wait before."""
    if isinstance(error, MovedError):
        nodes.moved(error.slot_id, nodes.named_by(node, error))
        return None, False
    if isinstance(error, AskError):
        return nodes.named_by(node, error), False
    if isinstance(error, TryAgainError):
        return asked, True
    _look(nodes, node)
    return None, True


def _unserved(
    nodes: ClusterNodes, node: Node, slot: int | None, refused: Exception
) -> ServerUnavailable:
    error = ServerUnavailable(
        f"The cluster at {nodes.names} can't serve slot {slot} now, so nothing of the transaction "
        f"was applied: {type(refused).__name__} ({refused}). A slot that is on its way to another "
        "node takes transactions over several keys again when it is there.",
        address=nodes.names,
    )
    if isinstance(refused, ClusterDownError):
        node.breaker.failed(error)
    return error


def _look(nodes: ClusterNodes, failed: Node) -> None:
    """Whether another node took over."""
    with contextlib.suppress(ServerError):  # the transaction itself says what is wrong
        nodes.refresh(last=failed.address, seconds=GLANCE_SECONDS)
