"""Fixtures for tests of embedded servers: processes that own one, and what must be gone after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_redis_kit.core.embedded import EmbeddedServer
from tests.core.owner import Owner, family, is_alive
from tests.harness.servers import Engine
from tests.waiting import wait_until

NewOwner = Callable[..., Owner]


@pytest.fixture
def use_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded servers of this test run the program that ``--engine`` names."""
    monkeypatch.setenv("REDIS_EMBEDDED_BINARY", engine.binary)


@pytest.fixture
def new_owner() -> Iterator[NewOwner]:
    """Starts processes of the application, and ends those that the test has left."""
    owners: list[Owner] = []

    def start(*arguments: str | Path, program: str = "serve", **environment: str) -> Owner:
        owners.append(Owner(*arguments, program=program, **environment))
        return owners[-1]

    yield start
    for owner in owners:
        owner.kill()


@pytest.fixture
def server(use_engine: None, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that this process holds; it is gone after the test, whatever the test does."""
    server = EmbeddedServer(tmp_path / "redis")
    path = server.ensure()
    processes = family(path)
    yield server
    server.release()
    wait_until_gone(processes)


def wait_until_gone(processes: set[int]) -> None:
    """Wait until none of these processes is alive."""
    assert processes
    wait_until(lambda: not any(map(is_alive, processes)), what=f"{processes} to be gone")


def make_program(path: Path, text: str = "exit 1") -> str:
    """A shell script that a test names as the server program; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
