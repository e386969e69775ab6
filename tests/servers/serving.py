"""A server of WSGI in processes of its own, its clients, and what the processes hold open."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.harness.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
_GUNICORN = ["gunicorn", "--workers", "2", "--worker-class"]
COMMANDS = {
    "gunicorn-threads": [*_GUNICORN, "gthread", "--threads", "4", "--preload"],
    "gunicorn-gevent": [*_GUNICORN, "gevent"],
    "waitress": ["waitress", "--threads", "8"],
}
WORKERS = {"gunicorn-threads": 2, "gunicorn-gevent": 2, "waitress": 1}
LOADED_BY_WORKERS = {"gunicorn-gevent"}


class Answer(NamedTuple):
    """A response: the status and the JSON of its body, the cookie that it set."""

    status: int
    body: dict[str, Any]
    cookie: str | None


class Serving:
    """``tests.servers.shop`` behind a real server, on a free port of 127.0.0.1."""

    def __init__(self, kind: str, redis_url: str, home: Path) -> None:
        self.port = free_port()
        self.workers = WORKERS[kind]
        self._loads = self.workers if kind in LOADED_BY_WORKERS else 1
        place = f"127.0.0.1:{self.port}"
        program, *options = COMMANDS[kind]
        options += ["--listen", place] if program == "waitress" else ["--bind", place]
        # appending: the processes share its position with us, who read
        self._log = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115  # closed by stop()
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, *options, "tests.servers.shop:app"],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "REDIS_URL": redis_url,
                "HOME": str(home),  # gunicorn keeps a control socket there
                "XDG_RUNTIME_DIR": str(home),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        try:
            wait_until(self._answers, timeout=60, what="the server to answer")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.output()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/plain").status == 200
        return False

    def stop(self) -> None:
        """SIGTERM; whoever is left after ten seconds is killed."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # a session of our own
            self._process.wait()
        print(self.output())
        self._log.close()

    def output(self) -> str:
        """All that the processes wrote."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    # clients

    def get(self, path: str, cookie: str | None = None) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Connection": "close", **({} if cookie is None else {"Cookie": cookie})}
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            given = response.getheader("Set-Cookie")
        finally:
            connection.close()
        found = json.loads(body) if body[:1] == b"{" else {}
        return Answer(response.status, found, given.partition(";")[0] if given else None)

    def visits(self, number: int, times: int) -> list[Answer]:
        """One visitor, who comes ``times`` times."""
        answers: list[Answer] = []
        cookie: str | None = None
        for _ in range(times):
            answers.append(self.get(f"/visit/{number}", cookie))
            cookie = answers[-1].cookie or cookie
        return answers

    def ask_all(self, paths: Sequence[str], at_once: int = 8) -> list[Answer]:
        """Ask for these, several at once."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(self.get, paths))

    # processes

    def processes(self) -> list[int]:
        """The ids of the server and the workers that it forked."""
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [parent, *map(int, children)]

    def loaded(self) -> dict[int, int]:
        """Which processes imported the application, and how many threads each had then."""

        def said() -> list[tuple[str, str]]:
            return re.findall(r"(\d+) loaded the shop with (\d+) threads", self.output())

        wait_until(lambda: len(said()) == self._loads, what="the application to be loaded")
        return {int(pid): int(threads) for pid, threads in said()}


def connections_to(port: int, pid: int) -> set[str]:
    """The sockets (kernel's numbers) by which a process is connected to a port of 127.0.0.1."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            found = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
            held |= {found[1]} if found else set()
    remote = f"0100007F:{port:04X}"
    table = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return held & {row[9] for row in table if row[2] == remote}
