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
from contextlib import suppress
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


def family(path: str) -> set[int]:
    """The process ids of the server and its launcher."""
    group = os.getpgid(int(info(path, "process_id")))
    return {pid for pid, (_, its_group) in _processes().items() if its_group == group}


def is_alive(pid: int) -> bool:
    """Whether there is such a process. One that is dead and not yet reaped is not alive."""
    return not _processes().get(pid, ("Z", 0))[0].startswith("Z")


def _processes() -> dict[int, tuple[str, int]]:
    """State and group of every process; from /proc, as small systems have no ps."""
    found = {}
    if Path("/proc/self/stat").exists():
        # names alone: to look into the folder of a process that ends just then is an error
        for name in filter(str.isdigit, (each.name for each in Path("/proc").iterdir())):
            with suppress(FileNotFoundError, ProcessLookupError):
                stat = Path("/proc", name, "stat").read_text()
                state, _, group = stat.rpartition(")")[2].split()[:3]
                found[int(name)] = (state, int(group))
    else:
        listing = subprocess.check_output(["ps", "-A", "-o", "pid=,state=,pgid="], text=True)
        for pid, state, group in map(str.split, listing.splitlines()):
            found[int(pid)] = (state, int(group))
    return found


class Owner:
    """A process of an application, in a session of its own as a terminal would start it."""

    def __init__(self, *arguments: str | Path, program: str = "serve", **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.core.owner", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )

    def ask(self, order: str) -> str:
        """Have the process do something; return its one-line answer."""
        self.tell(order)
        return self.hear()

    def tell(self, order: str) -> None:
        """Have the process do something; ``hear`` its answer later."""
        assert self.process.stdin
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """The next line that the process says; after two minutes of silence it is killed."""
        assert self.process.stdout
        silence = threading.Timer(120, os.killpg, (self.process.pid, signal.SIGKILL))
        silence.start()
        try:
            line = self.process.stdout.readline()
        finally:
            silence.cancel()
            silence.join()
        assert line, f"the process ended with {self.process.wait()}"
        return line.strip()

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)
        # a signal right before the read of the next order does not end that: an order does
        with suppress(BrokenPipeError):
            self.tell("nothing")

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let the process end by itself, as at the end of its input."""
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
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
    # who runs the tests in the background may have them ignore it, and all that they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "deaf" in options:  # as in a thread of uWSGI, in an application that ignores its children
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    server = EmbeddedServer(directory, private="private" in options, start_timeout=60)
    orders: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
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
        [sys.executable, "-c", DIES_WITH_ITS_STDIN],
        close_fds=False,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def come_and_go(directory: str, processes: str, rounds: str) -> None:
    """Processes that join or start, count, see the server stay theirs, and leave; over and over.

    Each prints, for every round, the id of the server that it asked and the count that it got.
    After five rounds all of them have exited and others come.
    """

    def worker() -> None:
        server = EmbeddedServer(directory, start_timeout=60)
        for _ in range(5):
            path = server.ensure()
            server_id, count = info(path, "run_id"), command(path, "INCR", "visits")
            for _ in range(random.randrange(1, 9)):  # a dying one's launcher has left by the end
                assert info(server.ensure(), "run_id") == server_id
            os.write(sys.stdout.fileno(), f"{server_id} {count[1:]}".encode())
            server.release()
            # the launcher notices somewhere in this time; a sleep would be too long
            come_back = time.perf_counter() + 0.01 * random.random() ** 4
            while time.perf_counter() < come_back:
                pass
        os._exit(0)

    for _ in range(int(rounds) // 5):
        children = [_fork(worker, wait=False) for _ in range(int(processes))]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def fork_during_ensure(directory: str) -> None:
    """As long as another thread starts the server, fork children that release it, and stay.

    Each child prints its id, the parent "started" at the end.
    """
    server = EmbeddedServer(directory, start_timeout=60)

    def child() -> None:
        server.release()
        os.write(sys.stdout.fileno(), f"{os.getpid()}\n".encode())
        signal.pause()

    starting = threading.Thread(target=server.ensure)
    starting.start()
    children = 0
    while starting.is_alive():
        _fork(child, wait=False)
        children += 1
        starting.join(0.003)
    server.release()
    print(f"started {children}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    programs = {f.__name__: f for f in (serve, come_and_go, fork_during_ensure)}
    programs[sys.argv[1]](*sys.argv[2:])
