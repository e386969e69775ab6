"""``embedded://``: a real server that belongs to one application and all of its processes.

To join, a process becomes one of the owners (``directory.py`` says how) and the server must answer
a PING. Otherwise it waits for the directory's lock, which means that there is no server, and
starts one (``launcher.py``).
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from pathlib import Path

from flask_redis_kit.core.descriptors import close, fork_waits, share
from flask_redis_kit.core.directory import ServerDirectory, is_served
from flask_redis_kit.core.errors import ConfigError, EmbeddedError
from flask_redis_kit.core.launcher import find_binary

__all__ = ["EmbeddedServer", "find_binary"]

_PING_TIMEOUT = 1.0  # seconds
_LOADING = b"-LOADING"


class EmbeddedServer:
    """One real server owned by an application, reached over a unix socket.

    All processes that name the same directory share one server. It ends with the last process
    that holds it; a forked child holds what its parent held, and its exit harms nothing.

    ``directory`` is made (0700) where it is missing. With ``private=True`` only forked children
    share the server, and it lies in a fresh temporary directory (inside ``directory``, if one is
    given) that is removed when it ends. ``start_timeout``: after how many seconds without any
    answer to give up; a server that loads its data answers, and is waited for.
    """

    def __init__(
        self, directory: Path | str | None, *, private: bool = False, start_timeout: float = 10.0
    ) -> None:
        if directory is None and not private:
            raise ConfigError(
                "A shared embedded server needs a directory, as in embedded:///path/to/directory."
            )
        self._path = None if directory is None else str(Path(directory).absolute())
        self._private = private
        self._start_timeout = start_timeout
        self._lock = threading.Lock()
        self._directory: ServerDirectory | None = None
        self._socket = ""
        self._held: int | None = None
        _servers.add(self)

    def __repr__(self) -> str:
        kind = "private" if self._private else "shared"
        return f"<EmbeddedServer, {kind}, in {self._path or 'a temporary directory'}>"

    def __del__(self) -> None:
        held = getattr(self, "_held", None)
        if held is not None:
            close(held)

    def ensure(self, *, verify: bool = False) -> str:
        """Join the running server, or start it; return the path of its unix socket.

        While this process holds a running server, that costs one system call and sends nothing.
        With ``verify=True`` it sends a PING, too: for use after a failed connect. A server that
        died is started again with its data (a private one without, and at another path).

        Raises ``EmbeddedError``, with the server's last words, if it can't be started or joined.
        """
        with self._lock:
            try:
                if not self._still_holds(verify=verify):
                    self._let_go()
                    self._acquire()
            except OSError as error:
                raise EmbeddedError(
                    f"The embedded server in {self._path or 'a temporary directory'} "
                    f"can't be started or joined: {error}"
                ) from error
            return self._socket

    def release(self) -> None:
        """Stop holding the server. It exits when the last holder of any process is gone."""
        with self._lock:
            self._let_go()

    def _still_holds(self, *, verify: bool) -> bool:
        if self._held is None or self._directory is None or not is_served(self._held):
            return False
        return not verify or self._answers(self._directory, self._held)

    def _let_go(self) -> None:
        with fork_waits():
            held, self._held = self._held, None
            if held is not None:
                close(held)

    def _acquire(self) -> None:
        """Join, or wait for the lock and start: whichever becomes possible first."""
        directory = ServerDirectory.prepare(self._path, temporary=self._private)
        deadline = time.monotonic() + self._start_timeout
        pause = 0.001
        while True:
            if self._join(directory) or self._start(directory):
                self._directory, self._socket = directory, directory.socket_path()
                return
            if time.monotonic() >= deadline:
                raise EmbeddedError(
                    f"A server still holds {directory.path}, but could not be joined within "
                    f"{self._start_timeout:g} s. {directory.last_words()}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    def _join(self, directory: ServerDirectory) -> bool:
        holder = directory.knock()
        return holder is not None and self._keep_if_it_answers(directory, holder)

    def _start(self, directory: ServerDirectory) -> bool:
        lock = directory.try_lock()
        if lock is None:
            return False
        holder, log = directory.start(lock)
        try:
            if self._keep_if_it_answers(directory, holder):
                return True
            raise EmbeddedError(
                f"The embedded server in {directory.path} did not start. "
                f"{directory.last_words(log)}"
            )
        finally:
            close(log)

    def _keep_if_it_answers(self, directory: ServerDirectory, holder: int) -> bool:
        try:
            if self._answers(directory, holder):
                with fork_waits():
                    share(holder)
                    self._held = holder
                return True
        finally:
            if self._held != holder:
                close(holder)
        return False

    def _answers(self, directory: ServerDirectory, holder: int) -> bool:
        """Wait for the server's answer. False: it is dead. Raises if it lives and is silent."""
        deadline = time.monotonic() + self._start_timeout
        pause = 0.001
        while True:
            reply = _ping(directory.socket_path())
            if reply.startswith(_LOADING):
                deadline = time.monotonic() + self._start_timeout
            elif reply:
                return True
            if not is_served(holder) or directory.is_free():
                return False
            if time.monotonic() >= deadline:
                raise EmbeddedError(
                    f"The embedded server in {directory.path} runs, but gave no answer for "
                    f"{self._start_timeout:g} s. {directory.last_words()}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)


def _ping(path: str) -> bytes:
    """The server's reply to PING, or nothing. Any but LOADING, even an error, shows it serves."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PING_TIMEOUT)
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            return connection.recv(256)
    except OSError:
        return b""


_servers: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


def _renew_locks() -> None:
    """In a forked child: another thread of the parent may have been in ``ensure()``."""
    for server in _servers:
        server._lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_locks)
