"""An application that uses every feature, to be served by real servers of WSGI."""

from __future__ import annotations

import os
import threading
from typing import Any

from flask import Flask, session

from flask_redis_kit import RedisKit, RedisSessionInterface, cache_result, rate_limit
from flask_redis_kit.core.failure import FAILURES

LIMIT = 30
TIMEOUT = 3.0  # longer than a busy machine stands still; while the server hangs it is waited for

app = Flask("served")
app.config.update(
    REDIS_SOCKET_TIMEOUT=TIMEOUT,
    REDIS_SOCKET_CONNECT_TIMEOUT=TIMEOUT,
    REDIS_POOL_TIMEOUT=5,
    REDIS_MAX_CONNECTIONS=20,
)
kit = RedisKit(app)
app.session_interface = RedisSessionInterface(kit)


@kit.queue.task(name="note")
def note(visits: int) -> None:
    """Is enqueued by every visit."""


@cache_result(ttl=60)
def expensive(number: int) -> dict[str, int]:
    """Counts how often it is computed, and by whom."""
    return {"computed": int(kit.client.incr(f"computed:{number}")), "number": number}


@app.get("/visit/<int:number>")
@rate_limit(limit=10_000, window=60)
def visit(number: int) -> dict[str, Any]:
    """Everything at once."""
    session["visits"] = session.get("visits", 0) + 1
    found = expensive(number)
    kit.events.publish("visits", "visit", {"visits": session["visits"]})
    job = kit.queue.enqueue("note", {"visits": session["visits"]})
    return {"pid": os.getpid(), "visits": session["visits"], "job": str(job), **found}


@app.get("/limited")
@rate_limit(limit=LIMIT, window=60, key_func=lambda: "everybody")
def limited() -> dict[str, int]:
    """At most ``LIMIT`` of all that ask."""
    return {"pid": os.getpid()}


@app.get("/plain")
def plain() -> dict[str, int]:
    """Needs no Redis."""
    return {"pid": os.getpid()}


@app.get("/asked")
def asked() -> dict[str, Any]:
    """What becomes of a command, and how many round trips were tried for it."""
    error = ""
    try:
        kit.queue.enqueue("note", {"visits": 0})
    except FAILURES as failure:
        error = type(failure).__name__
    state = kit.connector().breaker.state
    return {"pid": os.getpid(), "error": error, "trips": kit.trips, "breaker": state}


# as an application may that reads its settings from Redis: a server that forks inherits this
kit.client.set("loaded", os.getpid(), ex=600)
print(f"{os.getpid()} loaded the shop with {threading.active_count()} threads", flush=True)
