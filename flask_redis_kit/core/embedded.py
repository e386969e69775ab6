"""``embedded://``: a real server that belongs to one application and all of its processes.

In the server's directory (0700) lie its data and

- ``lock``, held by the launcher and the server until the server has exited;
- ``owners``, a FIFO that every process holds open for writing while it uses the server; when the
  last one lets go, by ``release()`` or by dying, the launcher stops the server;
- ``redis.sock``, the server's socket, or a symbolic link to it where the path would be too long;
- ``server.log``, what the server said since it started (``server.log.1``: the one before it).

To join, a process opens the FIFO and has the launcher confirm it, and the server must answer a
PING. Otherwise it waits for the lock, which means that there is no server, and starts one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import select
import shutil
import socket
import stat
import tempfile
import threading
import time
import weakref
from pathlib import Path

from flask_redis_kit.core.descriptors import close, open_private, share
from flask_redis_kit.core.errors import ConfigError, EmbeddedError
from flask_redis_kit.core.launcher import find_binary, launch

__all__ = ["EmbeddedServer", "find_binary"]

_SOCKET_PATH_LIMIT = 103  # bytes: 104 with the final zero on macOS, 108 on Linux
_PING_TIMEOUT = 1.0  # seconds
_CONFIRM_TIMEOUT = 1.0  # seconds
_servers: weakref.WeakSet[EmbeddedServer] = weakref.WeakSet()


class EmbeddedServer:
    """One real server owned by an application, reached over a unix socket.

    All processes that name the same directory share one server. It ends with the last process
    that holds it; a forked child holds what its parent held, and its exit harms nothing.

    ``directory`` is made (0700) where it is missing. With ``private=True`` the server is shared
    with forked children only and lies in a fresh temporary directory (inside ``directory``, if one
    is given), which is removed when the server ends. ``start_timeout`` is how many seconds a server
    may give no answer; while it loads its data, it answers.
    """

    def __init__(
        self, directory: Path | str | None, *, private: bool = False, start_timeout: float = 10.0
    ) -> None:
        if directory is None and not private:
            raise ConfigError("A shared embedded server needs a directory, as in embedded:///dir.")
        self._parent = None if directory is None else str(Path(directory).absolute())
        self._private = private
        self._start_timeout = start_timeout
        self._lock = threading.Lock()
        self._place: _Place | None = None
        self._held: int | None = None
        _servers.add(self)

    def __repr__(self) -> str:
        kind = "private" if self._private else "shared"
        return f"<EmbeddedServer {self._parent or 'in a temporary directory'} ({kind})>"

    def __del__(self) -> None:
        if getattr(self, "_held", None) is not None:
            self.release()

    def ensure(self, *, verify: bool = False) -> str:
        """Join the running server, or start it; return the path of its unix socket.

        When this process holds a running server already, this costs one system call and sends
        nothing. ``verify=True`` sends a PING, too: use it after a failed connect. A server that
        died is started again with its data (a private one without, at another path).

        Raises ``EmbeddedError``, with the server's last words, if it can't be started or joined.
        """
        with self._lock:
            place, held = self._place, self._held
            if place is not None and held is not None and _is_served(held):
                if not verify or _is_ready(_ping(place.socket)):
                    return place.socket
            elif held is not None:
                self._let_go()
            try:
                return self._settle()
            except OSError as error:
                raise EmbeddedError(
                    f"The embedded server can't use {self._parent or 'its directory'}: {error}"
                ) from error

    def release(self) -> None:
        """Stop holding the server. It exits when the last holder of any process is gone."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            close(self._held)
            self._held = None

    def _settle(self) -> str:
        """Join or start the server; where that fails, what was held before is still held."""
        if self._held is None or self._place is None:
            self._place = _Place.prepare(self._parent, private=self._private)
        attempt = _Attempt(self._place, self._held, self._start_timeout)
        try:
            attempt.run()
        except BaseException:
            if attempt.holder is not None and attempt.holder != self._held:
                close(attempt.holder)
            raise
        finally:
            attempt.close_log()
        if attempt.holder != self._held:
            self._let_go()
        self._held = attempt.holder
        share(...)
        return self._place.socket
