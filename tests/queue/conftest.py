"""Applications with a queue, worker processes, and workers in threads of the test."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, cast

import pytest
import redis
from flask import Flask

from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.queue.engine import QueueEngine
from flask_redis_kit.queue.layout import QueueKeys, keys_of
from flask_redis_kit.queue.worker import Worker
from tests.harness.servers import Server
from tests.queue import jobs_app
from tests.queue.jobs_app import kit
from tests.queue.processes import WorkerProcess
from tests.waiting import wait_until

KEYS = keys_of(KeyBuilder("jobs"), "default")


class Queued(NamedTuple):
    """An application of the kit in ``jobs_app``."""

    app: Flask
    engine: QueueEngine


MakeApp = Callable[..., Queued]
Working = Callable[..., AbstractContextManager[Worker]]
StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(autouse=True)
def _own_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to the tasks of ``jobs_app`` is gone after it."""
    monkeypatch.setattr(kit.queue, "tasks", copy.deepcopy(kit.queue.tasks))


@pytest.fixture
def keys() -> QueueKeys:
    """The keys of the queue ``default`` of the application ``jobs``."""
    return KEYS


@pytest.fixture
def make_app(redis_url: str) -> Iterator[MakeApp]:
    """``make_app(url=…, name=…, REDIS_QUEUE_LEASE=…)``."""
    made: list[Flask] = []

    def make(url: str = redis_url, name: str = "jobs", **settings: object) -> Queued:
        app = jobs_app.create_app(url, name, **settings)
        made.append(app)
        with app.app_context():
            return Queued(app, kit.queue.engine())

    yield make
    for app in made:
        with app.app_context():
            kit.close()


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    """An application, in whose context the test runs."""
    made = make_app().app
    with made.app_context():
        yield made


@pytest.fixture
def queued(make_app: MakeApp) -> Iterator[Queued]:
    """An application in whose context the test runs; failed jobs run again at once."""
    made = make_app(REDIS_QUEUE_BACKOFF=0)  # the lease is the default one: longer than a stall
    with made.app.app_context():
        yield made


@pytest.fixture
def start_worker(server: Server, redis_client: redis.Redis) -> Iterator[StartWorker]:
    """``start_worker("--threads", "1", REDIS_QUEUE_LEASE=0.7)``: a process, signed on.

    ``ready=False`` doesn't wait for that.
    """
    started: list[WorkerProcess] = []

    def start(*options: str, ready: bool = True, **settings: object) -> WorkerProcess:
        settings.setdefault("REDIS_QUEUE_LEASE", 0.7)
        process = WorkerProcess(server.url, *options, **settings)
        started.append(process)
        return process.ready(redis_client) if ready else process

    yield start
    server.revive()
    for process in started:
        process.end()


@pytest.fixture
def long_parks(monkeypatch: pytest.MonkeyPatch) -> float:
    """Workers wait for a minute before they look by themselves; the lease that this takes.

    So what happens within the patience of ``wait_until`` was not found by chance.
    """
    monkeypatch.setattr("flask_redis_kit.queue.worker.BLOCK", 60.0)
    return 600.0


@pytest.fixture
def working() -> Working:
    """``with working(queued, "default", threads=1) as worker:`` runs it in a thread."""

    @contextmanager
    def run(queued: Queued, *queues: str, threads: int = 2) -> Iterator[Worker]:
        names = queues or ("default",)
        worker = Worker(queued.engine, queued.app.app_context, names, threads=threads)
        thread = threading.Thread(target=worker.run, name="worker")
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            jobs_end(thread)

    return run


def jobs_end(thread: threading.Thread) -> None:
    wait_until(lambda: not thread.is_alive(), timeout=30, what="the worker to end")


def burst(queued: Queued, *queues: str, threads: int = 1) -> None:
    """Run what is waiting, here."""
    names = queues or ("default",)
    Worker(queued.engine, queued.app.app_context, names, threads=threads, burst=True).run()


def listed(client: redis.Redis, key: str) -> list[str]:
    """The items of a list."""
    return [item.decode() for item in cast("list[bytes]", client.lrange(key, 0, -1))]


def members(client: redis.Redis, key: str) -> list[str]:
    """The members of a sorted set, in order."""
    return [item.decode() for item in cast("list[bytes]", client.zrange(key, 0, -1))]


def fields(client: redis.Redis, key: str) -> set[str]:
    """The fields of a hash."""
    return {item.decode() for item in cast("list[bytes]", client.hkeys(key))}


def make_due(client: redis.Redis, keys: QueueKeys) -> None:
    """Let all that is delayed be due."""
    for name in members(client, keys.delayed):
        client.zadd(keys.delayed, {name: 1})


def ran(client: redis.Redis, key: str = "ran") -> list[str]:
    """What jobs wrote."""
    return listed(client, key)
