"""The declaration: two applications, the off switch, checks, and the command line."""

from __future__ import annotations

import pytest
import redis
from flask import Flask

from flask_redis_kit.queue.layout import QueueKeys
from tests.harness.servers import Server
from tests.queue.conftest import MakeApp, burst, ran
from tests.queue.jobs_app import add, kit, record, tell_app


def test_two_applications_of_one_kit_have_their_own_jobs_and_settings(
    make_app: MakeApp, redis_client: redis.Redis
) -> None:
    one = make_app(name="one", REDIS_QUEUE_RETRIES=1)
    two = make_app(name="two", REDIS_QUEUE_RETRIES=2)
    assert (one.engine.config.retries, two.engine.config.retries) == (1, 2)
    with one.app.app_context():
        first = kit.queue.enqueue(tell_app)
    with two.app.app_context():
        kit.queue.enqueue(tell_app)
        assert kit.queue.job(first).state == "unknown"
    burst(two)
    assert ran(redis_client) == ["two"]
    burst(one)
    assert ran(redis_client) == ["two", "one"]


def test_switched_off_it_checks_and_stores_nothing(
    make_app: MakeApp, redis_client: redis.Redis
) -> None:
    app = make_app(REDIS_QUEUE_ENABLED=False).app
    with app.app_context():
        job_id = kit.queue.enqueue(record, {"n": 1})
        assert kit.queue.job(job_id).state == "unknown"
    assert redis_client.keys("*") == []
    result = app.test_cli_runner().invoke(args=["redis", "worker"])
    assert result.exit_code == 1
    assert "REDIS_QUEUE_ENABLED" in result.output


@pytest.mark.standalone(reason="a Cluster has one database")
def test_the_queue_can_have_a_server_of_its_own(make_app: MakeApp, server: Server) -> None:
    made = make_app(REDIS_QUEUE_URL=server.url.removesuffix("/0") + "/3")
    with made.app.app_context():
        kit.queue.enqueue(record, {"n": 1})
    with server.client() as client:
        assert client.keys("*") == []
    with server.client(db=3) as client:
        assert client.keys("frk:*") != []
        client.flushdb()


def test_stats_show_each_queue(app: Flask, redis_client: redis.Redis, keys: QueueKeys) -> None:
    kit.queue.enqueue(record, {"n": 1}, priority="high")
    kit.queue.enqueue_many([(record, {"n": 1})] * 2)
    kit.queue.enqueue(record, {"n": 1}, delay=60)
    kit.queue.enqueue(record, {"n": 1}, queue="mail", priority="low")
    result = app.test_cli_runner().invoke(args=["redis", "queue", "stats"])
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.output.splitlines()] == [
        ["queue", "high", "normal", "low", "delayed", "running", "dead", "workers"],
        ["default", "1", "2", "0", "1", "0", "0", "0"],
        ["mail", "0", "0", "1", "0", "0", "0", "0"],
    ]


def test_info_warns_of_a_server_that_evicts_or_forgets(app: Flask, server: Server) -> None:
    with server.client() as client:
        saved = client.config_get("save")["save"]
        try:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("save", "")
            warnings = "\n".join(kit.queue.warnings(kit.queue.context()))
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("save", saved)
    assert "maxmemory-policy allkeys-lru" in warnings
    assert "appendonly yes" in warnings
    assert list(kit.queue.warnings(kit.queue.context())) == []


def test_the_worker_refuses_a_queue_name_that_can_not_be(app: Flask) -> None:
    result = app.test_cli_runner().invoke(args=["redis", "worker", "-q", "a b"])
    assert result.exit_code == 2
    assert "no name for a queue" in result.output


def test_a_burst_from_the_command_line_runs_what_is_waiting(
    app: Flask, redis_client: redis.Redis
) -> None:
    kit.queue.enqueue_many([(record, {"n": n}) for n in range(20)])
    kept = kit.queue.enqueue(add, {"a": 2})
    result = app.test_cli_runner().invoke(args=["redis", "worker", "--burst", "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert ran(redis_client) == [f"{n}" for n in range(20)]
    assert kit.queue.job(kept).result["sum"] == 3
    assert kit.queue.stats()[0].workers == 0


def test_without_any_queue_the_figures_are_none_at_once(app: Flask) -> None:
    assert kit.queue.stats() == []
    assert kit.queue.enqueue_many([]) == []
    assert kit.queue.enqueue("anything")  # the server did not count as failing
