"""redis-py's connections with the kit's ways: clear errors, the embedded server, Sentinel."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Literal

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import MasterDownError, ReadOnlyError

from flask_redis_kit.core.cluster import GLANCE_SECONDS, ClusterNodes
from flask_redis_kit.core.diagnosis import Diagnosis
from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import ServerError, ServerUnavailable
from flask_redis_kit.core.sentinel import (
    EXPECTED_SECONDS,
    Address,
    Demoted,
    SentinelDirectory,
)
from flask_redis_kit.core.watcher import SwitchWatcher

Role = Literal["master", "replica"]


class Tcp(Diagnosis, Connection):
    """A TCP connection."""


class Tls(Diagnosis, SSLConnection):
    """A TLS connection."""


class _Daemon(Diagnosis):
    @property
    def credentials(self) -> str:
        """Where the settings say who we are."""
        return self.names.sentinel_credentials


class DaemonTcp(_Daemon, Connection):
    """A TCP connection to a Sentinel."""


class DaemonTls(_Daemon, SSLConnection):
    """A TLS connection to a Sentinel."""


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

    socket_timeout: float | None
    connects = 3  # a failover cuts connections to the old master and to the new one

    def __init__(
        self, *, directory: SentinelDirectory, watcher: SwitchWatcher, role: Role, **kwargs: Any
    ) -> None:
        super().__init__(host="", port=0, **kwargs)  # type: ignore[call-arg]  # redis-py's, below
        self._directory = directory
        self._watcher = watcher
        self._role = role
        self._deadline = 0.0
        self.is_replica = False
        """Whether it goes to a replica by choice."""
        self.followed: Address | None = None
        """Where Sentinel said to connect."""

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """As any; during a failover it waits for the new master as long as for a reply."""
        wait = EXPECTED_SECONDS if self.socket_timeout is None else self.socket_timeout
        self._deadline = time.monotonic() + wait
        while True:
            try:
                return super().connect_check_health(*args, **kwargs)
            except Demoted:
                if time.monotonic() >= self._deadline:
                    raise

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """As any; a master that refuses writes is not asked again before Sentinel is.

        Only the user's client reads like this; the wire has its own way, and tells us itself.
        """
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]  # redis-py's
        except (ReadOnlyError, MasterDownError):
            if not self.is_replica:
                self._directory.demoted()
            raise

    def _connect(self) -> Any:
        self._watcher.start()
        for address in self._directory.replicas() if self._role == "replica" else ():
            try:
                return self._connect_to(address, is_replica=True)
            except OSError:
                continue
        left = max(0.0, self._deadline - time.monotonic())
        return self._connect_to(self._directory.master(left), is_replica=False)

    def _connect_to(self, address: Address, *, is_replica: bool) -> Any:
        self.host, self.port = self.followed = address
        self.is_replica = is_replica
        return super()._connect()  # type: ignore[misc]  # redis-py's, below

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """The handshake, and the server's own word on its role."""
        super().on_connect_check_health(*args, **kwargs)
        if self.is_replica:
            return
        self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        role = self.read_response(disable_decoding=True)
        if role[0] == b"master":
            return
        if role[0] == b"slave":  # of whom, it knows before any Sentinel does
            self._directory.expect((role[1].decode(), int(role[2])))
        raise Demoted(
            f"{self.address} is no master now; a failover of {self._directory.service!r} goes on.",
            address=self.address,
        )


class _Routed(Diagnosis):
    """Asks a Cluster's slot table where to connect, at every connect."""

    def __init__(self, *, nodes: ClusterNodes, key: str, **kwargs: Any) -> None:
        super().__init__(host="", port=0, **kwargs)  # type: ignore[call-arg]  # redis-py's, below
        self._nodes = nodes
        self._key = key

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """As any; if the node is gone, the next connect goes to who took its place."""
        try:
            super().connect_check_health(*args, **kwargs)
        except ServerUnavailable:
            if self._nodes.known:
                with contextlib.suppress(ServerError):
                    self._nodes.refresh(last=(self.host, self.port), seconds=GLANCE_SECONDS)
            raise

    def _connect(self) -> Any:
        self.host, self.port = self._nodes.of_key(self._key).address
        return super()._connect()  # type: ignore[misc]  # redis-py's, below


class RoutedTcp(_Routed, Connection):
    """A TCP connection to the node that a slot is on."""


class RoutedTls(_Routed, SSLConnection):
    """A TLS connection to the node that a slot is on."""


class SentinelTcp(_Followed, Connection):
    """A TCP connection to where Sentinel says."""


class SentinelTls(_Followed, SSLConnection):
    """A TLS connection to where Sentinel says."""
