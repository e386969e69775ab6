"""The application that the tests' worker processes run.

It writes what happens to plain keys: ``started`` and ``ran``. Jobs that wait do so until the key
``go`` exists.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import Any

from flask import Flask, current_app

from flask_redis_kit import RedisKit
from flask_redis_kit.queue import current_job

kit = RedisKit(features=("queue",))


@kit.queue.task
def record(n: int) -> None:
    """Runs at once."""
    kit.client.rpush("ran", n)


@kit.queue.task
def brief(n: int) -> None:
    """Takes a moment, so that a worker can be killed in the middle."""
    time.sleep(0.002)
    kit.client.rpush("ran", n)


@kit.queue.task
def hold(n: int) -> None:
    """Tells that it has started, then waits."""
    kit.client.rpush("started", f"{n}:{current_job().attempt}")
    while not kit.client.exists("go"):
        time.sleep(0.005)
    kit.client.rpush("ran", n)


@kit.queue.task(name="where")
def tell_app() -> None:
    """Which application's context a job runs in."""
    kit.client.rpush("ran", current_app.name)


@kit.queue.task(retries=2)
def flaky(succeed_at: int) -> None:
    """Fails until this attempt."""
    attempt = current_job().attempt
    kit.client.rpush("started", attempt)
    if attempt < succeed_at:
        raise ValueError(f"attempt {attempt} " + "x" * 8000)
    kit.client.rpush("ran", attempt)


@kit.queue.task(retries=0)
def leave(how: str) -> None:
    """Ends in a rude way."""
    kit.client.rpush("started", how)
    if how == "SystemExit":
        sys.exit(3)
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "CancelledError":
        raise asyncio.CancelledError
    if how == "unprintable":
        raise Unprintable
    os._exit(7)


class Unprintable(Exception):
    """An exception that can't even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@kit.queue.task(keep_result=True)
async def add(a: int, b: int = 1) -> dict[str, Any]:
    """An async task with progress and a result."""
    await asyncio.sleep(0)
    current_job().progress(0.5, "half")
    return {"sum": a + b, "thread": threading.current_thread().name}


def create_app(url: str | None = None, name: str = "jobs", **settings: object) -> Flask:
    """An application; worker processes take settings from the environment."""
    app = Flask(name)
    app.config.from_prefixed_env("JOBS")
    app.config.update(settings)
    app.config["REDIS_URL"] = url or os.environ["REDIS_URL"]
    kit.init_app(app)
    return app
