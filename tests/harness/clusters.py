"""Real Clusters: three primaries with a replica each, that agree before they are handed out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.crc import key_slot

from tests.harness.certificates import Certificates
from tests.harness.engines import Engine
from tests.harness.servers import Server
from tests.waiting import wait_until

SLOTS = 16384
CALM = 15.0
"""Seconds: a node that a busy machine keeps waiting must not be voted out."""
PRIMARIES = 3
_ARGUMENTS = (
    *("--cluster-enabled", "yes"),
    *("--cluster-node-timeout", "1000"),  # they also meet the faster for it
    # an election however long the replica was without its primary; none moves by itself
    *("--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"),
    # a full copy begins at once, and ends with the next ping
    *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
)


def slot_of(key: str) -> int:
    """The slot of a key."""
    return key_slot(key.encode())


class ClusterGroup:
    """Six servers on free ports of 127.0.0.1. The first three begin as primaries.

    ``node_timeout``: seconds of silence after which the others vote out a primary that was killed,
    see ``hurry()``; as long as nothing is broken it is ``CALM``. ``password`` and ``certificates``
    are those of all nodes, among themselves, too.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        node_timeout: float = 1.0,
        password: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._scheme = "rediss+cluster" if certificates else "redis+cluster"
        self._userinfo = f":{quote(password, safe='')}@" if password else ""
        args = [*_ARGUMENTS]
        args += ["--masterauth", password] if password else []
        tls = None if certificates is None else certificates.server
        if certificates is not None:
            args += ["--tls-cluster", "yes", "--tls-replication", "yes"]
            args += ["--tls-client-cert-file", certificates.client.certificate]
            args += ["--tls-client-key-file", certificates.client.key]
        self._node_timeout = node_timeout
        self._hurried = False
        self._paused: set[Server] = set()
        self.nodes: list[Server] = []
        self._ids: dict[Server, str] = {}
        try:
            for _ in range(2 * PRIMARIES):
                self.nodes.append(Server(engine, args=args, password=password, tls=tls))
            self._join()
            self._hurried = True
            self._calm()
        except BaseException:
            self.stop()
            raise

    # where things are

    @property
    def url(self) -> str:
        """All nodes as seeds."""
        return self.url_of(*self.nodes)

    def url_of(self, *nodes: Server) -> str:
        """These nodes as seeds."""
        seeds = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return f"{self._scheme}://{self._userinfo}{seeds}"

    def client(self, node: Server, **options: Any) -> Any:
        """A plain client of one node (redis-py has no types for CLUSTER)."""
        return node.client(**options)

    def primaries(self) -> list[Server]:
        """The nodes that serve slots, as a running node sees it, in the order of their slots."""
        ranges = sorted(self._slots(self._running()[0]))
        ports = dict.fromkeys(int(primary[1]) for _, _, primary, *_ in ranges)
        return [self._by_port(port) for port in ports]

    def primary_of(self, key: str) -> Server:
        """The node that serves a key."""
        return self.primary_of_slot(slot_of(key))

    def primary_of_slot(self, slot: int) -> Server:
        """The node that serves a slot."""
        for start, end, primary, *_ in self._slots(self._running()[0]):
            if start <= slot <= end:
                return self._by_port(int(primary[1]))
        raise AssertionError(f"nobody serves slot {slot}")

    def replica_of(self, primary: Server) -> Server:
        """The replica of a primary."""
        for _, _, found, *replicas in self._slots(primary):
            if int(found[1]) == primary.port and replicas:
                return self._by_port(int(replicas[0][1]))
        raise AssertionError(f"{primary.port} has no replica")

    def key_on(self, primary: Server, name: str = "k") -> str:
        """A key that this primary serves: ``{name<n>}``."""
        ranges = [(a, b) for a, b, p, *_ in self._slots(primary) if int(p[1]) == primary.port]
        for n in range(10 * SLOTS):
            key = f"{{{name}{n}}}"
            if any(start <= slot_of(key) <= end for start, end in ranges):
                return key
        raise AssertionError(f"{primary.port} serves no slot")

    # damage

    def kill(self, node: Server) -> None:
        """SIGKILL."""
        self.hurry()
        node.kill()

    def pause(self, node: Server) -> None:
        """SIGSTOP. The others wait for it until they ``hurry()``."""
        node.pause()
        self._paused.add(node)

    def hurry(self) -> None:
        """A primary that is silent for ``node_timeout`` is replaced, until all is settled."""
        self._hurried = True
        self._set_timeout(self._node_timeout)

    def _calm(self) -> None:
        if self._hurried:
            self._set_timeout(max(self._node_timeout, CALM))
            self._hurried = False

    def _set_timeout(self, seconds: float) -> None:
        for node in self._running():
            with node.client() as client:
                client.config_set("cluster-node-timeout", round(seconds * 1000))

    def resume(self, node: Server) -> None:
        """SIGCONT."""
        node.resume()
        self._paused.discard(node)

    def restart(self, node: Server) -> None:
        """Start a node that was killed; it knows its place in the Cluster. Waits for agreement."""
        node.start()
        self.settle()

    def migrate_slot(self, slot: int, target: Server) -> None:
        """Move a slot and its keys, as ``redis-cli --cluster reshard`` does."""
        migration = self.begin_migration(slot, target)
        while migration.move_keys(10):
            pass
        migration.finish()

    def begin_migration(self, slot: int, target: Server) -> Migration:
        """A slot begins to move; no key has moved yet."""
        return Migration(self, slot, self.primary_of_slot(slot), target)

    def flush(self) -> None:
        """Forget keys and scripts."""
        for node in self.primaries():
            with node.client() as client:
                client.flushall()
                client.script_flush()

    # life

    def settle(self, timeout: float = 60) -> None:
        """Return when all running nodes agree, serve everything, and replicate."""
        wait_until(self._agrees, timeout=timeout, what="the Cluster to agree")
        self._calm()

    def revive(self) -> None:
        """Make every node run again whatever a test did, and wait for agreement."""
        for node in list(self._paused):
            self.resume(node)
        for node in self.nodes:
            node.revive()
        self.settle()

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            with contextlib.suppress(ProcessLookupError):
                node.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def id_of(self, node: Server) -> str:
        """The node's id in the Cluster."""
        return self._ids[node]

    def others(self, *nodes: Server) -> Iterator[Server]:
        """The running nodes but these."""
        return (node for node in self._running() if node not in nodes)

    def _join(self) -> None:
        first, size = self.nodes[0], SLOTS // PRIMARIES + 1
        for n, node in enumerate(self.nodes):
            with node.client() as client:
                self._ids[node] = client.execute_command("CLUSTER", "MYID").decode()
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
                if n < PRIMARIES:
                    last = min((n + 1) * size, SLOTS) - 1
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", n * size, last)
                if node is not first:
                    client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)
        wait_until(self._all_met, timeout=60, what="the nodes to meet")
        for n in range(PRIMARIES, 2 * PRIMARIES):
            with self.nodes[n].client() as client:
                primary = self._ids[self.nodes[n - PRIMARIES]]
                client.execute_command("CLUSTER", "REPLICATE", primary)
        self.settle()

    def _all_met(self) -> bool:
        return all(
            len(known) == len(self.nodes) and not any(b"handshake" in line for line in known)
            for known in map(_known, self.nodes)
        )

    def _agrees(self) -> bool:
        views = set()
        running = self._running()
        for node in running:
            with node.client() as client:
                state = client.execute_command("CLUSTER", "INFO")
                if b"cluster_state:ok" not in _bytes(state):
                    return False
                if client.info("replication").get("master_link_status", "up") != "up":
                    return False
            slots = self._slots(node)
            views.add(tuple((a, b, int(p[1]), len(replicas)) for a, b, p, *replicas in slots))
        served = sum(end - start + 1 for start, end, *_ in next(iter(views)))
        replicas = len(running) - len(self.primaries())
        seen = {port: count for _, _, port, count in next(iter(views))}
        return len(views) == 1 and served == SLOTS and sum(seen.values()) == replicas

    def _slots(self, node: Server) -> list[Any]:
        with node.client() as client:
            found: list[Any] = client.execute_command("CLUSTER", "SLOTS")
        return sorted(found)

    def _running(self) -> list[Server]:
        return [node for node in self.nodes if node.alive and node not in self._paused]

    def _by_port(self, port: int) -> Server:
        return next(node for node in self.nodes if node.port == port)


class Migration:
    """A slot on its way from one node to another; may be stopped at any point."""

    def __init__(self, group: ClusterGroup, slot: int, source: Server, target: Server) -> None:
        self._group = group
        self.slot = slot
        self.source = source
        self.target = target
        self._set(target, "IMPORTING", group.id_of(source))
        self._set(source, "MIGRATING", group.id_of(target))

    def move_keys(self, count: int) -> int:
        """Move up to so many keys; how many there were."""
        with self._group.client(self.source) as client:
            keys: list[bytes] = client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, count)
            if keys:
                self._migrate(client, keys)
            return len(keys)

    def move(self, *keys: str) -> None:
        """Move these keys."""
        with self.source.client() as client:
            self._migrate(client, keys)

    def finish(self) -> None:
        """The target owns the slot."""
        new = self._group.id_of(self.target)
        for node in (self.target, self.source, *self._group.others(self.target, self.source)):
            # a replica learns it from its primary
            with contextlib.suppress(redis.ResponseError):
                self._set(node, "NODE", new)
        self._group.settle()

    def cancel(self) -> None:
        """The source keeps the slot; keys that have moved come back."""
        self._set(self.source, "STABLE")
        with self.target.client() as client:
            keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, 10000)
            if keys:  # as long as it imports, it may
                self._migrate(client, keys, to=self.source)
        self._set(self.target, "STABLE")

    def _migrate(self, client: Any, keys: Any, to: Server | None = None) -> None:
        port = (to or self.target).port
        client.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)

    def _set(self, node: Server, *words: str) -> None:
        with self._group.client(node) as client:
            client.execute_command("CLUSTER", "SETSLOT", self.slot, *words)


def _known(node: Server) -> list[bytes]:
    with node.client() as client:
        return _bytes(client.execute_command("CLUSTER", "NODES")).splitlines()


def _bytes(reply: Any) -> bytes:
    return reply if isinstance(reply, bytes) else str(reply).encode()
