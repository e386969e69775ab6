"""What features do differently on Cluster: several nodes in one operation, and slots that move."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask import Flask

from flask_redis_kit import RedisKit
from flask_redis_kit.core import signals
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.queue import worker as worker_module
from flask_redis_kit.queue.worker import Worker
from tests.events.browser import Browser
from tests.events.shop import Shop, serving
from tests.harness.clusters import ClusterGroup, slot_of
from tests.harness.servers import Server
from tests.queue import conftest as queues
from tests.queue import jobs_app
from tests.queue.conftest import Queued, Working
from tests.topologies.clusters import StartCluster
from tests.waiting import wait_until

working = queues.working


@pytest.fixture
def queued(cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    """The application of the queue's tests, on the Cluster."""
    monkeypatch.setattr(jobs_app.kit.queue, "tasks", copy.deepcopy(jobs_app.kit.queue.tasks))
    app = jobs_app.create_app(cluster.url, REDIS_QUEUE_BACKOFF=0)
    with app.app_context():
        yield Queued(app, jobs_app.kit.queue.engine())
        jobs_app.kit.close()


def queues_on(cluster: ClusterGroup, count: int) -> list[str]:
    """Names of queues on different nodes."""
    names = {cluster.primary_of(f"{{jobs:q{n}}}").port: f"q{n}" for n in range(50)}
    return list(names.values())[:count]


def ran(queued: Queued) -> list[int]:
    return sorted(int(n) for n in queued.engine.context.wire.connector.client.lrange("ran", 0, -1))


def parked(worker: Worker) -> bool:
    return all(park.occupied for park in worker._parks)


@pytest.mark.parametrize("count", [1, 3])
def test_a_worker_is_woken_at_the_node_of_each_queue(
    cluster: ClusterGroup,
    queued: Queued,
    working: Working,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    """Also when a queue moves to another node while the worker waits there."""
    monkeypatch.setattr(worker_module, "BLOCK", 60.0)  # only a token can wake it
    names = queues_on(cluster, count)
    expected: list[int] = []
    with caplog.at_level(logging.WARNING), working(queued, *names) as worker:
        for turn in range(3):
            wait_until(lambda: parked(worker), what="the worker to wait")
            for n, name in enumerate(names):
                jobs_app.kit.queue.enqueue(jobs_app.record, {"n": turn * 10 + n}, queue=name)
                expected.append(turn * 10 + n)
            wait_until(lambda: ran(queued) == sorted(expected), what="the jobs to be run")
            slot = slot_of(f"{{jobs:{names[0]}}}")
            home = cluster.primary_of_slot(slot)
            cluster.migrate_slot(slot, next(iter(p for p in cluster.primaries() if p is not home)))
    assert not caplog.records


def test_jobs_run_once_while_their_queues_move(
    cluster: ClusterGroup, queued: Queued, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    names = queues_on(cluster, 2)
    with caplog.at_level(logging.WARNING), working(queued, *names, threads=4):
        for batch in range(6):
            for name in names:
                jobs = [(jobs_app.record, {"n": batch * 100 + n}) for n in range(50)]
                jobs_app.kit.queue.enqueue_many(jobs, queue=name)
            slot = slot_of(f"{{jobs:{names[batch % 2]}}}")
            home = cluster.primary_of_slot(slot)
            cluster.migrate_slot(slot, next(iter(p for p in cluster.primaries() if p is not home)))
        expected = sorted(n for b in range(6) for n in range(b * 100, b * 100 + 50)) * 2
        wait_until(lambda: ran(queued) == sorted(expected), what="the jobs to be run")
    assert not caplog.records


def test_an_event_reaches_listeners_at_every_node(cluster: ClusterGroup) -> None:
    with ExitStack() as stack:
        shops = [Shop(cluster.url, heartbeat=0.1) for _ in range(4)]
        for shop in shops:
            stack.callback(shop.close)
        ports = [stack.enter_context(serving(shop.app)) for shop in shops]
        browsers = [stack.enter_context(Browser(port, "/events?user=42")) for port in ports]
        for browser in browsers:
            browser.opened()
        for n in range(20):
            with shops[n % 4].app.app_context():
                shops[n % 4].kit.events.publish_to_user(42, "paid", {"n": n})
        for browser in browsers:
            received = []
            for _ in range(20):
                event = browser.next()
                assert event is not None
                received.append(event.content["data"]["n"])
            assert received == list(range(20))


def test_tags_are_invalidated_on_all_nodes_in_two_trips(cluster: ClusterGroup) -> None:
    app = Flask("shop")
    app.config["REDIS_URL"] = cluster.url
    kit = RedisKit(app, features=("cache",))
    trips: list[int] = []

    def count(sender: object, commands: int, **_: object) -> None:
        trips.append(commands)

    with app.app_context():
        for n in range(50):
            kit.cache.set(f"key{n}", n, tags=["all"])
        kit.cache.invalidate_tags("all")
        for n in range(50):
            kit.cache.set(f"key{n}", n, tags=["all"])
        with signals.trip.connected_to(count):
            kit.cache.invalidate_tags("all")
        assert trips == [16, 16]
        assert [kit.cache.get(f"key{n}") for n in range(50)] == [None] * 50
        kit.close()


def test_a_worker_and_a_listener_outlive_their_nodes(
    own_cluster: StartCluster, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = own_cluster()
    monkeypatch.setattr(jobs_app.kit.queue, "tasks", copy.deepcopy(jobs_app.kit.queue.tasks))
    app = jobs_app.create_app(cluster.url, REDIS_QUEUE_BACKOFF=0)
    shop = Shop(cluster.url)
    with app.app_context(), ExitStack() as stack:
        stack.callback(shop.close)
        stack.callback(jobs_app.kit.close)
        queued = Queued(app, jobs_app.kit.queue.engine())
        worker = stack.enter_context(working(queued, "default"))
        wait_until(lambda: parked(worker), what="the worker to wait")
        with shop.app.app_context():
            reader = stack.enter_context(shop.kit.events.subscribe(["orders"]))
        wait_until(lambda: listened_at(cluster), what="the listener to subscribe")
        for victim in {cluster.primary_of("{jobs:default}"), *listened_at(cluster)}:
            cluster.kill(victim)
            cluster.settle()
            cluster.restart(victim)
        wait_until(lambda: enqueued(7), what="the queue to be there again")
        wait_until(lambda: 7 in ran(queued), what="the worker to come back")
        shop.publish("orders", 8)
        event = reader.get(60)
        assert event is not None
        assert event.data == 8


def listened_at(cluster: ClusterGroup) -> list[Server]:
    """The nodes at which somebody subscribed to something."""
    found = []
    for node in cluster.nodes:
        with node.client() as client:
            if client.pubsub_channels():
                found.append(node)
    return found


def enqueued(n: int) -> bool:
    """Whether a job could be enqueued."""
    try:
        jobs_app.kit.queue.enqueue(jobs_app.record, {"n": n})
    except FAILURES:
        return False
    return True
