"""From an ``Endpoint`` to connections: one pool, the user's clients, and clear errors.

A ``Connector`` is everything one process holds for one server: a blocking pool shared by the
user's client and the features, a second pool without a reply timeout for blocking commands, and the
circuit breaker. It connects at the first command, never before, and again in a forked child.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import Any

import redis
from redis.exceptions import NoPermissionError
from redis.maint_notifications import MaintNotificationsConfig
from werkzeug.utils import import_string

from flask_redis_kit.core.cluster import ClusterNodes
from flask_redis_kit.core.clustering import Clustering
from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.following import Following
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.settings import ConnectionSettings
from flask_redis_kit.core.transport import (
    Embedded,
    Tcp,
    Tls,
    Unix,
)

# redis-py 7 wants them on every connection that speaks RESP3, and then trips over a unix socket
_NO_MAINTENANCE = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}


class Connector:
    """All that this process holds for one server."""

    def __init__(
        self, settings: ConnectionSettings, *, embedded_server: EmbeddedServer | None = None
    ) -> None:
        self.settings = settings
        self.address = settings.endpoint.address
        self._embedded_server = embedded_server
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        self._replica: redis.Redis | None = None
        self._blocking: redis.Redis | None = None
        self._pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        self.following: Following | None = None
        """Where the master is, under Sentinel."""
        if settings.endpoint.kind == "sentinel":
            self.following = Following(settings, self._pools)
        self.clustering: Clustering | None = None
        """The nodes, on Cluster."""
        if settings.endpoint.kind == "cluster":
            remap = settings.endpoint.option("address_remap", None)
            found = import_string(str(remap)) if remap else None
            self.clustering = Clustering(settings, self._pools, found)
        self.pool = self.make_pool()
        self.breaker = CircuitBreaker(
            self.address,
            self._probe,
            failures=settings.breaker_failures,
            open_seconds=settings.breaker_open_seconds,
        )
        renew_in_child(self)

    @property
    def client(self) -> redis.Redis:
        """The user's client on the shared pool."""
        client = self._client
        if client is None:
            self._find_nodes()
            with self._lock:
                if self._client is None:
                    self._client = (
                        self.clustering.client()
                        if self.clustering is not None
                        else self._make_client(self.pool)
                    )
                client = self._client
        return client

    @property
    def blocking(self) -> redis.Redis:
        """A client whose replies may take for ever: for BLPOP, XREAD BLOCK and the like."""
        client = self._blocking
        if client is None:
            self._find_nodes()
            with self._lock:
                if self._blocking is None:
                    self._blocking = (
                        self.clustering.client(socket_timeout=None)
                        if self.clustering is not None
                        else self._make_client(self.make_pool(socket_timeout=None))
                    )
                client = self._blocking
        return client

    @property
    def replica(self) -> redis.Redis:
        """A client that reads from replicas where there are any; what it reads may be old."""
        client = self._replica
        if client is None:
            self._find_nodes()
            with self._lock:
                if self._replica is None:
                    follows = {"role": "replica"} if self.following is not None else {}
                    self._replica = (
                        self.clustering.replica_client()
                        if self.clustering is not None
                        else self._make_client(self.make_pool(**follows))
                    )
                client = self._replica
        return client

    def dedicated(
        self, *, socket_timeout: float | None, max_connections: int = 1, key: str = ""
    ) -> redis.Redis:
        """A client of its own for one long-lived user (a hub, a worker); bytes, never decoded.

        The caller closes it. ``socket_timeout`` in seconds; None: wait for ever. On Cluster it
        connects to the node that holds ``key``, or to any without one.
        """
        pool = self.make_pool(
            socket_timeout=socket_timeout,
            max_connections=max_connections,
            decode_responses=False,
            key=key,
        )
        return redis.Redis(connection_pool=pool)

    def make_pool(self, *, key: str = "", **overrides: Any) -> Pool:
        """A new pool; ``overrides`` beat the settings; ``key`` is as in ``dedicated``."""
        kwargs = self._connection_kwargs(key)
        kwargs.update(overrides)
        pool = Pool(
            wait=self.settings.pool_timeout,
            max_connections=kwargs.pop("max_connections", self.settings.max_connections),
            names=self.settings.names,
            **kwargs,
        )
        self._pools.add(pool)
        return pool

    @property
    def nodes(self) -> ClusterNodes | None:
        """The slot table, on Cluster."""
        return None if self.clustering is None else self.clustering.nodes

    def close(self) -> None:
        """Close all connections; the embedded server is let go by its owner."""
        self.breaker.close()
        if self.following is not None:
            self.following.close()
        if self.clustering is not None:
            self.clustering.close()
        clients: tuple[object, ...] = (self._client, self._blocking, self._replica)
        for client in clients:
            if isinstance(client, redis.RedisCluster):
                client.close()
        for pool in list(self._pools):
            pool.disconnect()

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's is used (the pools see the new pid too)."""
        self._lock = threading.Lock()
        self.breaker.after_fork()

    def _find_nodes(self) -> None:
        """redis-py's client for a cluster connects when made: nobody may wait for that in turn."""
        if self.clustering is not None:
            self.clustering.nodes.primaries()

    def _make_client(self, pool: Pool) -> redis.Redis:
        return self.settings.client_class(connection_pool=pool)

    def _probe(self) -> None:
        _ping(self.pool)

    def _connection_kwargs(self, key: str = "") -> dict[str, Any]:
        endpoint = self.settings.endpoint
        kwargs = self.settings.connection_kwargs()
        match endpoint.kind:
            case "tcp":
                host, port = endpoint.hosts[0]
                kwargs.update(host=host, port=port)
                kwargs["connection_class"] = Tls if endpoint.tls else Tcp
                kwargs["maint_notifications_config"] = MaintNotificationsConfig(
                    enabled="auto" if self.settings.maintenance_notifications else False
                )
            case "unix":
                kwargs.update(path=endpoint.path, connection_class=Unix, **_NO_MAINTENANCE)
            case "embedded":
                kwargs.update(embedded_server=self._embedded_server, connection_class=Embedded)
                kwargs.update(_NO_MAINTENANCE)
            case "sentinel":
                assert self.following is not None  # noqa: S101  # made first, see __init__
                kwargs.update(self.following.connection_kwargs())
            case "cluster":
                assert self.clustering is not None  # noqa: S101  # made first, see __init__
                kwargs.update(self.clustering.connection_kwargs(key))
        return kwargs


def _ping(pool: Pool) -> None:
    connection: Any = pool.get_connection()
    try:
        connection.send_command("PING", check_health=False)
        with contextlib.suppress(NoPermissionError):  # it answers all the same
            connection.read_response()
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
