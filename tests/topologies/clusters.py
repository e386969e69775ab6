"""Fixtures: one Cluster for the whole run, more for tests that break one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flask_redis_kit.core.wire import Wire
from tests.core.connecting import wire_to
from tests.harness.clusters import ClusterGroup
from tests.harness.engines import Engine
from tests.harness.leaks import declared_keyspace, unexpected_persistent_keys

StartCluster = Callable[..., ClusterGroup]


@pytest.fixture(scope="session")
def session_cluster(engine: Engine) -> Iterator[ClusterGroup]:
    """One Cluster for each test process. Tests ask for ``cluster``, which cleans up.

    Nothing is broken there, so a busy machine must not make its nodes vote each other out.
    """
    with ClusterGroup(engine, node_timeout=15) as group:
        yield group


@pytest.fixture
def cluster(session_cluster: ClusterGroup) -> Iterator[ClusterGroup]:
    """A Cluster in which all is well, empty. What it holds afterwards must be declared."""
    session_cluster.flush()
    yield session_cluster
    leaks: list[bytes] = []
    for node in session_cluster.primaries():
        with node.client() as client:
            leaks += unexpected_persistent_keys(client, declared_keyspace())
    session_cluster.flush()
    if leaks:
        pytest.fail(f"keys without a TTL or a KeySpec: {leaks}", pytrace=False)


@pytest.fixture
def own_cluster(engine: Engine) -> Iterator[StartCluster]:
    """Starts Clusters for this test alone; options as ``ClusterGroup``'s."""
    groups: list[ClusterGroup] = []

    def start(**options: object) -> ClusterGroup:
        groups.append(ClusterGroup(**{"engine": engine, **options}))  # type: ignore[arg-type]
        return groups[-1]

    yield start
    for group in groups:
        group.stop()


@pytest.fixture
def wire(cluster: ClusterGroup) -> Iterator[Wire]:
    """A wire to the Cluster of the run."""
    with wire_to(cluster.url) as wire:
        yield wire
