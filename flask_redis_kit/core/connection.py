"""From an ``Endpoint`` to connections: one pool, the user's clients, and clear errors.

A ``Connector`` is everything one process holds for one server: a blocking pool shared by the
user's client and the features, a second pool without a reply timeout for blocking commands, and the
circuit breaker. It connects at the first command, never before, and again in a forked child.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.driver_info import DriverInfo
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from flask_redis_kit.core.diagnosis import Diagnosis
from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.url import Endpoint

VERSION = "0.1.0"


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


class _Tcp(Diagnosis, Connection):
    """A TCP connection whose errors name the address and the cure."""


class _Tls(Diagnosis, SSLConnection):
    """A TLS connection whose errors name the address and the cure."""


class _Unix(Diagnosis, UnixDomainSocketConnection):
    """A unix socket connection whose errors name the path and the cure."""


class _Embedded(Diagnosis, UnixDomainSocketConnection):
    """A connection to the application's own server, which it starts where it isn't running."""

    def __init__(self, *, embedded_server: EmbeddedServer, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._embedded_server = embedded_server

    def _connect(self) -> Any:
        self.path = self._embedded_server.ensure()
        try:
            return super()._connect()  # type: ignore[no-untyped-call]
        except OSError:
            # it died, or its last owner left while we joined: join or start it anew
            self.path = self._embedded_server.ensure(verify=True)
            return super()._connect()  # type: ignore[no-untyped-call]


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
        self._blocking: redis.Redis | None = None
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
        return Pool(
            wait=self.settings.pool_timeout,
            max_connections=kwargs.pop("max_connections", self.settings.max_connections),
            **kwargs,
        )

    def close(self) -> None:
        """Close all connections; the embedded server is let go by its owner."""
        self.breaker.close()
        self.pool.disconnect()
        if self._blocking is not None:
            self._blocking.connection_pool.disconnect()

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
        settings, endpoint = self.settings, self.settings.endpoint
        kwargs: dict[str, Any] = {
            "db": endpoint.db,
            "username": endpoint.username,
            "password": endpoint.password,
            "socket_timeout": settings.socket_timeout,
            "socket_connect_timeout": settings.socket_connect_timeout,
            "health_check_interval": settings.health_check_interval,
            "decode_responses": settings.decode_responses,
            "client_name": settings.client_name,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": DriverInfo().add_upstream_driver("flask-redis-kit", VERSION),
            **settings.extra,
        }
        if endpoint.kind == "tcp":
            host, port = endpoint.hosts[0]
            kwargs.update(host=host, port=port)
            kwargs["connection_class"] = _Tls if endpoint.tls else _Tcp
            kwargs["maint_notifications_config"] = MaintNotificationsConfig(
                enabled="auto" if settings.maintenance_notifications else False
            )
        elif endpoint.kind == "unix":
            kwargs.update(path=endpoint.path, connection_class=_Unix)
        elif endpoint.kind == "embedded":
            kwargs.update(embedded_server=self._embedded_server, connection_class=_Embedded)
        else:
            raise ConfigError(
                f"REDIS_URL: {endpoint.kind} servers are not supported in this version; "
                "use a redis://, rediss://, unix:// or embedded:// URL.",
                key="REDIS_URL",
            )
        return kwargs
