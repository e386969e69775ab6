"""A TCP proxy that counts round trips and breaks the network on request.

    with Proxy(server.socket_path) as proxy:
        client = redis.Redis.from_url(proxy.url)
        with proxy.counting() as count:
            client.get("x")
        assert count.trips == 1

A trip is what a client sends before anything comes back, and the replies to it; every connection
counts its own. What a connection sends by itself (HELLO, AUTH, SELECT, CLIENT SETINFO, PING, …) is
no trip. Counts are exact: they are made before the request goes on to the server, so they are there
when the client has its reply.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.harness.faults import Faults
from tests.harness.pump import Pump
from tests.harness.requests import Command, is_handshake
from tests.harness.servers import free_port
from tests.waiting import wait_until


@dataclass
class Count:
    """What went through the proxy. ``commands`` leaves the handshakes out."""

    trips: int = 0
    handshakes: int = 0
    connections: int = 0
    commands: list[Command] = field(default_factory=list)
    handshake_commands: list[Command] = field(default_factory=list)


class Proxy:
    """Listens on a free port of 127.0.0.1. The target: a port of 127.0.0.1, or a unix socket."""

    def __init__(self, target: int | str | Path) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._listening = threading.Lock()
        self._faults = Faults()
        self._total = Count()
        self._counts: list[Count] = [self._total]
        self._pumps: set[Pump] = set()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self.port = 0
        self._listen()

    @property
    def url(self) -> str:
        """Its address, without credentials."""
        return f"redis://127.0.0.1:{self.port}/0"

    # counting

    @property
    def trips(self) -> int:
        """Round trips since the start or the last ``reset()``."""
        return self._total.trips

    @property
    def handshakes(self) -> int:
        """Commands that connections sent by themselves; not counted as trips."""
        return self._total.handshakes

    @property
    def connections(self) -> int:
        """Connections accepted."""
        return self._total.connections

    @property
    def commands(self) -> list[Command]:
        """The commands sent, handshakes left out."""
        with self._lock:
            return list(self._total.commands)

    @property
    def open_connections(self) -> int:
        """Connections open at this moment."""
        with self._lock:
            return len(self._pumps)

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            old, self._total = self._total, Count()
            self._counts = [self._total if each is old else each for each in self._counts]

    @contextlib.contextmanager
    def counting(self) -> Iterator[Count]:
        """Count what is sent inside the block only; the count stays as it was at its end."""
        count = Count()
        with self._lock:
            self._counts.append(count)
        try:
            yield count
        finally:
            with self._lock:
                self._counts = [other for other in self._counts if other is not count]

    def _sent(self, commands: list[Command], new_trip: bool) -> None:
        """Called by a pump for every burst, before it goes on to the server."""
        with self._lock:
            for count in self._counts:
                count.trips += new_trip
                for command in commands:
                    if is_handshake(command):
                        count.handshakes += 1
                        count.handshake_commands.append(command)
                    else:
                        count.commands.append(command)

    # faults

    def delay(self, seconds: float) -> None:
        """Every burst of replies, handshakes too, comes ``seconds`` later."""
        self._faults.delay = seconds

    def drop_replies(self, n: int | None = None) -> None:
        """The commands reach the server, the replies of the next ``n`` trips get lost.

        Without ``n`` all replies do, those of handshakes too, until ``restore()``.
        """
        self._faults.set_drop_replies(n)

    def drop_requests(self) -> None:
        """Nothing reaches the server any more, and the client is not told."""
        self._faults.drop_requests = True

    def cut(self, *, rst: bool = False) -> None:
        """Close all connections (with RST the client sees "reset by peer"); new ones work."""
        with self._lock:
            pumps = list(self._pumps)
        for pump in pumps:
            pump.close(rst=rst)
        for pump in pumps:
            pump.join()

    def cut_after(self, size: int) -> None:
        """Close a connection, once, when ``size`` more bytes of (no handshake's) replies passed."""
        self._faults.set_cut_after(size)

    def cut_handshakes(self, n: int) -> None:
        """Close the next ``n`` connections that shake hands, before they are answered."""
        self._faults.set_cut_handshakes(n)

    def refuse(self) -> None:
        """Stop listening: new connections are refused, existing ones go on (see ``cut()``)."""
        with self._listening:
            thread, listener = self._accepting, self._listener
            if thread is None or listener is None:
                return
            self._listener = self._accepting = None
            with contextlib.suppress(OSError):  # wakes the thread; closing alone would not
                socket.create_connection(("127.0.0.1", self.port)).close()
            thread.join()
            listener.close()

    def rewrite(self, old: bytes, new: bytes) -> None:
        """Replace bytes in replies. The lengths in RESP are bytes like any other: mind them.

        ``rewrite(b"$6\\r\\n7.0.15", b"$5\\r\\n6.2.9")`` makes HELLO tell of an older server.
        """
        self._faults.add_rewrite(old, new)

    def restore(self) -> None:
        """No faults any more."""
        self._faults.clear()
        self._listen()

    # life

    def close(self) -> None:
        """Close everything."""
        self.refuse()
        self._faults.clear()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        with self._listening:
            if self._listener is not None:
                return
            wait_until(self._bind, what=f"port {self.port or 'whatever'} to be free")
            self._accepting = threading.Thread(
                target=self._accept, args=(self._listener,), name="proxy-accept", daemon=True
            )
            self._accepting.start()

    def _bind(self) -> bool:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = self.port or free_port()
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:  # taken between looking and binding
            listener.close()
            return False
        self.port, self._listener = port, listener
        return True

    def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            if self._listener is not listener:
                client.close()
                return
            try:
                server = self._connect()
            except OSError:  # the server is away: the client gets an end of file
                client.close()
                continue
            pump = Pump(client, server, self._faults, sent=self._sent, ended=self._ended)
            with self._lock:  # so that cut() finds it started
                for count in self._counts:
                    count.connections += 1
                self._pumps.add(pump)
                pump.start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, int):
            server = socket.create_connection(("127.0.0.1", self._target))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return server
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._target))
        except OSError:
            server.close()
            raise
        return server

    def _ended(self, pump: Pump) -> None:
        with self._lock:
            self._pumps.discard(pump)
