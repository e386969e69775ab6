"""How the servers are: one, all primaries of a Cluster, a master with its Sentinels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from flask_redis_kit.core.cluster import Node
from flask_redis_kit.core.errors import RedisKitError
from flask_redis_kit.core.exchange import Command, Exchange, Reply
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.info import Replica, facts_of, slots_of
from flask_redis_kit.core.url import named
from flask_redis_kit.core.wire import Wire, read_replies, send_commands

LAG_BYTES = 1_000_000
"""What a replica may be behind before it is worth a warning."""


@dataclass(frozen=True, slots=True)
class Sentinel:
    """What a Sentinel says. ``master``: the address it names; None if it doesn't answer."""

    address: str
    ok: bool
    master: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """One server. Latency in milliseconds, memory and lag in bytes; unknown is None.

    A user whom the server forbids ``INFO`` learns that it answers, and how fast.

    ``topology``   "standalone", "sentinel" (the master, with its ``sentinels``) or "cluster" (one
                   primary, with the number of its ``slots``).
    ``lag``        of the replica that is furthest behind.
    ``features``   which are kept there, by name.
    ``databases``  what ``REDIS_DATABASES`` calls it.
    """

    address: str
    ok: bool
    error: str | None = None
    latency_ms: float | None = None
    server: str | None = None
    version: str | None = None
    role: str | None = None
    uptime_seconds: int | None = None
    connected_clients: int | None = None
    used_memory: int | None = None
    max_memory: int | None = None
    eviction_policy: str | None = None
    evicted_keys: int | None = None
    append_only_file: bool | None = None
    last_save_ok: bool | None = None
    breaker: str = "closed"
    topology: str = "standalone"
    replicas: tuple[Replica, ...] = ()
    lag: int | None = None
    sentinels: tuple[Sentinel, ...] = ()
    slots: int | None = None
    features: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Server(NamedTuple):
    """A server, or a Cluster, of an application, and what it is there for."""

    wire: Wire
    features: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


def check_all(servers: Iterable[Server]) -> list[Health]:
    """Ask each server, as ``check`` does."""
    return [
        replace(found, features=server.features, databases=server.databases)
        for server in servers
        for found in check(server.wire)
    ]


def check(wire: Wire) -> list[Health]:
    """Ask the server; on Cluster each primary. Two round trips each; never raises for a server.

    Under Sentinel one more for each Sentinel.
    """
    connector = wire.connector
    if connector.nodes is not None:
        try:
            primaries = connector.nodes.primaries()
        except FAILURES as error:
            return [_failed(connector.address, error, connector.breaker.state, "cluster")]
        return [_node_health(node) for node in primaries]
    topology = "standalone" if connector.following is None else "sentinel"
    sentinels = tuple(_sentinels(wire))
    try:
        facts = facts_of(partial(_through, wire))
    except FAILURES as error:
        return [_failed(connector.address, error, connector.breaker.state, topology, sentinels)]
    state = connector.breaker.state
    return [
        Health(
            connector.address,
            ok=True,
            breaker=state,
            topology=topology,
            sentinels=sentinels,
            **facts,
        )
    ]


def warnings(found: Health) -> Iterator[str]:
    """What is wrong with a server that answers, whatever is kept there."""
    address = found.address
    only_named = bool(found.databases) and not found.features
    if found.role == "slave" and not only_named:  # those may be meant for reading
        yield f"{address} is a replica: it refuses writes. Name the master in the URL."
    if found.last_save_ok is False:
        yield f"{address} could not save its data the last time; it may refuse writes. See its log."
    for replica in found.replicas:
        if not replica.online:
            yield f"{address}: its replica {replica.address} does not follow it now."
        elif (replica.lag or 0) > LAG_BYTES:
            yield (
                f"{address}: its replica {replica.address} is {replica.lag} bytes behind; a "
                "failover now would lose them."
            )
    tells = found.role is not None  # of its replicas, too
    if tells and found.topology != "standalone" and not any(r.online for r in found.replicas):
        yield f"{address} has no replica: nothing takes over when it fails."
    yield from _sentinel_warnings(found)


def _sentinel_warnings(found: Health) -> Iterator[str]:
    sentinels = found.sentinels
    for sentinel in sentinels:
        if not sentinel.ok:
            yield f"The Sentinel {sentinel.address} can't be asked: {sentinel.error}"
    if sentinels and len(sentinels) < 3:
        yield (
            f"The URL names {len(sentinels)} of the Sentinels. Name all of them; and there should "
            "be three: a majority must agree on a failover."
        )
    masters = sorted({sentinel.master for sentinel in sentinels if sentinel.master})
    if len(masters) > 1:
        yield f"The Sentinels do not agree on the master: {' or '.join(masters)}."


# Cluster


def _node_health(node: Node) -> Health:
    ask = partial(_directly, node)
    try:
        facts = facts_of(ask)
        state, nodes = ask(("CLUSTER", "INFO"), ("CLUSTER", "NODES"))
    except FAILURES as error:
        return _failed(node.name, error, node.breaker.state, "cluster")
    ok = b"cluster_state:ok" in state
    return Health(
        node.name,
        ok=ok,
        error=None if ok else f"{node.name} says that the cluster is down",
        breaker=node.breaker.state,
        topology="cluster",
        slots=slots_of(nodes),
        **facts,
    )


def _directly(node: Node, *commands: Command) -> list[Reply]:
    node.breaker.check()
    connection: Any = node.pool.get_connection()
    try:
        send_commands(connection, commands, node.name)
        replies = read_replies(connection, len(commands), node.name)
    except BaseException:
        connection.disconnect()
        raise
    finally:
        node.pool.release(connection)
    return _checked(replies)


# standalone and Sentinel


def _through(wire: Wire, *commands: Command) -> list[Reply]:
    return wire.send(Exchange("health", "", commands, list, read_only=True))


def _sentinels(wire: Wire) -> Iterator[Sentinel]:
    following = wire.connector.following
    if following is None:
        return
    directory = following.directory
    for host, pool in zip(directory.hosts, directory.pools, strict=True):
        name = named(host)
        try:
            connection: Any = pool.get_connection()
            try:
                connection.send_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", directory.service, check_health=False
                )
                found = connection.read_response(disable_decoding=True)
            except BaseException:
                connection.disconnect()
                raise
            finally:
                pool.release(connection)
        except FAILURES as error:
            yield Sentinel(name, ok=False, error=_said(error))
            continue
        if found is None:
            yield Sentinel(name, ok=False, error=f"it knows no service {directory.service!r}")
        else:
            yield Sentinel(name, ok=True, master=named((found[0].decode(), int(found[1]))))


def _failed(
    address: str,
    error: Exception,
    breaker: str,
    topology: str,
    sentinels: tuple[Sentinel, ...] = (),
) -> Health:
    return Health(
        address,
        ok=False,
        error=_said(error),
        breaker=breaker,
        topology=topology,
        sentinels=sentinels,
    )


def _checked(replies: list[Reply]) -> list[Reply]:
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RedisKitError) else f"{type(error).__name__}: {error}"
