"""From an ``Endpoint`` to connections: one pool, the user's clients, and clear errors.

A ``Connector`` is everything one process holds for one server: a blocking pool shared by the
user's client and the features, a second pool without a reply timeout for blocking commands, and the
circuit breaker. It connects at the first command, never before, and again in a forked child.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.sentinel import SentinelDirectory, SwitchWatcher
from flask_redis_kit.core.transport import (
    Embedded,
    Role,
    SentinelTcp,
    SentinelTls,
    Tcp,
    Tls,
    Unix,
)
from flask_redis_kit.core.url import Endpoint

VERSION = "0.1.0"
SENTINEL_SECONDS = 0.9
"""For connecting to all Sentinels in turn; each may take as long again to reply."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to reach one server. Times are seconds; ``extra`` goes to redis-py's connection as is."""

    endpoint: Endpoint
    max_connections: int = 50
    socket_timeout: float | None = 0.5
    socket_connect_timeout: float = 0.5
    pool_timeout: float = 0.2
    health_check_interval: float = 30.0
    decode_responses: bool = False
    client_name: str | None = None
    maintenance_notifications: bool = False
    client_class: type[redis.Redis] = redis.Redis
    breaker_failures: int = 3
    breaker_open_seconds: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


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
        self._sentinel: tuple[SentinelDirectory, SwitchWatcher] | None = None
        if settings.endpoint.kind == "sentinel":
            directory = SentinelDirectory(
                settings.endpoint.hosts,
                settings.endpoint.service or "mymaster",
                [Pool(**kwargs) for kwargs in self._sentinel_kwargs()],
                quorum=int(settings.endpoint.option("min_other_sentinels", 0)),  # type: ignore[arg-type]
            )
            self._sentinel = (directory, SwitchWatcher(directory, self.drop))
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
            with self._lock:
                client = self._client = self._client or self._make_client(self.pool)
        return client

    @property
    def blocking(self) -> redis.Redis:
        """A client whose replies may take for ever: for BLPOP, XREAD BLOCK and the like."""
        client = self._blocking
        if client is None:
            with self._lock:
                if self._blocking is None:
                    self._blocking = self._make_client(self.make_pool(socket_timeout=None))
                client = self._blocking
        return client

    @property
    def replica(self) -> redis.Redis:
        """A client that reads from replicas where there are any; what it reads may be old."""
        client = self._replica
        if client is None:
            with self._lock:
                if self._replica is None:
                    follows = {"role": "replica"} if self._sentinel is not None else {}
                    self._replica = self._make_client(self.make_pool(**follows))
                client = self._replica
        return client

    def dedicated(self, *, socket_timeout: float | None, max_connections: int = 1) -> redis.Redis:
        """A client of its own for one long-lived user (a hub, a worker); bytes, never decoded.

        The caller closes it. ``socket_timeout`` in seconds; None: wait for ever.
        """
        pool = self.make_pool(
            socket_timeout=socket_timeout, max_connections=max_connections, decode_responses=False
        )
        return redis.Redis(connection_pool=pool)

    def make_pool(self, **overrides: Any) -> Pool:
        """A new pool for this server; ``overrides`` beat the settings."""
        kwargs = self._connection_kwargs()
        kwargs.update(overrides)
        pool = Pool(
            wait=self.settings.pool_timeout,
            max_connections=kwargs.pop("max_connections", self.settings.max_connections),
            **kwargs,
        )
        self._pools.add(pool)
        return pool

    def drop(self) -> None:
        """The server at the other end is another one now: break every connection to the old."""
        for pool in list(self._pools):
            pool.drop()

    def close(self) -> None:
        """Close all connections; the embedded server is let go by its owner."""
        self.breaker.close()
        if self._sentinel is not None:
            directory, watcher = self._sentinel
            watcher.close()
            for pool in directory.pools:
                pool.disconnect()
        for pool in list(self._pools):
            pool.disconnect()

    def after_fork(self) -> None:
        """In a forked child: nothing of the parent's is used (the pools see the new pid too)."""
        self._lock = threading.Lock()
        self.breaker.after_fork()

    def _make_client(self, pool: Pool) -> redis.Redis:
        return self.settings.client_class(connection_pool=pool)

    def _probe(self) -> None:
        connection: Any = self.pool.get_connection()
        try:
            connection.send_command("PING", check_health=False)
            connection.read_response()
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self.pool.release(connection)

    def _connection_kwargs(self) -> dict[str, Any]:
        endpoint = self.settings.endpoint
        kwargs = self._common_kwargs()
        match endpoint.kind:
            case "tcp":
                host, port = endpoint.hosts[0]
                kwargs.update(host=host, port=port)
                kwargs["connection_class"] = Tls if endpoint.tls else Tcp
                kwargs["maint_notifications_config"] = MaintNotificationsConfig(
                    enabled="auto" if self.settings.maintenance_notifications else False
                )
            case "unix":
                kwargs.update(path=endpoint.path, connection_class=Unix)
            case "embedded":
                kwargs.update(embedded_server=self._embedded_server, connection_class=Embedded)
            case "sentinel":
                kwargs.update(self._follow_kwargs())
            case _:
                raise ConfigError(
                    f"REDIS_URL: {endpoint.kind} servers are not supported in this version; "
                    "use a redis://, rediss://, unix://, redis+sentinel:// or embedded:// URL.",
                    key="REDIS_URL",
                )
        return kwargs

    def _common_kwargs(self) -> dict[str, Any]:
        settings, endpoint = self.settings, self.settings.endpoint
        return {
            "db": endpoint.db,
            "username": endpoint.username,
            "password": endpoint.password,
            "socket_timeout": settings.socket_timeout,
            "socket_connect_timeout": settings.socket_connect_timeout,
            "health_check_interval": settings.health_check_interval,
            "decode_responses": settings.decode_responses,
            "client_name": settings.client_name,
            "retry": Retry(NoBackoff(), 0),
            **driver_name(),
            **settings.extra,
        }

    def _follow_kwargs(self) -> dict[str, Any]:
        assert self._sentinel is not None  # noqa: S101  # made first, see __init__
        endpoint = self.settings.endpoint
        directory, watcher = self._sentinel
        role: Role = "replica" if endpoint.option("role", "master") == "replica" else "master"
        return {
            "directory": directory,
            "watcher": watcher,
            "role": role,
            "force_master_ip": endpoint.option("force_master_ip", None),
            "connection_class": SentinelTls if endpoint.tls else SentinelTcp,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    def _sentinel_kwargs(self) -> Iterator[dict[str, Any]]:
        """The connection of each Sentinel: its own credentials, short waits, no retries."""
        endpoint = self.settings.endpoint
        own = {
            name.removeprefix("sentinel_"): value
            for name, value in endpoint.options
            if name.startswith("sentinel_")
        }
        shared = {n: v for n, v in self.settings.extra.items() if n.startswith("ssl_")}
        # all of them in turn must have had their chance within two seconds
        wait = min(self.settings.socket_connect_timeout, SENTINEL_SECONDS / len(endpoint.hosts))
        for host, port in endpoint.hosts:
            yield {
                "host": host,
                "port": port,
                "connection_class": Tls if endpoint.tls else Tcp,
                "socket_timeout": wait,
                "socket_connect_timeout": wait,
                "protocol": 2,
                "retry": Retry(NoBackoff(), 0),
                "maint_notifications_config": MaintNotificationsConfig(enabled=False),
                **shared,
                **own,
            }


def driver_name() -> dict[str, Any]:
    """How ``CLIENT LIST`` shows us; redis-py before 7.2 knows no ``driver_info``."""
    try:
        from redis.driver_info import DriverInfo  # noqa: PLC0415  # not in every redis-py
    except ImportError:
        return {"lib_name": f"redis-py(flask-redis-kit_v{VERSION})"}
    return {"driver_info": DriverInfo().add_upstream_driver("flask-redis-kit", VERSION)}
