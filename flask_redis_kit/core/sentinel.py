"""Sentinel: where the master is, asked anew for every connection; a watcher hears a switch.

redis-py remembers a master's address across reconnects, reorders its list of Sentinels without a
lock, and keeps its pooled connections to a master that was replaced: it goes on writing to it until
Sentinel demotes it, seconds later, and those writes are lost. Here every connect asks, the list of
members never changes, and all connections are dropped as soon as any Sentinel announces the switch.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.exceptions import RedisError

from flask_redis_kit.core.errors import ServerError, ServerUnavailable
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.pool import Pool

T = TypeVar("T")
log = logging.getLogger(__name__)
Address = tuple[str, int]

EVENTS = ("+switch-master", "+promoted-slave")
"""What a Sentinel publishes when a replica has become the master, the leader's word first."""

POLL_SECONDS = 1.0
RECONNECT_SECONDS = 1.0


class SentinelDirectory:
    """Asks the Sentinels where a service's servers are. Thread-safe; its members never change.

    ``pools``: one small pool per Sentinel, in the order of the URL.
    """

    def __init__(
        self, hosts: Sequence[Address], service: str, pools: Sequence[Pool], *, quorum: int = 0
    ) -> None:
        self.hosts = tuple(hosts)
        self.service = service
        self.pools = tuple(pools)
        self._others_wanted = quorum
        self._preferred = 0
        self.last_master: Address | None = None

    def master(self) -> Address:
        """The master's address, from the first Sentinel that knows it.

        Raises ``ServerUnavailable`` naming every Sentinel and what each one said.
        """
        found = self._ask(self._master_from)
        self.last_master = found
        return found

    def replicas(self) -> list[Address]:
        """The addresses of the replicas that are up, in no particular order."""
        return self._ask(self._replicas_from)

    def prefer(self, member: int) -> None:
        """Ask this Sentinel first from now on: it was the first to know."""
        self._preferred = member

    def _ask(self, question: Callable[[int], T | None]) -> T:
        start = self._preferred
        reasons: list[str] = []
        for step in range(len(self.hosts)):
            member = (start + step) % len(self.hosts)
            try:
                answer = question(member)
            except (RedisError, OSError) as error:
                reasons.append(f"{_name(self.hosts[member])}: {error}")
                continue
            if answer is not None:
                if step:
                    self._preferred = member
                return answer
            reasons.append(f"{_name(self.hosts[member])} knows no service {self.service!r}")
        raise ServerUnavailable(
            f"No Sentinel could say where {self.service!r} is. " + "; ".join(reasons),
            address=", ".join(map(_name, self.hosts)),
        )

    def _master_from(self, member: int) -> Address | None:
        if self._others_wanted:
            facts = self._command(member, "SENTINEL", "MASTER", self.service)
            if int(_facts(facts).get("num-other-sentinels", 0)) < self._others_wanted:
                return None
        reply = self._command(member, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return None if reply is None else (_text(reply[0]), int(reply[1]))

    def _replicas_from(self, member: int) -> list[Address]:
        found = []
        for reply in self._command(member, "SENTINEL", "REPLICAS", self.service):
            facts = _facts(reply)
            if not {"s_down", "o_down", "disconnected"} & set(facts.get("flags", "").split(",")):
                found.append((facts["ip"], int(facts["port"])))
        random.shuffle(found)
        return found

    def _command(self, member: int, *command: str) -> Any:
        pool = self.pools[member]
        connection: Any = pool.get_connection()
        try:
            connection.send_command(*command, check_health=False)
            return connection.read_response(disable_decoding=True)
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)


class SwitchWatcher:
    """Listens to every Sentinel for a switch of the master, and asks once a second as well.

    Its daemon threads are per process, started by the first connection; they call ``switched()``.
    """

    def __init__(self, directory: SentinelDirectory, switched: Callable[[], None]) -> None:
        self._directory = directory
        self._switched = switched
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pid: int | None = None
        renew_in_child(self)

    def start(self) -> None:
        """Start the threads unless they run in this process."""
        if self._pid == os.getpid() or self._stop.is_set():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            targets: list[tuple[Callable[..., None], tuple[int, ...]]] = [(self._poll, ())]
            targets += [(self._listen, (n,)) for n in range(len(self._directory.hosts))]
            for target, arguments in targets:
                threading.Thread(
                    target=target, args=arguments, name="redis-kit-sentinel", daemon=True
                ).start()

    def close(self) -> None:
        """End the threads."""
        self._stop.set()

    def after_fork(self) -> None:
        """In a forked child no thread runs until the child connects."""
        self._lock = threading.Lock()
        self._pid = None

    def _poll(self) -> None:
        """A Sentinel that can't be heard can still be asked."""
        known: Address | None = self._directory.last_master
        while not self._stop.wait(POLL_SECONDS):
            try:
                found = self._directory.master()
            except ServerError:
                continue
            if known is not None and found != known:
                self._switched()
            known = found

    def _listen(self, member: int) -> None:
        while not self._stop.is_set():
            try:
                self._listen_once(member)
            except (RedisError, OSError) as error:
                log.debug("Sentinel %s can't be heard: %s", self._directory.hosts[member], error)
            self._stop.wait(RECONNECT_SECONDS)

    def _listen_once(self, member: int) -> None:
        pool = self._directory.pools[member]
        connection: Any = pool.make_connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", *EVENTS, check_health=False)
            while not self._stop.is_set():
                if connection.can_read(timeout=POLL_SECONDS):
                    self._heard(member, connection.read_response(disable_decoding=True))
        finally:
            connection.disconnect()

    def _heard(self, member: int, message: Any) -> None:
        if not isinstance(message, list) or message[0] != b"message":
            return
        event, words = _text(message[1]), _text(message[2]).split()
        service = words[0] if event == "+switch-master" else words[words.index("@") + 1]
        if service == self._directory.service:
            self._directory.prefer(member)
            self._switched()


def _facts(reply: Any) -> dict[str, str]:
    if isinstance(reply, dict):
        return {_text(name): _text(value) for name, value in reply.items()}
    return {_text(n): _text(v) for n, v in zip(reply[::2], reply[1::2], strict=False)}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _name(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
