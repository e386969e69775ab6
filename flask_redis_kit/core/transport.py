"""redis-py's connections with the kit's ways: clear errors, the embedded server, Sentinel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from flask_redis_kit.core.diagnosis import Diagnosis
from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.sentinel import SentinelDirectory, SwitchWatcher

Role = Literal["master", "replica"]


class Tcp(Diagnosis, Connection):
    """A TCP connection."""


class Tls(Diagnosis, SSLConnection):
    """A TLS connection."""


class Unix(Diagnosis, UnixDomainSocketConnection):
    """A unix socket connection."""


class Embedded(Diagnosis, UnixDomainSocketConnection):
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


class _Followed(Diagnosis):
    """Asks Sentinel where to connect, at every connect, and makes sure of the server's role."""

    _connected_role: Role

    def __init__(
        self,
        *,
        directory: SentinelDirectory,
        watcher: SwitchWatcher,
        role: Role,
        force_master_ip: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(host="", port=0, **kwargs)  # type: ignore[call-arg]  # redis-py's, below
        self._directory = directory
        self._watcher = watcher
        self._role = role
        self._force_master_ip = force_master_ip

    def _connect(self) -> Any:
        self._watcher.start()
        replicas = self._directory.replicas() if self._role == "replica" else []
        for host, port in replicas:
            try:
                return self._connect_to(host, port, "replica")
            except OSError:
                continue
        host, port = self._directory.master()
        return self._connect_to(self._force_master_ip or host, port, "master")

    def _connect_to(self, host: str, port: int, role: Role) -> Any:
        self.host, self.port, self._connected_role = host, port, role
        return super()._connect()  # type: ignore[misc]  # redis-py's, below

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """The handshake, and the server's own word on its role."""
        super().on_connect_check_health(*args, **kwargs)
        if self._connected_role == "replica":
            return
        self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        role = self.read_response(disable_decoding=True)  # type: ignore[attr-defined]
        if role[0] != b"master":
            raise ServerUnavailable(
                f"{self.address} is no master now; a failover of {self._directory.service!r} goes "
                "on.",
                address=self.address,
            )


class _Routed(Diagnosis):
    """Asks a Cluster's slot table where to connect, at every connect."""

    def __init__(self, *, locate: Callable[[], tuple[str, int]], **kwargs: Any) -> None:
        super().__init__(host="", port=0, **kwargs)  # type: ignore[call-arg]  # redis-py's, below
        self._locate = locate

    def _connect(self) -> Any:
        self.host, self.port = self._locate()
        return super()._connect()  # type: ignore[misc]  # redis-py's, below


class RoutedTcp(_Routed, Connection):
    """A TCP connection to the node that a slot is on."""


class RoutedTls(_Routed, SSLConnection):
    """A TLS connection to the node that a slot is on."""


class SentinelTcp(_Followed, Connection):
    """A TCP connection to where Sentinel says."""


class SentinelTls(_Followed, SSLConnection):
    """A TLS connection to where Sentinel says."""
