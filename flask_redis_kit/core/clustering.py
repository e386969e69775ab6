"""All that a process holds to reach a Cluster: its slot table, the nodes' pools, arguments."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import redis
from redis.cluster import ClusterNode, LoadBalancingStrategy
from redis.exceptions import RedisClusterException
from redis.maint_notifications import MaintNotificationsConfig

from flask_redis_kit.core.cluster import Address, ClusterNodes, Node
from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.settings import ConnectionSettings
from flask_redis_kit.core.transport import RoutedTcp, RoutedTls, Tcp, Tls
from flask_redis_kit.core.url import named

_OF_THE_CLIENT = ("require_full_coverage", "dynamic_startup_nodes", "reinitialize_steps")


class Clustering:
    """One cluster; the pools it makes join ``pools``. Connects to nothing by itself.

    ``remap``: renames the addresses that nodes announce (the option ``address_remap``).
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        pools: weakref.WeakSet[Pool],
        remap: Callable[[Address], Address] | None,
    ) -> None:
        self._settings = settings
        self._pools = pools
        self._remap = remap
        self.nodes = ClusterNodes(settings.endpoint.hosts, self._make_node, remap)

    def connection_kwargs(self, key: str) -> dict[str, Any]:
        """What a pool needs on top of the common arguments to follow the node that has ``key``."""
        return {
            "nodes": self.nodes,
            "key": key,
            "connection_class": RoutedTls if self._settings.endpoint.tls else RoutedTcp,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }

    def client(self, **overrides: Any) -> redis.Redis:
        """redis-py's own client for a cluster, with our settings.

        It connects at once: raises ``ServerUnavailable`` naming every node if none answers.
        """
        endpoint = self._settings.endpoint
        kwargs = self._settings.connection_kwargs()
        del kwargs["db"]  # its one database; redis-py refuses the argument
        for name in _OF_THE_CLIENT:
            if endpoint.option(name, None) is not None:
                kwargs[name] = endpoint.option(name, None)
        balancing = endpoint.option("load_balancing", None)
        if balancing is not None:
            kwargs["load_balancing_strategy"] = LoadBalancingStrategy(balancing)
        kwargs.update(overrides)
        # whoever answered us: of dead seeds redis-py waits for each in turn
        startup = [node.address for node in self.nodes.primaries()]
        try:
            client: Any = redis.RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in startup],  # type: ignore[no-untyped-call]
                ssl=endpoint.tls,
                max_connections=self._settings.max_connections,
                address_remap=self._remap,
                **kwargs,
            )
        except RedisClusterException as error:
            at = self.nodes.names
            raise ServerUnavailable(f"The cluster at {at}: {error}", address=at) from error
        found: redis.Redis = client
        return found

    def replica_client(self) -> redis.Redis:
        """The same, but it reads from replicas."""
        if self._settings.endpoint.option("load_balancing", None) is not None:
            return self.client()
        return self.client(load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN_REPLICAS)

    def close(self) -> None:
        """Close all connections to the nodes."""
        self.nodes.close()

    def _make_node(self, address: Address, probe: Callable[[], None]) -> Node:
        settings = self._settings
        host, port = address
        pool = Pool(
            wait=settings.pool_timeout,
            names=settings.names,
            max_connections=settings.max_connections,
            host=host,
            port=port,
            connection_class=Tls if settings.endpoint.tls else Tcp,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            **settings.connection_kwargs(),
        )
        self._pools.add(pool)
        breaker = CircuitBreaker(
            named(address),
            probe,
            failures=settings.breaker_failures,
            open_seconds=settings.breaker_open_seconds,
        )
        return Node(address, pool, breaker)
