"""The demo as a process, started as ``make demo`` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.demo.browser import Browser
from tests.harness.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
PATIENT = "embedded://?socket_timeout=10&socket_connect_timeout=10"
"""Its own server as without a setting, but it may be late on a busy machine."""


class Shop:
    """A running demo with its data in ``instance``."""

    def __init__(self, instance: Path, *, port: int | None = None, lines: int = 4000) -> None:
        self.instance = instance
        self.port = port or free_port()
        self._log = instance.with_name(f"{instance.name}.{self.port}.log")
        options = ["--port", str(self.port), "--instance", str(instance), "--lines", str(lines)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.shop", *options],
                cwd=ROOT,
                env={**os.environ, "REDIS_URL": PATIENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, as a terminal would give it
            )

    @property
    def output(self) -> str:
        """What it printed so far, the worker's words with it."""
        return self._log.read_text()

    def opened(self) -> Shop:
        """Wait until it says that it is open, and the worker that it has begun."""
        wait_until(
            lambda: (
                self.process.poll() is not None
                or ("The shop is open" in self.output and "Worker started" in self.output)
            ),
            timeout=60,
            what="the shop to open",
        )
        assert self.process.poll() is None, self.output
        return self

    def browser(self) -> Browser:
        """A new visitor."""
        return Browser(self.port)

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to the whole group. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=60)

    def terminate(self) -> int:
        """SIGTERM to the process alone. Returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL to the process alone: it can clean up nothing."""
        self.process.kill()
        self.process.wait(timeout=60)

    def left(self) -> list[str]:
        """The commands of all processes that have to do with its data."""
        return [command for command in _processes() if str(self.instance) in command]

    def is_gone(self) -> None:
        """Wait until no process of it is left."""
        wait_until(lambda: not self.left(), timeout=60, what=f"the end of {self.left()}")


def _processes() -> list[str]:
    """Working directory and command of every process, where the system tells; this one left out."""
    if not Path("/proc/self/cmdline").exists():
        return subprocess.check_output(["ps", "-A", "-o", "command="], text=True).splitlines()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            found.append(f"{process.joinpath('cwd').readlink()}: {command}")
    return found
