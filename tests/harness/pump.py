"""One connection through the proxy: a thread for each direction."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable

from tests.harness.faults import Faults
from tests.harness.requests import Command, RequestParser, is_handshake

_CHUNK = 1 << 18
# A client sends a small burst in one piece. A large one comes in several, and the server answers
# the first before the client has sent the last: replies are held until the client has been silent
# for a while, so that they all belong to one trip. The while is counted in turns of this thread,
# not in seconds: where the client waits long for its turn, this thread does as well.
_LARGE = 4096
_SILENT_TURNS = 12
_TURN = 0.005


class Pump:
    """Copies bytes both ways, reports every burst of requests to ``sent`` before it goes on."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        faults: Faults,
        *,
        sent: Callable[[list[Command], bool], None],
        ended: Callable[[Pump], None],
    ) -> None:
        self._client = client
        self._server = server
        self._faults = faults
        self._sent = sent
        self._ended = ended
        self._parser = RequestParser()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._rst = False
        self._in_burst = False  # the client sent something, nothing has come back yet
        self._in_trip = False  # … and it was more than a handshake
        self._burst_size = 0
        self._running = 2
        with contextlib.suppress(OSError):  # it may be gone already
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._threads = [
            threading.Thread(target=self._run, args=(copy,), name="proxy-pump", daemon=True)
            for copy in (self._copy_requests, self._copy_replies)
        ]

    def start(self) -> None:
        """Begin copying."""
        for thread in self._threads:
            thread.start()

    def close(self, *, rst: bool = False) -> None:
        """Make both threads end, which closes the sockets."""
        self._rst = self._rst or rst
        self._closed.set()
        # a shutdown wakes a thread that reads; shutting down the write side would send a FIN
        # ahead of the RST
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD if self._rst else socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until the sockets are closed."""
        for thread in self._threads:
            thread.join(timeout=1)
        if any(thread.is_alive() for thread in self._threads):  # writing to one who doesn't read
            self._rst = False
            self.close()
            for thread in self._threads:
                thread.join()

    def _run(self, copy: Callable[[], None]) -> None:
        try:
            with contextlib.suppress(OSError):
                copy()
        finally:
            self.close()
            with self._lock:
                self._running -= 1
                last = not self._running
            if last:
                self._close_sockets()

    def _close_sockets(self) -> None:
        if self._rst:
            linger = struct.pack("ii", 1, 0)
            with contextlib.suppress(OSError):
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._client.close()
        self._server.close()
        self._ended(self)

    # client to server

    def _copy_requests(self) -> None:
        while data := self._client.recv(_CHUNK):
            self._count(data)
            if not self._faults.drop_requests:
                self._server.sendall(data)

    def _count(self, data: bytes) -> None:
        commands = self._parser.feed(data)
        counts = not self._parser.understood or any(not is_handshake(each) for each in commands)
        with self._lock:
            if not self._in_burst:
                self._in_burst, self._in_trip, self._burst_size = True, False, 0
            self._burst_size += len(data)
            new_trip = counts and not self._in_trip
            self._in_trip = self._in_trip or counts
        self._sent(commands, new_trip)

    # server to client

    def _copy_replies(self) -> None:
        drop, of_trip, held = False, False, b""
        while data := self._server.recv(_CHUNK):
            if self._in_burst:
                self._await_end_of_burst()
                of_trip = self._end_burst()
                if not of_trip and self._faults.cuts_handshake():
                    return
                drop = of_trip and self._faults.drops_trip()
                self._closed.wait(self._faults.delay)
            if drop or self._faults.drop_all_replies:
                continue
            data, held = self._faults.rewritten(held + data)
            if of_trip and (allowed := self._faults.passes(len(data))) is not None:
                self._client.sendall(data[:allowed])
                return
            self._client.sendall(data)

    def _await_end_of_burst(self) -> None:
        if self._burst_size < _LARGE:
            return
        silent = 0
        while silent < _SILENT_TURNS and not self._closed.is_set():
            before = self._burst_size
            self._closed.wait(_TURN)
            more = bool(select.select([self._client], [], [], 0)[0])
            silent = 0 if more or self._burst_size != before else silent + 1

    def _end_burst(self) -> bool:
        """Whether the burst that ends here was a trip."""
        with self._lock:
            self._in_burst = self._parser.partial
            return self._in_trip
