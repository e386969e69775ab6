"""Real servers owned by the test run: ``Server()`` starts one, ``stop()`` ends it.

A server never outlives the process that started it: a tiny shell waits on a pipe whose other end
only that process holds, and kills the server when the pipe closes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.harness.certificates import Certificate
from tests.harness.engines import Engine, engines, require_engine, requires_redis_server
from tests.waiting import wait_until

__all__ = ["Engine", "Server", "engines", "free_port", "require_engine", "requires_redis_server"]

# The shell becomes the server, so the server's pid is the one that Popen knows. The watcher is
# started before that and is no child of the server; a line on the pipe dismisses it. $0 is the
# server's directory.
_LAUNCH = """
exec 3<&0 </dev/null
( (read -r _ <&3 || { kill -9 $$; rm -rf "$0"; }) >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now, outside the range of outgoing connections.

    So is the one that a node of a Cluster takes besides, 10000 higher.
    """
    while True:
        port = random.randint(10240, 22000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class ServerStartError(RuntimeError):
    """The server program ended by itself; the message holds the end of its log."""


class Server:
    """A standalone server on a unix socket and, unless ``tcp=False``, a free port of 127.0.0.1.

    ``password`` is the default user's; ``users`` maps names to ACL rules (``"on >pw ~* +@all"``);
    ``tls`` makes the TCP port speak TLS only; ``args`` go to the command line as they are.
    ``restart()`` keeps the data; with ``append_only`` so do ``kill()`` and ``start()``.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        tcp: bool = True,
        password: str | None = None,
        users: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
        tls_client_certificates: bool = False,
        append_only: bool = False,
        args: Sequence[str] = (),
    ) -> None:
        self.engine = engine or engines()[0]
        self.password = password
        self.tls = tls
        self.port = 0
        self.directory = Path(tempfile.mkdtemp(prefix="frk-"))
        self.socket_path = str(self.directory / "s")
        self._tcp = tcp
        self._tls_client_certificates = tls_client_certificates
        self._args = ["--appendonly", "yes" if append_only else "no"]
        self._args += ["--requirepass", password] if password else []
        for name, rules in (users or {}).items():
            self._args += ["--user", name, *rules.split()]
        self._args += args
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._clients: weakref.WeakSet[redis.Redis] = weakref.WeakSet()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    # addresses

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        if self._process is None:
            raise RuntimeError("the server is stopped")
        return self._process.pid

    @property
    def url(self) -> str:
        """The TCP address, with the default user's password."""
        return self.url_as("", self.password)

    @property
    def unix_url(self) -> str:
        """The unix socket's address, with the default user's password."""
        userinfo = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"unix://{userinfo}{self.socket_path}?db=0"

    def url_as(self, user: str, password: str | None) -> str:
        """The TCP address with these credentials."""
        userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
        return f"{'rediss' if self.tls else 'redis'}://{userinfo}127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A plain redis-py client over the unix socket: no retries, bytes; closed at ``stop()``."""
        settings: dict[str, Any] = {
            "unix_socket_path": self.socket_path,
            "password": self.password,
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
        }
        client = redis.Redis(**(settings | options))
        self._clients.add(client)
        return client

    # life

    @property
    def alive(self) -> bool:
        """Whether the process runs (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def paused(self) -> bool:
        """Whether it was paused, and not resumed."""
        return self._paused

    def start(self) -> None:
        """Start it, on the same port as before if it ran before; return when it answers."""
        if self.alive:
            raise RuntimeError("the server is running")
        self._reap()
        wait_until(self._started, what=f"port {self.port or 'whatever'} to be free")

    def stop(self) -> None:
        """End it for good, and remove its directory."""
        self._terminate()
        for client in list(self._clients):
            client.close()
        self._clients.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL: what is not in an append-only file is lost."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def pause(self) -> None:
        """SIGSTOP; returns when it stands still. The kernel still accepts connections."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT after ``pause()``."""
        os.kill(self.pid, signal.SIGCONT)
        self._paused = False

    def restart(self) -> None:
        """SIGTERM, then start on the same port with the same data."""
        self._terminate()
        self.start()

    def revive(self) -> None:
        """Make it run again whatever a test did to it."""
        if self._paused and self.alive:
            self.resume()
        if self.alive and not self._answers(timeout=2):  # a CLIENT PAUSE, or an endless script
            self.kill()
        if not self.alive:
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # the process

    def _started(self) -> bool:
        port = self.port or (free_port() if self._tcp else 0)
        try:
            self._launch(port)
        except ServerStartError as died:
            if "bind" not in str(died).lower():
                raise
            return False
        self.port = port
        return True

    def _launch(self, port: int) -> None:
        log = self.directory / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", _LAUNCH, str(self.directory), *self._command(port)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop their servers
            )
        self._paused = False
        try:
            wait_until(self._answers, what=f"{self.engine.name} to start")
        except BaseException as error:
            self.kill()
            if isinstance(error, ServerStartError):
                raise ServerStartError(log.read_text(errors="replace")[-2000:]) from None
            raise

    def _answers(self, timeout: float = 5) -> bool:
        if not self.alive:
            raise ServerStartError
        try:
            # the socket lies in our own directory, so nobody else's server can answer
            with redis.Redis(
                unix_socket_path=self.socket_path,
                password=self.password,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=timeout,
            ) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False  # not there yet, loading its data, or busy

    def _command(self, port: int) -> list[str]:
        command = [self.engine.binary, "--dir", str(self.directory), "--bind", "127.0.0.1"]
        # a save point that is never reached: saved at SIGTERM, and never in the background
        command += ["--unixsocket", self.socket_path, "--save", "86400", "1000000000"]
        if self.tls is None:
            return [*command, "--port", str(port), *self._args]
        command += ["--port", "0", "--tls-port", str(port)]
        command += ["--tls-cert-file", self.tls.certificate, "--tls-key-file", self.tls.key]
        command += ["--tls-ca-cert-file", self.tls.authority]
        command += ["--tls-auth-clients", "yes" if self._tls_client_certificates else "no"]
        return [*command, *self._args]

    def _terminate(self) -> None:
        if self._process is not None and self.alive:
            if self._paused:
                self.resume()
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def _reap(self) -> None:
        """Collect the ended process and dismiss its watcher."""
        process, self._process, self._paused = self._process, None, False
        if process is None:
            return
        process.wait()
        if process.stdin is not None:
            try:
                process.stdin.write(b"\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # the watcher was killed along with the server's session
