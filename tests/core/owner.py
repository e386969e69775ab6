"""Applications that own an embedded server: real processes, told over stdin what to do.

Run as ``python -m tests.core.owner <program> <arguments>``; the tests use ``Owner`` and ``run``.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flask_redis_kit.core.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
DIES_WITH_ITS_STDIN = "import sys; sys.stdin.read()"


def command(path: str, *words: str) -> str:
    """Send one command over a connection of its own; return the raw reply."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(path)
        request = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(f"*{len(words)}\r\n{request}".encode())
        reply = connection.recv(65536).decode()
        if not reply:
            raise ConnectionError("the server hung up")
        return reply


def info(path: str, field: str) -> str:
    """One field of the server's INFO."""
    for line in command(path, "INFO").splitlines():
        if line.startswith(f"{field}:"):
            return line.partition(":")[2]
    raise AssertionError(f"no {field} in INFO")


class Owner:
    """A process of an application, in a session of its own as a terminal would start it."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.core.owner", "serve", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )

    def ask(self, question: str) -> str:
        """Have the process do something; return its one-line answer."""
        assert self.process.stdin
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        """The next line that the process says."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        return line.strip()

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let the process end by itself, as at the end of its input."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def run(program: str, *arguments: str | Path) -> list[str]:
    """Run one of the programs below to its end; return what it printed, line by line."""
    return subprocess.run(
        [sys.executable, "-m", "tests.core.owner", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()


def serve(directory: str, *options: str) -> None:
    """An application: takes orders until its input ends; Ctrl-C lets it write one last key."""
    if "deaf" in options:  # as in a thread of uWSGI, in an application that ignores its children
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    server = EmbeddedServer(directory, private="private" in options)
    orders: dict[str, Callable[[], object]] = {
        "ensure": server.ensure,
        "verify": lambda: server.ensure(verify=True),
        "release": server.release,
        "fork a child that exits": lambda: _fork(sys.exit),
        "fork a child that stays": lambda: _fork(signal.pause, wait=False),
        "run a program that stays": lambda: _spawn().pid,
    }
    try:
        for order in sys.stdin:
            print(orders[order.strip()](), flush=True)
    except KeyboardInterrupt:
        print(command(server.ensure(), "SET", "finished", "yes"), flush=True)


def _fork(then: Callable[[], object], *, wait: bool = True) -> int:
    child = os.fork()
    if child == 0:
        then()
    return os.waitpid(child, 0)[1] if wait else child


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DIES_WITH_ITS_STDIN], close_fds=False, stdout=subprocess.DEVNULL
    )


def come_and_go(directory: str, processes: str, rounds: str) -> None:
    """Processes that join or start, count, see the server stay theirs, and leave; over and over.

    Each prints, for every round, the id of the server that it asked and the count that it got.
    """

    def worker() -> None:
        server = EmbeddedServer(directory)
        for _ in range(int(rounds)):
            path = server.ensure()
            server_id, count = info(path, "run_id"), command(path, "INCR", "visits")
            for _ in range(random.randrange(1, 9)):  # a dying one's launcher has left by the end
                assert info(server.ensure(), "run_id") == server_id
            os.write(sys.stdout.fileno(), f"{server_id} {count[1:]}".encode())
            server.release()
            time.sleep(random.random() * 0.0003)  # the launcher notices somewhere in this time
        os._exit(0)

    children = [_fork(worker, wait=False) for _ in range(int(processes))]
    results = [os.waitpid(child, 0)[1] for child in children]
    assert results == [0] * len(children)


def fork_during_ensure(directory: str) -> None:
    """Forks children that stay, as long as another thread starts the server.

    The last child then joins the server by itself. Prints its path, and waits for the input's end.
    """
    server = EmbeddedServer(directory)
    starting = threading.Thread(target=server.ensure)
    starting.start()
    while starting.is_alive():
        print(_fork(signal.pause, wait=False), flush=True)
        starting.join(0.003)
    server.release()
    print("started", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    programs = {f.__name__: f for f in (serve, come_and_go, fork_during_ensure)}
    programs[sys.argv[1]](*sys.argv[2:])
