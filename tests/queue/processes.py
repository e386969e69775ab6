"""Worker processes as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import redis

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
WORKERS = "frk:{jobs:default}:queue:workers"


class WorkerProcess:
    """``flask redis worker`` in a process of its own. ``settings`` are ``REDIS_…`` keys."""

    def __init__(self, url: str, *options: str, **settings: object) -> None:
        command = [sys.executable, "-W", "error", "-m", "flask", "--app", "tests.queue.jobs_app"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        environment = {name: f"{value}" for name, value in settings.items()}
        self._process = subprocess.Popen(
            [*command, "redis", "worker", *options],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "REDIS_URL": url,
                **{f"JOBS_{name}": value for name, value in environment.items()},
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ready(self, client: redis.Redis) -> WorkerProcess:
        """Wait until it is signed on."""
        mark = f":{self.pid}:".encode()
        wait_until(
            lambda: not self.alive or any(mark in name for name in client.zrange(WORKERS, 0, -1)),
            timeout=60,
            what="the worker to sign on",
        )
        assert self.alive, self.output()
        return self

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_for(self, text: str) -> None:
        """Wait until it has written this."""
        wait_until(lambda: text in self.output(), timeout=60, what=f"{text!r} in its output")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def exit_code(self) -> int:
        """Wait for its end."""
        return self._process.wait(timeout=60)

    def output(self) -> str:
        """What it has written."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def end(self) -> None:
        """Make sure that it is gone."""
        self.kill()
        self._log.close()
