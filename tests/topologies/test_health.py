"""Health and ``flask redis info`` under Sentinel and on Cluster."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.informed import info, kit_on
from tests.harness.clusters import ClusterGroup
from tests.harness.sentinels import SentinelGroup


def test_under_sentinel_the_master_its_replicas_and_each_sentinel_are_asked(
    sentinels: SentinelGroup,
) -> None:
    with kit_on(sentinels.url) as kit:
        (found,) = kit.health()
        assert found.ok
        assert (found.topology, found.role) == ("sentinel", "master")
        ports = {f"127.0.0.1:{server.port}" for server in sentinels.replicas()}
        assert {replica.address for replica in found.replicas} == ports
        assert all(replica.online for replica in found.replicas)
        master = f"127.0.0.1:{sentinels.master().port}"
        assert [(s.ok, s.master) for s in found.sentinels] == [(True, master)] * 3
        code, output, errors = info(kit)
        assert code == 0
        assert output.count(f"the master is {master}") == 3
        assert "Sentinel" not in errors


def test_a_sentinel_that_is_gone_is_named_and_the_server_is_well(
    own_sentinels: Callable[..., SentinelGroup],
) -> None:
    group = own_sentinels()
    gone = group.daemons[1]
    with kit_on(group.url) as kit:
        gone.kill()
        (found,) = kit.health()
        assert found.ok
        assert [sentinel.ok for sentinel in found.sentinels] == [True, False, True]
        code, _, errors = info(kit)
        assert code == 0
        assert f"The Sentinel 127.0.0.1:{gone.port} can't be asked" in errors


def test_on_cluster_every_primary_is_asked(cluster: ClusterGroup) -> None:
    with kit_on(cluster.url) as kit:
        found = kit.health()
        ports = {f"127.0.0.1:{node.port}" for node in cluster.primaries()}
        assert {each.address for each in found} == ports
        assert all(each.ok and each.topology == "cluster" for each in found)
        assert sum(each.slots or 0 for each in found) == 16384
        assert all(len(each.replicas) == 1 for each in found)
        code, output, errors = info(kit)
        assert code == 0
        assert output.count("topology") == 3
        assert "replica" not in errors


def test_a_primary_that_is_gone_is_the_one_that_is_not_well(
    own_cluster: Callable[..., ClusterGroup],
) -> None:
    group = own_cluster(node_timeout=15)  # nobody is promoted meanwhile
    with kit_on(group.url) as kit:
        assert all(each.ok for each in kit.health())
        gone = group.primaries()[1]
        group.kill(gone)
        bad = [each.address for each in kit.health() if not each.ok]
        assert bad == [f"127.0.0.1:{gone.port}"]
        assert info(kit)[0] == 1
