"""The directory of an embedded server: its lock, its owners, its socket, its log.

In the directory (0700) lie the server's data and

- ``lock``, held by the launcher and the server until the server has exited;
- ``owners``, a FIFO that every process holds open for writing while it uses the server; when the
  last one lets go, by will or by dying, the launcher stops the server;
- ``redis.sock``, the server's socket, or a symbolic link to it where the path would be too long;
- ``server.log``, what the server said since it started (``server.log.1``: the one before it).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import select
import shutil
import stat
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from flask_redis_kit.core.descriptors import close, open_private
from flask_redis_kit.core.errors import EmbeddedError
from flask_redis_kit.core.launcher import find_binary, launch

_SOCKET_PATH_LIMIT = 103  # bytes: with the final zero, 104 on macOS and 108 on Linux
_CONFIRM_TIMEOUT = 1.0  # seconds for the launcher to confirm a newcomer


class Started(NamedTuple):
    """A server that was just launched: the descriptors of its owner and of its log."""

    holder: int
    log: int


class ServerDirectory:
    """One directory that at most one server uses at any time. ``temporary``: it goes with it."""

    def __init__(self, path: str, *, temporary: bool) -> None:
        self.path = path
        self.temporary = temporary
        self._socket = f"{path}/redis.sock"
        self._has_short_path = len(os.fsencode(self._socket)) <= _SOCKET_PATH_LIMIT

    @classmethod
    def prepare(cls, path: str | None, *, temporary: bool) -> ServerDirectory:
        """Make the directory where it is missing; refuse one that others could tamper with.

        With ``temporary`` it is a fresh one, inside ``path`` if that is given.
        """
        if path is not None:
            _make(path)
        if temporary:
            path = tempfile.mkdtemp(prefix="frk-", dir=path)
        elif path is None:
            raise EmbeddedError("Only a private embedded server needs no directory.")
        # one name for one directory, so that its processes agree on the socket's path
        path = os.path.realpath(path)
        _refuse_shared(path, f"Name a directory below it, which will then be made: {path}/redis.")
        return cls(path, temporary=temporary)

    def socket_path(self) -> str:
        """The path of the socket, short enough to connect to; there may be no server behind it."""
        if self._has_short_path:
            return self._socket
        # read, not computed: the process that started the server may have had another TMPDIR
        with suppress(OSError):
            return str(Path(self._socket).readlink())
        return self._socket

    def knock(self) -> int | None:
        """Become one of the owners; return the descriptor that keeps the server alive, or None.

        A FIFO that opens is not enough: its reader may have seen the end of the file just before,
        and be about to stop the server. It confirms that it has read our token.
        """
        try:
            holder = open_private(f"{self.path}/owners", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):  # ENXIO: nobody reads it
                return None
            raise
        token = secrets.token_hex(8)
        confirmation = Path(self.path, f"joined.{token}")
        confirmed = False
        try:
            os.write(holder, f"{token}\n".encode())
            deadline = time.monotonic() + _CONFIRM_TIMEOUT
            while not (confirmed := confirmation.exists()):
                if not is_served(holder) or time.monotonic() >= deadline:
                    break
                time.sleep(0.0005)
        except (BrokenPipeError, BlockingIOError):
            pass
        finally:
            if not confirmed:
                close(holder)
        confirmation.unlink(missing_ok=True)
        return holder if confirmed else None

    def try_lock(self) -> int | None:
        """Lock the directory, which says that no server uses it; None while somebody else does."""
        lock = open_private(f"{self.path}/lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            close(lock)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return lock

    def is_free(self) -> bool:
        """Whether no server uses the directory. Its launcher's watcher may still be there."""
        try:
            lock = self.try_lock()
        except FileNotFoundError:  # a temporary one, already removed
            return True
        if lock is not None:
            close(lock)
        return lock is not None

    def start(self, lock: int) -> Started:
        """Launch a server under our lock, which is handed over to it; we are its first owner."""
        with ExitStack() as on_failure, ExitStack() as afterwards:
            afterwards.callback(close, lock)
            if self.temporary:
                on_failure.callback(shutil.rmtree, self.path, ignore_errors=True)
            binary = find_binary()
            self._clear_away()
            fifo = f"{self.path}/owners"
            os.mkfifo(fifo, 0o600)
            # both ends are open before the launcher runs: it can't miss us, nor wait in vain
            reader = open_private(fifo, os.O_RDONLY | os.O_NONBLOCK)
            afterwards.callback(close, reader)
            holder = open_private(fifo, os.O_WRONLY | os.O_NONBLOCK)
            on_failure.callback(close, holder)
            os.set_blocking(reader, True)
            log = open_private(f"{self.path}/server.log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
            on_failure.callback(close, log)
            remove = [self.path] if self.temporary else []
            if self._has_short_path:
                socket_path = self._socket
            else:
                runtime = self._make_runtime_directory()
                remove.append(runtime)
                socket_path = f"{runtime}/s"
                Path(self._socket).symlink_to(socket_path)
            launch(
                binary,
                directory=self.path,
                socket_path=socket_path,
                owners=reader,
                lock=lock,
                log=log,
                remove=remove,
            )
            on_failure.pop_all()
            return Started(holder, log)

    def last_words(self, log: int | None = None) -> str:
        """The last lines of the server's log, from the descriptor if its owner has one."""
        said = b""
        with suppress(OSError):
            said = Path(self.path, "server.log").read_bytes() if log is None else _read(log)
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        return "\n  ".join(["Its last words:", *lines[-6:]]) if lines else "It said nothing."

    def _clear_away(self) -> None:
        """Remove what an earlier server left, by a power cut, say. Its last log is kept."""
        for confirmation in Path(self.path).glob("joined.*"):
            confirmation.unlink(missing_ok=True)
        for name in ("owners", "redis.sock"):
            Path(self.path, name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            Path(self.path, "server.log").replace(Path(self.path, "server.log.1"))

    def _make_runtime_directory(self) -> str:
        """A short directory for the socket alone, always the same for the same directory."""
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        runtime = f"{os.path.realpath(tempfile.gettempdir())}/frk-{os.geteuid()}-{digest}"
        if len(os.fsencode(runtime)) + 2 > _SOCKET_PATH_LIMIT:
            raise EmbeddedError(
                f"The paths {self.path} and {tempfile.gettempdir()} are both too long for a unix "
                "socket. Set TMPDIR to a shorter one."
            )
        with suppress(FileExistsError):
            Path(runtime).mkdir(mode=0o700)
        _refuse_shared(runtime, "Remove it, or set TMPDIR to a directory of your own.")
        return runtime


def is_served(holder: int) -> bool:
    """Whether a launcher still reads the FIFO that ``holder`` writes to: one system call.

    gevent's poll sees no errors, so there the answer is always yes; a PING finds out.
    """
    poll = select.poll()
    poll.register(holder, select.POLLOUT)
    return all(events == select.POLLOUT for _, events in poll.poll(0))


def _make(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        Path(path).mkdir(mode=0o700)


def _refuse_shared(path: str, cure: str) -> None:
    """Refuse a directory in which another user could plant a socket, a FIFO or data."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise EmbeddedError(f"{path} is no directory. {cure}")
    if found.st_uid != os.geteuid():
        raise EmbeddedError(f"{path} belongs to another user ({found.st_uid}). {cure}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedError(f"Other users may write to {path}. `chmod 700` it. {cure}")


def _read(log: int) -> bytes:
    size = os.fstat(log).st_size
    return os.pread(log, 4096, max(0, size - 4096))
