"""How a server is: one ``INFO``, measured."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from flask_redis_kit.core.errors import RedisKitError
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.wire import Wire


@dataclass(frozen=True, slots=True)
class Health:
    """One server. Latency in milliseconds, memory in bytes; unknown is None."""

    address: str
    ok: bool
    error: str | None = None
    latency_ms: float | None = None
    server: str | None = None
    version: str | None = None
    role: str | None = None
    uptime_seconds: int | None = None
    connected_clients: int | None = None
    used_memory: int | None = None
    max_memory: int | None = None
    eviction_policy: str | None = None
    evicted_keys: int | None = None
    append_only_file: bool | None = None
    last_save_ok: bool | None = None
    breaker: str = "closed"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(wire: Wire) -> Health:
    """Ask the server: two round trips (PING, timed; INFO). Never raises for a failing server."""
    address = wire.connector.address
    try:
        started = time.perf_counter()
        wire.send(Exchange("health", "", [("PING",)], first, read_only=True))
        latency = (time.perf_counter() - started) * 1000
        info = wire.send(Exchange("health", "", [("INFO",)], lambda r: _info(r[0]), read_only=True))
    except FAILURES as error:
        return Health(address, ok=False, error=_said(error), breaker=wire.connector.breaker.state)
    return Health(
        address,
        ok=True,
        latency_ms=round(latency, 3),
        server="valkey" if "valkey_version" in info else "redis",
        version=info.get("valkey_version") or info.get("redis_version"),
        role=info.get("role"),
        uptime_seconds=_int(info, "uptime_in_seconds"),
        connected_clients=_int(info, "connected_clients"),
        used_memory=_int(info, "used_memory"),
        max_memory=_int(info, "maxmemory"),
        eviction_policy=info.get("maxmemory_policy"),
        evicted_keys=_int(info, "evicted_keys"),
        append_only_file=info.get("aof_enabled") == "1",
        last_save_ok=info.get("rdb_last_bgsave_status") == "ok",
        breaker=wire.connector.breaker.state,
    )


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RedisKitError) else f"{type(error).__name__}: {error}"


def _info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _int(info: dict[str, str], name: str) -> int | None:
    value = info.get(name, "")
    return int(value) if value.isdigit() else None
