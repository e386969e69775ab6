"""Sentinel: where a service's master is, and what is believed while Sentinels differ.

redis-py remembers a master's address across reconnects, reorders its list of Sentinels without a
lock, and keeps its pooled connections to a master that was replaced: it goes on writing to it until
Sentinel demotes it, seconds later, and those writes are lost. Here every connect asks, the list of
members never changes, and what a Sentinel says is weighed by its configuration epoch: after a
failover the others go on naming the old master for up to two seconds.

A failover that a Sentinel announces is *expected*: no connection to the old master is handed out
any more, and whoever needs one asks the promoted server until it says that it is the master.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from redis.exceptions import RedisError, ResponseError

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool
from flask_redis_kit.core.url import named

T = TypeVar("T")
log = logging.getLogger(__name__)
Address = tuple[str, int]
Keep = Callable[[Any], bool]

EXPECTED_SECONDS = 5.0
"""How long a promotion that was announced is waited for."""
PROBE_SECONDS = 0.01
"""Between two questions to a server that is being promoted."""
TRUSTED_SECONDS = 10.0
"""How long what was confirmed last is believed against an answer that isn't newer."""


class Drop(Protocol):
    """Ends the pooled connections that ``keep`` doesn't want; those in use, too, if at once."""

    def __call__(self, keep: Keep, *, at_once: bool) -> None: ...


class Demoted(ServerUnavailable):
    """Sentinel named a server as the master that is none (any more); nothing was sent."""


class SentinelDirectory:
    """Knows where a service's servers are, from its Sentinels. Thread-safe; members never change.

    ``pools``: one small pool per Sentinel, in the order of the URL. ``quorum``: how many others a
    Sentinel must know to be asked. ``force_master_ip`` replaces every host that is announced.
    ``is_master`` asks a server itself for its role.
    """

    def __init__(
        self,
        hosts: Sequence[Address],
        service: str,
        pools: Sequence[Pool],
        *,
        drop: Drop,
        is_master: Callable[[Address], bool],
        quorum: int = 0,
        force_master_ip: str | None = None,
    ) -> None:
        self.hosts = tuple(hosts)
        self.service = service
        self.pools = tuple(pools)
        self._drop = drop
        self._is_master = is_master
        self._others_wanted = quorum
        self._force_ip = force_master_ip
        self._preferred = 0
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._known: Address | None = None
        self._epoch = -1
        self._confirmed = 0.0
        self._expected: Address | None = None
        self._expected_until = 0.0
        self._settled = threading.Event()
        renew_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: the locks may be held by threads that don't exist here."""
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._settled = threading.Event()
        self._expected = None

    def master(self, wait: float | None = None) -> Address:
        """The master's address. During a failover, waits up to ``wait`` seconds for its end.

        Raises ``ServerUnavailable`` naming every Sentinel and what each one said.
        """
        self._await_promotion(EXPECTED_SECONDS if wait is None else wait)
        self.refresh()
        assert self._known is not None  # noqa: S101  # an answer was learned, or it had raised
        return self._known

    @property
    def known(self) -> Address | None:
        """The master's address as it was last learned; None before any Sentinel was asked."""
        return self._known

    def replicas(self) -> list[Address]:
        """The addresses of the replicas that are up, in no particular order."""
        return self._ask(self._replicas_from)

    def refresh(self) -> None:
        """Learn what the first Sentinel that answers says."""
        self._learn(*self._ask(self._master_from))

    def ask(self, member: int) -> None:
        """Learn what this Sentinel says; from now on it is asked first."""
        self._preferred = member
        answer = self._master_from(member)
        if answer is not None:
            self._learn(*answer)

    # a failover

    def expect(self, address: Address) -> None:
        """``address`` is being promoted: what goes to another server would be lost."""
        address = self._reachable(address)
        with self._lock:
            if address == self._known:
                return
            known_already = address == self._expected
            self._expected_until = time.monotonic() + EXPECTED_SECONDS
            self._expected = address
            self._settled.clear()
        if not known_already:
            self._drop(_fitting(address), at_once=False)

    def expect_nothing(self) -> None:
        """The failover was given up."""
        with self._lock:
            self._expected = None
            self._settled.set()

    def _settle(self, address: Address) -> None:
        """The expected server says that it is the master."""
        with self._lock:
            if address != self._expected:
                return
            self._expected = None
            self._known = address
            self._confirmed = time.monotonic()
            self._settled.set()
        self._drop(_fitting(address), at_once=True)

    def demoted(self) -> None:
        """A master refused a write: the next connections find out who took its place."""
        self._drop(lambda connection: connection.is_replica, at_once=False)

    def _await_promotion(self, wait: float) -> None:
        deadline = time.monotonic() + wait
        while (expected := self._expected) is not None:
            self._probe(expected)
            now = time.monotonic()
            if self._settled.is_set():
                return
            if now >= self._expected_until:
                self.expect_nothing()
            elif now >= deadline:
                raise ServerUnavailable(
                    f"A failover of {self.service!r} is going on; its new master is awaited.",
                    address=self.names,
                )
            else:
                self._settled.wait(PROBE_SECONDS)

    def _probe(self, expected: Address) -> None:
        if not self._probing.acquire(blocking=False):
            return  # one asks for all
        try:
            if self._is_master(expected):
                self._settle(expected)
        except (RedisError, OSError) as error:
            log.debug("%s, to be promoted, can't be asked: %s", named(expected), error)
        finally:
            self._probing.release()

    def _learn(self, address: Address, epoch: int) -> None:
        address = self._reachable(address)
        now = time.monotonic()
        with self._lock:
            if epoch > self._epoch:
                self._expected = None
                self._settled.set()
            elif address != self._known and now - self._confirmed < TRUSTED_SECONDS:
                return  # it doesn't know of the last failover yet
            moved = self._known is not None and address != self._known
            self._known, self._confirmed = address, now
            self._epoch = epoch
        if moved:
            self._drop(_fitting(address), at_once=True)

    def _reachable(self, address: Address) -> Address:
        return (self._force_ip or address[0], address[1])

    # asking

    @property
    def names(self) -> str:
        """The Sentinels, for messages."""
        return ", ".join(map(named, self.hosts))

    def _ask(self, question: Callable[[int], T | None]) -> T:
        start = self._preferred
        reasons: list[str] = []
        for step in range(len(self.hosts)):
            member = (start + step) % len(self.hosts)
            name = named(self.hosts[member])
            try:
                answer = question(member)
            except (RedisError, OSError) as error:
                text = str(error)
                reasons.append(text if name in text else f"{name}: {text}")
                continue
            if answer is not None:
                if step:
                    self._preferred = member
                return answer
            reasons.append(f"{name} knows no service {self.service!r}")
        raise ServerUnavailable(
            f"No Sentinel could say where {self.service!r} is. " + "; ".join(reasons),
            address=self.names,
        )

    def _master_from(self, member: int) -> tuple[Address, int] | None:
        # in this order: should it switch in between, the new address comes with the old epoch,
        # which is not believed; the old address with the new epoch would be
        facts, address = self._commands(
            member,
            ("SENTINEL", "MASTER", self.service),
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service),
        )
        if address is None or isinstance(facts, ResponseError):
            return None
        known = _facts(facts)
        if int(known.get("num-other-sentinels", 0)) < self._others_wanted:
            raise ServerUnavailable(
                f"{named(self.hosts[member])} knows fewer than {self._others_wanted} other "
                "Sentinels (min_other_sentinels)"
            )
        return (text_of(address[0]), int(address[1])), int(known.get("config-epoch", 0))

    def _replicas_from(self, member: int) -> list[Address] | None:
        (replies,) = self._commands(member, ("SENTINEL", "REPLICAS", self.service))
        if isinstance(replies, ResponseError):
            return None
        found = []
        for facts in map(_facts, replies):
            if not {"s_down", "o_down", "disconnected"} & set(facts.get("flags", "").split(",")):
                found.append(self._reachable((facts["ip"], int(facts["port"]))))
        random.shuffle(found)
        return found

    def _commands(self, member: int, *commands: tuple[str, ...]) -> list[Any]:
        pool = self.pools[member]
        connection: Any = pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            return [_reply(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


def text_of(value: Any) -> str:
    """A reply as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _fitting(master: Address) -> Keep:
    """Connections that are right where they are when ``master`` is the master."""
    return lambda connection: connection.is_replica != (connection.followed == master)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except ResponseError as error:
        if "No such master" in str(error):
            return error
        raise


def _facts(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return {text_of(name): text_of(value) for name, value in reply.items()}
    return {text_of(n): text_of(v) for n, v in zip(reply[::2], reply[1::2], strict=False)}
