"""All that a process holds to follow a service's master: directory, watcher, arguments."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from redis.maint_notifications import MaintNotificationsConfig

from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.sentinel import Address, Keep, SentinelDirectory
from flask_redis_kit.core.settings import ConnectionSettings, no_retry
from flask_redis_kit.core.transport import DaemonTcp, DaemonTls, SentinelTcp, SentinelTls, Tcp, Tls
from flask_redis_kit.core.watcher import SwitchWatcher

SENTINEL_SECONDS = 0.9
"""For connecting to all Sentinels in turn; each may take as long again to reply."""


class Following:
    """Follows the master for all pools in ``pools``. Connects to nothing by itself."""

    def __init__(self, settings: ConnectionSettings, pools: weakref.WeakSet[Pool]) -> None:
        endpoint = settings.endpoint
        self._tls = endpoint.tls
        self.directory = SentinelDirectory(
            endpoint.hosts,
            endpoint.service or "mymaster",
            [Pool(names=settings.names, **kwargs) for kwargs in _daemons(settings)],
            drop=_dropper(pools),
            is_master=_asker(settings),
            quorum=int(endpoint.option("min_other_sentinels", 0)),  # type: ignore[arg-type]
            force_master_ip=endpoint.option("force_master_ip", None),  # type: ignore[arg-type]
        )
        self.watcher = SwitchWatcher(self.directory)
        self._role = endpoint.option("role", "master")
        # its threads hold the watcher, never us: who drops the kit without closing it ends them
        weakref.finalize(self, self.watcher.close)

    def connection_kwargs(self) -> dict[str, Any]:
        """What a pool needs on top of the common arguments."""
        return {
            "directory": self.directory,
            "watcher": self.watcher,
            "role": self._role,
            "connection_class": SentinelTls if self._tls else SentinelTcp,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    def close(self) -> None:
        """End the threads and the connections to the Sentinels."""
        self.watcher.close()
        for pool in self.directory.pools:
            pool.disconnect()


def _dropper(pools: weakref.WeakSet[Pool]) -> Any:
    def drop(keep: Keep, *, at_once: bool) -> None:
        for pool in list(pools):
            pool.drop(keep, at_once=at_once)

    return drop


def _asker(settings: ConnectionSettings) -> Callable[[Address], bool]:
    """Asks a server itself whether it is a master."""
    make = Tls if settings.endpoint.tls else Tcp
    common = settings.connection_kwargs()
    common["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)

    def is_master(address: Address) -> bool:
        host, port = address
        connection: Any = make(host=host, port=port, **common)
        try:
            connection.connect()
            connection.send_command("ROLE", check_health=False)
            return bool(connection.read_response(disable_decoding=True)[0] == b"master")
        finally:
            connection.disconnect()

    return is_master


def _daemons(settings: ConnectionSettings) -> Iterator[dict[str, Any]]:
    """The connection of each Sentinel: its own credentials, short waits, no retries."""
    endpoint = settings.endpoint
    own = {
        name.removeprefix("sentinel_"): value
        for name, value in endpoint.options
        if name.startswith("sentinel_")
    }
    shared = {name: value for name, value in settings.extra.items() if name.startswith("ssl_")}
    # all of them in turn must have had their chance within two seconds
    wait = min(settings.socket_connect_timeout, SENTINEL_SECONDS / len(endpoint.hosts))
    for host, port in endpoint.hosts:
        yield {
            "host": host,
            "port": port,
            "connection_class": DaemonTls if endpoint.tls else DaemonTcp,
            "socket_timeout": wait,
            "socket_connect_timeout": wait,
            "protocol": 2,
            "retry": no_retry(),
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            **shared,
            **own,
        }
