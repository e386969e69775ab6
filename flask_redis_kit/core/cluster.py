"""Cluster: which node holds which slot, learnt from the nodes and from their redirections."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool

Address = tuple[str, int]
SLOTS = 16384
REFRESH_PAUSE = 0.1
"""Seconds between two refreshes: a thousand redirected requests ask once."""


class Node:
    """One primary: its pool, and its own circuit breaker, so that one dead node is not all."""

    def __init__(self, address: Address, pool: Pool, breaker: CircuitBreaker) -> None:
        self.address = address
        self.pool = pool
        self.breaker = breaker

    def __repr__(self) -> str:
        return f"Node({named(self.address)})"


class ClusterNodes:
    """The slot table of one cluster. Thread-safe; connects at the first look-up.

    ``make_node`` makes the node of an address; ``remap`` may rename what nodes say of each other.
    """

    def __init__(
        self,
        seeds: Sequence[Address],
        make_node: Callable[[Address], Node],
        remap: Callable[[Address], Address] | None = None,
    ) -> None:
        self.seeds = tuple(seeds)
        self._make_node = make_node
        self._remap = remap
        self._nodes: dict[Address, Node] = {}
        self._table: list[Node | None] = [None] * SLOTS
        self._replicas: dict[Address, list[Address]] = {}
        self._known = False
        self._refreshed_at = 0.0
        self._lock = threading.Lock()
        renew_in_child(self)

    def of_key(self, key: str) -> Node:
        """The primary of a key's slot; of no key, any primary. Asks the cluster at the first call.

        Raises ``ServerUnavailable`` naming every node asked.
        """
        return self.of_slot(slot_of(key)) if key else self.any()

    def of_slot(self, slot: int) -> Node:
        """The primary of a slot."""
        if not self._known:
            self.refresh()
        node = self._table[slot]
        if node is None:
            raise ServerUnavailable(
                f"No node of the cluster at {self.names} serves slot {slot} now.",
                address=self.names,
            )
        return node

    def any(self) -> Node:
        """Some primary."""
        return random.choice(self.primaries())  # noqa: S311  # spreads load, no secret

    def primaries(self) -> list[Node]:
        """Every primary that serves a slot."""
        if not self._known:
            self.refresh()
        return list(dict.fromkeys(node for node in self._table if node is not None))

    def at(self, address: Address) -> Node:
        """The node at an address that a redirection named."""
        with self._lock:
            return self._node(address)

    def moved(self, slot: int, address: Address) -> None:
        """A node said that the slot is at ``address`` now."""
        with self._lock:
            self._table[slot] = self._node(self._renamed(address))

    def refresh(self, *, failed: Address | None = None) -> None:
        """Ask the cluster for its slots, unless somebody just did. ``failed`` is asked last."""
        with self._lock:
            now = time.monotonic()
            if self._known and now - self._refreshed_at < REFRESH_PAUSE:
                return
            self._refreshed_at = now
            self._load(failed)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for node in self._nodes.values():
                node.breaker.close()
                node.pool.disconnect()

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.Lock()

    @property
    def names(self) -> str:
        """The seeds, for messages."""
        return ",".join(map(named, self.seeds))

    def _load(self, failed: Address | None) -> None:
        candidates = list(dict.fromkeys([*self._nodes, *self.seeds]))
        candidates.sort(key=lambda address: address == failed)
        reasons = []
        for address in candidates:
            try:
                ranges = _ask(self._node(address).pool, "CLUSTER", "SLOTS")
            except (RedisError, OSError) as error:
                reasons.append(f"{named(address)}: {error}")
                continue
            if ranges:
                self._fill(ranges, address)
                return
            reasons.append(f"{named(address)} serves no slots yet")
        raise ServerUnavailable(
            f"No node of the cluster at {self.names} answers. " + "; ".join(reasons),
            address=self.names,
        )

    def _fill(self, ranges: Sequence[Any], asked: Address) -> None:
        table: list[Node | None] = [None] * SLOTS
        for start, end, primary, *_ in ranges:
            node = self._node(self._renamed(_address(primary, asked)))
            table[start : end + 1] = [node] * (end - start + 1)
        self._table = table
        self._known = True
        for address in set(self._nodes) - {node.address for node in table if node} - {*self.seeds}:
            gone = self._nodes.pop(address)
            gone.breaker.close()
            gone.pool.drop()

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make_node(address)
        return node

    def _renamed(self, address: Address) -> Address:
        return address if self._remap is None else self._remap(address)


@lru_cache(maxsize=8192)
def slot_of(key: str) -> int:
    """The slot of a key: CRC16 of its hash tag, modulo 16384."""
    return key_slot(key.encode())


def named(address: Address) -> str:
    """``host:port``, with brackets around IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(reply: Sequence[Any], asked: Address) -> Address:
    host = reply[0].decode() if isinstance(reply[0], bytes) else reply[0]
    # a node that doesn't know its own name means the one it was asked by
    return (host if host and host != "?" else asked[0]), int(reply[1])


def _ask(pool: Pool, *command: str) -> Any:
    connection: Any = pool.get_connection()
    try:
        connection.send_command(*command, check_health=False)
        return connection.read_response(disable_decoding=True)
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
