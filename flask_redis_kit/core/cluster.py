"""Cluster: which node holds which slot, learnt from the nodes and from their redirections.

One thread asks, all who need the answer wait for it together, and nobody waits long: a question to
a node has its own connection and a share of a short budget, so that dead seeds, full pools and
hanging nodes can't hold anybody up. While a node's circuit breaker is open its probe keeps asking,
so a promoted replica is found however few requests come.
"""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flask_redis_kit.core.errors import (
    ConnectTimeout,
    ServerError,
    ServerRefused,
    ServerUnavailable,
)
from flask_redis_kit.core.failure import CircuitBreaker
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.url import named

Address = tuple[str, int]
SLOTS = 16384
REFRESH_PAUSE = 0.1
"""Seconds between two refreshes: a thousand redirected requests ask once."""
SEARCH_SECONDS = 1.5
"""For asking all nodes in turn when none is known to answer."""
GLANCE_SECONDS = 0.5
"""The same while commands wait that may go on without."""
LEAST_WAIT = 0.05
GUEST_SECONDS = 60.0
"""How long a node is kept that was only named by a redirection."""


class Node:
    """One server: its pool, and its own circuit breaker, so that one dead node is not all."""

    __slots__ = ("__weakref__", "address", "breaker", "name", "named_at", "pool")

    def __init__(self, address: Address, pool: Pool, breaker: CircuitBreaker) -> None:
        self.address = address
        self.name = named(address)
        self.pool = pool
        self.breaker = breaker
        self.named_at = 0.0

    def __repr__(self) -> str:
        return f"Node({self.name})"

    def ask(self, *command: str, wait: float) -> Any:
        """The reply to one command on a connection of its own; ``wait`` (s) to connect, to read."""
        connect = min(wait, self.pool.connection_kwargs.get("socket_connect_timeout") or wait)
        connection = self.pool.make_connection(
            socket_timeout=wait, socket_connect_timeout=connect, decode_responses=False
        )
        try:
            connection.connect()
            connection.send_command(*command, check_health=False)
            return connection.read_response(disable_decoding=True)
        finally:
            connection.disconnect()


class _Question:
    """One refresh on its way, and all who wait for it."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.error: ServerError | None = None


class ClusterNodes:
    """The slot table of one cluster. Thread-safe; connects at the first look-up.

    ``make_node`` makes the node of an address, with the probe of its breaker; ``remap`` may rename
    what nodes say of each other.
    """

    def __init__(
        self,
        seeds: Sequence[Address],
        make_node: Callable[[Address, Callable[[], None]], Node],
        remap: Callable[[Address], Address] | None = None,
    ) -> None:
        self.seeds = tuple(seeds)
        self._make_node = make_node
        self._remap = remap
        self._nodes: dict[Address, Node] = {}
        self._members: frozenset[Address] = frozenset()
        self._table: list[Node | None] = [None] * SLOTS
        self._primaries: tuple[Node, ...] = ()
        self._fresh_until = 0.0
        self._failure: ServerError | None = None
        self._question: _Question | None = None
        self._lock = threading.Lock()
        renew_in_child(self)

    # look-ups

    def of_key(self, key: str) -> Node:
        """The primary of a key's slot; of no key, any primary. Asks the cluster at the first call.

        Raises ``ServerUnavailable`` naming every node asked.
        """
        return self.of_slot(slot_of(key)) if key else self.any()

    def last_known(self, slot: int) -> Address | None:
        """Where a slot is, as it was last heard; asks nobody."""
        node = self._table[slot]
        return None if node is None else node.address

    def of_slot(self, slot: int) -> Node:
        """The primary of a slot."""
        node = self._table[slot]
        if node is None:
            self.refresh()
            node = self._table[slot]
        if node is None:
            raise ServerUnavailable(
                f"No node of the cluster at {self.names} serves slot {slot} now.",
                address=self.names,
            )
        return node

    def any(self) -> Node:
        """Some primary, one that answers if there is one."""
        known = self.primaries()
        up = [node for node in known if node.breaker.state == "closed"]
        return random.choice(up or known)  # noqa: S311  # spreads load, no secret

    def primaries(self) -> Sequence[Node]:
        """Every primary that serves a slot."""
        if not self._primaries:
            self.refresh()
        return self._primaries

    @property
    def known(self) -> bool:
        """Whether the cluster ever answered."""
        return bool(self._primaries)

    @property
    def names(self) -> str:
        """The seeds, for messages."""
        return ",".join(map(named, self.seeds))

    # redirections

    def named_by(self, node: Node, redirection: Any) -> Address:
        """The address in a MOVED or ASK of this node."""
        # without a host it means its own
        return self._renamed((redirection.host or node.address[0], redirection.port))

    def at(self, address: Address) -> Node:
        """The node at an address that a redirection named."""
        with self._lock:
            node = self._node(address)
            node.named_at = time.monotonic()
            return node

    def moved(self, slot: int, address: Address) -> None:
        """A node said that the slot is at ``address`` now: learn that, and what else is new."""
        with contextlib.suppress(ServerError):  # the commands themselves say what is wrong
            self.refresh(first=address, seconds=GLANCE_SECONDS)
        with self._lock:
            # after the refresh: the one that was asked may not have heard of it yet
            node = self._table[slot] = self._node(address)
            if node not in self._primaries:
                self._primaries = (*self._primaries, node)

    # asking

    def refresh(
        self,
        *,
        first: Address | None = None,
        last: Address | None = None,
        seconds: float = SEARCH_SECONDS,
    ) -> None:
        """Ask the cluster for its slots, unless somebody just did, or is just doing it.

        ``first`` and ``last``: who is asked before and after the others. Raises when none answers.
        """
        with self._lock:
            if time.monotonic() < self._fresh_until:
                if self._failure is not None:
                    raise _again(self._failure)
                return
            asked_already = self._question
            question = asked_already or _Question()
            self._question = question
        if asked_already is not None:
            question.answered.wait(2 * SEARCH_SECONDS)
            if question.error is not None:
                raise _again(question.error)
            return
        try:
            self._ask_all(first, last, seconds)
        except ServerError as error:
            question.error = error
            raise
        finally:
            with self._lock:
                self._failure = question.error
                self._fresh_until = time.monotonic() + REFRESH_PAUSE
                self._question = None
            question.answered.set()

    def probe(self, address: Address) -> None:
        """Whether a node serves again; and whether another one took its place."""
        node = self._nodes.get(address)
        if node is None:
            return
        with contextlib.suppress(ServerError):
            self.refresh(last=address, seconds=GLANCE_SECONDS)
        state = node.ask("CLUSTER", "INFO", wait=GLANCE_SECONDS)
        if b"cluster_state:ok" not in state:
            raise ServerUnavailable(f"{node.name} says that the cluster is down", address=node.name)

    def _ask_all(self, first: Address | None, last: Address | None, seconds: float) -> None:
        candidates = self._candidates(first, last)
        until = time.monotonic() + seconds
        reasons: list[tuple[Address, Exception | str]] = []
        for n, node in enumerate(candidates):
            left = until - time.monotonic()
            # connecting may take that long, and the reply again
            wait = max(LEAST_WAIT, left / 2 / min(len(candidates) - n, 3))
            if left <= 0:
                reasons.append((node.address, "was not asked, it took too long"))
                continue
            try:
                ranges = node.ask("CLUSTER", "SLOTS", wait=wait)
            except (RedisError, OSError) as error:
                reasons.append((node.address, error))
                continue
            if ranges:
                self._fill(ranges, node)
                return
            reasons.append((node.address, "serves no slots"))
        raise self._nobody(reasons)

    def _candidates(self, first: Address | None, last: Address | None) -> list[Node]:
        """Whom to ask, in this order: primaries that answer, seeds, all others, the failed."""
        with self._lock:
            addresses = [node.address for node in self._primaries]
            random.shuffle(addresses)
            addresses += [*self.seeds, *self._members]
            nodes = [self._node(address) for address in dict.fromkeys(addresses)]

        def rank(node: Node) -> int:
            if node.address == first:
                return 0
            return 1 + (node.breaker.state == "open") + 2 * (node.address == last)

        return sorted(nodes, key=rank)

    def _nobody(self, reasons: Sequence[tuple[Address, Exception | str]]) -> ServerError:
        texts: list[str] = []
        told = False
        for address, reason in reasons:
            cause = reason.__cause__ if isinstance(reason, Exception) else None
            if isinstance(reason, ServerRefused) and not told:
                cause, told = None, True  # with the cure, once
            text, name = str(cause or reason), named(address)
            if "cluster support disabled" in text:
                text = "is a single server: its URL begins with redis://"
            texts.append(text if name in text else f"{name}: {text}")
        message = f"No node of the cluster at {self.names} answers. " + "; ".join(texts)
        errors = [reason for _, reason in reasons]
        kind: type[ServerError] = ServerUnavailable
        if any(isinstance(error, RedisTimeoutError) for error in errors):
            kind = ConnectTimeout
        elif all(isinstance(error, ServerRefused | ResponseError) for error in errors):
            kind = ServerRefused
        return kind(message, address=self.names)

    def _fill(self, ranges: Iterable[Any], asked: Node) -> None:
        table: list[Node | None] = [None] * SLOTS
        members = set()
        with self._lock:
            for start, end, *servers in ranges:
                found = [self._renamed(_address(server, asked)) for server in servers]
                members.update(found)
                node = self._node(found[0])
                table[start : end + 1] = [node] * (end - start + 1)
            self._table = table
            self._members = frozenset(members)
            self._primaries = tuple({node: None for node in table if node is not None})
            self._forget_strangers()

    def _forget_strangers(self) -> None:
        """Whoever left the cluster. What is in use there goes on to its end."""
        oldest = time.monotonic() - GUEST_SECONDS
        for address in set(self._nodes) - self._members - {*self.seeds}:
            if self._nodes[address].named_at < oldest:
                self._nodes.pop(address).breaker.close()

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            probe = functools.partial(self.probe, address)
            node = self._nodes[address] = self._make_node(address, probe)
        return node

    def _renamed(self, address: Address) -> Address:
        return address if self._remap is None else self._remap(address)

    # life

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for node in self._nodes.values():
                node.breaker.close()
                node.pool.disconnect()

    def after_fork(self) -> None:
        """In a forked child: locks may be held by threads that don't exist here."""
        self._lock = threading.Lock()
        self._question = None
        for node in self._nodes.values():
            node.breaker.after_fork()


@lru_cache(maxsize=8192)
def slot_of(key: str) -> int:
    """The slot of a key: CRC16 of its hash tag, modulo 16384."""
    return key_slot(key.encode())


def _address(reply: Sequence[Any], asked: Node) -> Address:
    host = reply[0].decode() if isinstance(reply[0], bytes) else reply[0]
    # a node that doesn't know its own name means the one it was asked by
    return (host if host and host != "?" else asked.address[0]), int(reply[1])


def _again(error: ServerError) -> ServerError:
    """The same error for another thread: a traceback belongs to one."""
    return type(error)(str(error), address=error.address)
