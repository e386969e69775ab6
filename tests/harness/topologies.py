"""Groups that stand in for the one server of the tests: ``--topology sentinel`` and ``cluster``.

What only one server has (a process to kill, a socket, a proxy in front of it) skips the test that
asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import pytest
import redis
from redis.cluster import ClusterNode

from tests.harness.clusters import ClusterGroup
from tests.harness.engines import Engine
from tests.harness.proxy import Proxy
from tests.harness.sentinels import SERVICE, SentinelGroup
from tests.harness.servers import Server

TOPOLOGIES = ("standalone", "sentinel", "cluster")
FEATURES = ("cache", "events", "queue", "ratelimit", "sessions")
"""The folders of tests that run on every topology."""
_ONE_SERVER = ("any_engine", "certificates", "own_server", "tls_server")
"""Fixtures that start servers of their own."""
_ATTRIBUTES = ("directory", "engine", "password", "port", "socket_path", "tls")
"""What only the instances of a server or a proxy have."""
_PATIENCE = 15.0
"""Seconds: nothing is broken on purpose, so a busy machine must not cause a failover."""


class _ClusterClient(redis.RedisCluster):
    """Asks every node what redis-py's asks one."""

    def _each(self, method: str, *args: Any, **options: Any) -> list[Any]:
        nodes: list[ClusterNode] = self.get_nodes()  # type: ignore[no-untyped-call]
        return [getattr(self.get_redis_connection(n), method)(*args, **options) for n in nodes]

    def keys(self, pattern: str = "*") -> list[Any]:  # type: ignore[override]
        return list(self.scan_iter(pattern, count=1000))

    def info(self, section: str) -> dict[str, Any]:  # type: ignore[override]
        """Numbers are sums."""
        total: dict[str, Any] = {}
        for found in self._each("info", section):
            for name, value in found.items():
                known = total.get(name, 0)
                total[name] = known + value if isinstance(value, int | float) else value
        return total

    def config_set(self, *settings: Any) -> bool:  # type: ignore[override]
        return all(self._each("config_set", *settings))

    def client_list(self, **options: Any) -> list[Any]:  # type: ignore[override]
        return [each for found in self._each("client_list", **options) for each in found]

    def client_kill_filter(self, **options: Any) -> int:  # type: ignore[override]
        return sum(self._each("client_kill_filter", **options))

    def pubsub_channels(self, pattern: str = "*") -> list[Any]:  # type: ignore[override]
        return [each for found in self._each("pubsub_channels", pattern) for each in found]

    def pubsub_numsub(self, *channels: Any) -> list[Any]:  # type: ignore[override]
        total = dict.fromkeys(channels, 0)
        for found in self._each("pubsub_numsub", *channels):
            for channel, count in found:
                total[channel] += count
        return list(total.items())


class _Sentinels:
    def __init__(self, group: SentinelGroup) -> None:
        self._group = group
        self.url = group.url

    def __getattr__(self, name: str) -> NoReturn:
        _skip("server", Server, name)

    def client(self, **options: Any) -> redis.Redis:
        return self._group.master().client(**options)

    def revive(self) -> None:
        """No test breaks it."""

    def primaries(self) -> list[Server]:
        return [self._group.master()]


class _Cluster:
    def __init__(self, group: ClusterGroup) -> None:
        self._group = group
        self.url = group.url

    def __getattr__(self, name: str) -> NoReturn:
        _skip("server", Server, name)

    def client(self, **options: Any) -> redis.Redis:
        return _cluster_client([node.port for node in self._group.nodes], **options)

    def revive(self) -> None:
        """No test breaks it."""

    def primaries(self) -> list[Server]:
        return self._group.primaries()


class _Direct:
    """Where a proxy would be: its address leads straight there, and it counts nothing."""

    def __init__(self, url: str) -> None:
        self.url = url

    def reset(self) -> None:
        """Nothing was counted."""

    def __getattr__(self, name: str) -> NoReturn:
        _skip("proxy", Proxy, name)


@contextmanager
def stand_in(topology: str, engine: Engine) -> Iterator[Server]:
    """A group that has ``url``, ``client()`` and ``revive()`` as a server does."""
    if topology == "sentinel":
        with SentinelGroup(engine) as sentinels:
            yield cast("Server", _Sentinels(sentinels))
    else:
        with ClusterGroup(engine, node_timeout=_PATIENCE) as cluster:
            yield cast("Server", _Cluster(cluster))


def direct(url: str) -> Proxy:
    """What stands in for the proxy on a group."""
    return cast("Proxy", _Direct(url))


def data_servers(server: Server) -> list[Server]:
    """The servers that keys are written to: itself, or the primaries of the group."""
    stand: object = server
    return stand.primaries() if isinstance(stand, _Sentinels | _Cluster) else [server]


def client_of(url: str, **options: Any) -> redis.Redis:
    """A plain client of what a test's URL names, for the processes of tests."""
    scheme, _, rest = url.partition("://")
    if "+" not in scheme:
        return redis.Redis.from_url(url, **options)
    ports = [int(host.rpartition(":")[2]) for host in rest.partition("/")[0].split(",")]
    if scheme == "redis+cluster":
        return _cluster_client(ports, **options)
    with redis.Redis(port=ports[0], decode_responses=True) as daemon:
        host, port = cast(
            "list[str]", daemon.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        )
    return redis.Redis(host=host, port=int(port), **options)


def why_standalone(item: pytest.Item) -> str | None:
    """Why this test needs one server: a fixture, or the marker's ``reason``."""
    if marker := item.get_closest_marker("standalone"):
        reason: str | None = marker.kwargs.get("reason", next(iter(marker.args), None))
        if not reason:
            raise pytest.UsageError(f"{item.nodeid}: the marker standalone needs a reason")
        return reason
    names = sorted(set(_ONE_SERVER).intersection(getattr(item, "fixturenames", ())))
    return f"it starts servers of its own: {', '.join(names)}" if names else None


def _cluster_client(ports: list[int], **options: Any) -> redis.Redis:
    nodes = [ClusterNode("127.0.0.1", port) for port in ports]  # type: ignore[no-untyped-call]
    # redis-py's two clients share no base class; the commands are the same
    return cast("redis.Redis", _ClusterClient(startup_nodes=nodes, **options))


def _skip(fixture: str, kind: type[Server | Proxy], name: str) -> NoReturn:
    if not hasattr(kind, name) and name not in _ATTRIBUTES:
        raise AttributeError(name)  # pytest, hypothesis and copy look for theirs
    pytest.skip(f"needs one server: {fixture}.{name}")
