"""What a server says of itself: a timed ``PING``, ``INFO``, ``CLUSTER NODES``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

from flask_redis_kit.core.exchange import Reply
from flask_redis_kit.core.url import named

Ask = Callable[..., list[Reply]]
"""Sends commands to a server in one round trip; raises what the server says to one of them."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica, as its master sees it. ``lag``: bytes behind, by what it said each second."""

    address: str
    online: bool
    lag: int | None


def facts_of(ask: Ask) -> dict[str, Any]:
    """What a server says of itself: the fields of ``Health``.

    It need not say more than that it is there: an ACL may forbid ``PING`` and ``INFO`` (which is
    among ``@dangerous``), and all that the application does is allowed.
    """
    started = time.perf_counter()
    with contextlib.suppress(NoPermissionError):
        ask(("PING",))
    latency = (time.perf_counter() - started) * 1000
    try:
        info = _info(ask(("INFO",))[0])
    except NoPermissionError:
        return {"latency_ms": round(latency, 3)}
    replicas = tuple(_replicas(info))
    behind = [replica.lag for replica in replicas if replica.lag is not None]
    return {
        "latency_ms": round(latency, 3),
        "server": "valkey" if "valkey_version" in info else "redis",
        "version": info.get("valkey_version") or info.get("redis_version"),
        "role": info.get("role"),
        "uptime_seconds": _int(info, "uptime_in_seconds"),
        "connected_clients": _int(info, "connected_clients"),
        "used_memory": _int(info, "used_memory"),
        "max_memory": _int(info, "maxmemory"),
        "eviction_policy": info.get("maxmemory_policy"),
        "evicted_keys": _int(info, "evicted_keys"),
        "append_only_file": info.get("aof_enabled") == "1",
        "last_save_ok": info.get("rdb_last_bgsave_status") == "ok",
        "replicas": replicas,
        "lag": max(behind, default=None),
    }


def _replicas(info: dict[str, str]) -> Iterator[Replica]:
    """``slave0:ip=127.0.0.1,port=6380,state=online,offset=14,lag=0``."""
    written = _int(info, "master_repl_offset")
    for n in range(_int(info, "connected_slaves") or 0):
        said = dict(pair.partition("=")[::2] for pair in info.get(f"slave{n}", "").split(","))
        if "ip" not in said:
            continue
        online = said.get("state") == "online"
        read = _int(said, "offset")
        known = online and written is not None and read is not None
        lag = max(0, written - read) if known else None  # type: ignore[operator]  # both known
        yield Replica(named((said["ip"], int(said["port"]))), online, lag)


def slots_of(nodes: bytes) -> int:
    """How many slots the asked node serves, by its ``CLUSTER NODES``."""
    for line in nodes.decode().splitlines():
        fields = line.split()
        if "myself" in fields[2].split(","):
            ranges = (field.partition("-") for field in fields[8:] if not field.startswith("["))
            return sum(int(end or start) - int(start) + 1 for start, _, end in ranges)
    return 0


def _info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _int(info: dict[str, str], name: str) -> int | None:
    value = info.get(name, "")
    return int(value) if value.isdigit() else None
