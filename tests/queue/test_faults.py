"""Workers while the network and the server fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from flask_redis_kit.queue.layout import QueueKeys
from flask_redis_kit.queue.worker import Worker
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.queue.conftest import MakeApp, Queued, StartWorker, Working, burst, members, ran
from tests.queue.jobs_app import hold, kit, record
from tests.waiting import wait_until


@pytest.fixture
def near(make_app: MakeApp) -> Iterator[Queued]:
    """An application that reaches the server directly, in whose context the test runs."""
    made = make_app()
    with made.app.app_context():
        yield made


def parked(client: redis.Redis) -> bool:
    return bool(client.info("clients")["blocked_clients"] == 1)


def test_a_fetch_whose_reply_is_lost_is_found_again_by_the_same_worker(
    near: Queued,
    make_app: MakeApp,
    working: Working,
    proxy: Proxy,
    redis_client: redis.Redis,
    keys: QueueKeys,
) -> None:
    far = make_app(proxy.url)  # the default lease: nobody else takes the job
    with working(far, threads=1):
        wait_until(lambda: parked(redis_client))
        (worker,) = members(redis_client, keys.workers)
        proxy.drop_replies(1)
        kit.queue.enqueue("write", {"n": 1})
        wait_until(lambda: redis_client.llen(keys.active(worker)) == 1)
        assert ran(redis_client) == []
        proxy.cut()
        wait_until(lambda: ran(redis_client) == ["1"] and not redis_client.exists(keys.jobs))
        assert members(redis_client, keys.workers) == [worker]
    assert redis_client.exists(keys.crash) == 0


@pytest.mark.parametrize("rst", [True, False])
def test_connections_cut_at_random_lose_no_job(
    near: Queued,
    make_app: MakeApp,
    working: Working,
    proxy: Proxy,
    redis_client: redis.Redis,
    keys: QueueKeys,
    rst: bool,
) -> None:
    far = make_app(proxy.url)
    with working(far, threads=4):
        for n in range(20):
            jobs = [("write", {"n": n * 20 + m}) for m in range(20)]
            kit.queue.enqueue_many(jobs)
            if n % 2:
                proxy.cut_after(100 + 37 * n)
            else:
                proxy.cut(rst=rst)
        wait_until(lambda: not redis_client.exists(keys.jobs))
    done = [int(n) for n in ran(redis_client)]
    assert set(done) == set(range(400))
    # a lost acknowledgement is sent again, a lost fetch is adopted: nothing runs twice
    assert len(done) == 400


@pytest.fixture(autouse=True)
def _direct_tasks(redis_client: redis.Redis) -> None:
    """Tasks that go past the proxy, so that its faults hit the worker and not the jobs."""
    lock = threading.Lock()

    @kit.queue.task(name="wait")
    def wait(n: int) -> None:
        redis_client.rpush("started", n)
        wait_until(lambda: redis_client.exists("go"))
        redis_client.rpush("ran", n)

    @kit.queue.task(name="write")
    def write(n: int) -> None:
        with lock:
            redis_client.rpush("ran", n)


def test_a_script_flush_while_a_worker_is_parked_delays_nothing(
    make_app: MakeApp,
    working: Working,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    long_parks: float,
) -> None:
    queued = make_app(REDIS_QUEUE_LEASE=long_parks)
    with queued.app.app_context(), working(queued, threads=1):
        for n in range(3):
            wait_until(lambda: parked(redis_client))
            redis_client.script_flush()
            kit.queue.enqueue(record, {"n": n})
            wait_until(lambda n=n: len(ran(redis_client)) == n + 1)  # type: ignore[misc]
    assert [each.message for each in caplog.records if each.levelname != "INFO"] == []


def test_a_fetch_that_a_lost_connection_still_brought_is_found_at_the_next_beat(
    make_app: MakeApp, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    queued = make_app(REDIS_QUEUE_LEASE=0.7)
    with queued.app.app_context(), working(queued, threads=1):
        wait_until(lambda: parked(redis_client))
        (worker,) = members(redis_client, keys.workers)
        job_id = kit.queue.enqueue(record, {"n": 1}, queue="elsewhere")
        sealed = redis_client.hget(keys.jobs.replace("default", "elsewhere"), job_id)
        assert isinstance(sealed, bytes)
        with redis_client.pipeline() as pipe:
            pipe.hset(keys.jobs, job_id, sealed)
            pipe.rpush(keys.active(worker), job_id)
            pipe.execute()
        wait_until(lambda: ran(redis_client) == ["1"] and not redis_client.exists(keys.jobs))


def test_after_a_broken_connection_the_lists_are_compared_by_their_content(
    near: Queued,
    make_app: MakeApp,
    working: Working,
    proxy: Proxy,
    redis_client: redis.Redis,
    keys: QueueKeys,
    long_parks: float,
) -> None:
    far = make_app(proxy.url, REDIS_QUEUE_LEASE=long_parks)
    with working(far, threads=2):
        held = kit.queue.enqueue("wait", {"n": 1})
        wait_until(lambda: ran(redis_client, "started"))
        (worker,) = members(redis_client, keys.workers)
        mine = keys.active(worker)
        with redis_client.pipeline() as pipe:  # the server has a job we don't know, and not ours
            pipe.hset(keys.meta, "paused", 1)
            pipe.lrem(mine, 1, held)
            pipe.rpush(keys.low, held)
            pipe.execute()
        lost = kit.queue.enqueue("write", {"n": 2})
        with redis_client.pipeline() as pipe:
            pipe.lrem(keys.normal, 1, lost)
            pipe.rpush(mine, lost)
            pipe.execute()
        wait_until(lambda: parked(redis_client))  # a worker that waits for nothing misses nothing
        proxy.cut()
        wait_until(lambda: ran(redis_client) == ["2"])
        redis_client.set("go", 1)
        wait_until(lambda: not redis_client.exists(keys.jobs))
    assert ran(redis_client) == ["2", "1"]


def test_an_acknowledgement_that_the_server_forgot_is_sent_again(
    near: Queued,
    make_app: MakeApp,
    working: Working,
    proxy: Proxy,
    redis_client: redis.Redis,
    keys: QueueKeys,
    long_parks: float,
) -> None:
    far = make_app(proxy.url, REDIS_QUEUE_LEASE=long_parks)
    with working(far, threads=1):
        redis_client.hset(keys.meta, "paused", 1)
        job_id = kit.queue.enqueue("write", {"n": 1})
        sealed = redis_client.hget(keys.jobs, job_id)
        assert isinstance(sealed, bytes)
        redis_client.hdel(keys.meta, "paused")
        redis_client.rpush(keys.wake, 1)
        wait_until(lambda: not redis_client.exists(keys.jobs))
        redis_client.hset(keys.meta, "paused", 1)
        redis_client.hset(keys.jobs, job_id, sealed)  # as after a failover to a lagging replica
        redis_client.rpush(keys.normal, job_id)
        wait_until(lambda: parked(redis_client))  # a worker that waits for nothing misses nothing
        proxy.cut()
        wait_until(lambda: not redis_client.exists(keys.jobs))
        redis_client.hdel(keys.meta, "paused")
        redis_client.rpush(keys.wake, 1)
        wait_until(lambda: redis_client.llen(keys.normal) == 0)
    assert ran(redis_client) == ["1"]


def test_a_restart_of_the_server_loses_no_job_and_workers_go_on(
    make_app: MakeApp,
    working: Working,
    own_server: Callable[..., Server],
    keys: QueueKeys,
) -> None:
    server = own_server()
    queued = make_app(server.url, REDIS_QUEUE_BACKOFF=0)
    with queued.app.app_context(), working(queued, threads=2):
        with server.client() as client:
            held = kit.queue.enqueue(hold, {"n": 1})
            waiting = kit.queue.enqueue(record, {"n": 2}, delay=0.5)
            wait_until(lambda: ran(client, "started"))
        server.restart()
        with server.client() as client:
            client.set("go", 1)
            wait_until(lambda: not client.exists(keys.jobs))
            assert sorted(ran(client)) == ["1", "2"]
            assert client.zcard(keys.workers) == 1
    assert held != waiting


def test_a_worker_signs_on_again_after_everything_was_flushed(
    near: Queued, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    with working(near, threads=2):
        kit.queue.enqueue(hold, {"n": 1})
        wait_until(lambda: ran(redis_client, "started"))
        redis_client.flushall()
        redis_client.set("go", 1)
        kit.queue.enqueue(record, {"n": 2})
        wait_until(lambda: set(ran(redis_client)) == {"1", "2"})
        wait_until(lambda: not redis_client.exists(keys.jobs))


def test_a_server_that_hangs_is_asked_again_and_the_job_runs(
    near: Queued,
    make_app: MakeApp,
    working: Working,
    proxy: Proxy,
    redis_client: redis.Redis,
    keys: QueueKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_redis_kit.queue.worker.REPLY", 0.2)
    monkeypatch.setattr("flask_redis_kit.queue.worker.BLOCK", 0.2)
    far = make_app(proxy.url)
    with working(far, threads=1):
        wait_until(lambda: parked(redis_client))
        connections = proxy.connections
        proxy.drop_replies()
        wait_until(lambda: proxy.connections > connections)
        kit.queue.enqueue("write", {"n": 1})
        proxy.restore()
        wait_until(lambda: ran(redis_client) == ["1"] and not redis_client.exists(keys.jobs))


def test_a_key_of_another_type_is_named_in_the_log_and_the_worker_goes_on_later(
    near: Queued,
    working: Working,
    redis_client: redis.Redis,
    keys: QueueKeys,
    caplog: pytest.LogCaptureFixture,
) -> None:
    redis_client.set(keys.wake, "mine")
    with working(near, threads=1):
        wait_until(lambda: "frk:{jobs:default}:queue:*" in caplog.text)
        redis_client.delete(keys.wake)
        kit.queue.enqueue(record, {"n": 1})
        wait_until(lambda: ran(redis_client) == ["1"])


def test_a_worker_started_before_its_server_waits_for_it(
    make_app: MakeApp, working: Working, own_server: Callable[..., Server]
) -> None:
    server = own_server()
    queued = make_app(server.url)
    server.kill()
    with queued.app.app_context(), working(queued, threads=1):
        server.start()

        def enqueued() -> bool:
            try:
                return bool(kit.queue.enqueue(record, {"n": 1}))
            except redis.ConnectionError:
                return False

        wait_until(enqueued)
        with server.client() as client:
            wait_until(lambda: ran(client) == ["1"])


def test_a_worker_killed_while_it_is_parked_costs_nothing(
    start_worker: StartWorker, near: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    worker = start_worker()
    wait_until(lambda: parked(redis_client))
    worker.kill()
    kit.queue.enqueue(record, {"n": 1})
    start_worker()
    wait_until(lambda: not redis_client.exists(keys.jobs))
    assert ran(redis_client) == ["1"]


def test_workers_empty_a_queue_whose_server_has_no_memory_left(
    make_app: MakeApp, working: Working, own_server: Callable[..., Server], keys: QueueKeys
) -> None:
    server = own_server()
    full = make_app(server.url, REDIS_QUEUE_BACKOFF=0)
    runs: list[int] = []

    @kit.queue.task(name="note")
    def note(n: int) -> None:
        runs.append(n)

    with full.app.app_context(), server.client() as client:
        kit.queue.enqueue_many([("note", {"n": n}) for n in range(20)])
        kit.queue.enqueue("flaky", {"succeed_at": 9})  # can't write, so it fails each time
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.OutOfMemoryError):
            kit.queue.enqueue(hold, {"n": 1})
        with working(full, threads=2):
            wait_until(lambda: len(runs) == 20 and client.zcard(keys.dead) == 1)
        assert client.zcard(keys.workers) == 0
        client.config_set("maxmemory", 0)


def test_a_worker_that_is_stopped_while_the_server_is_away_ends_after_its_grace(
    make_app: MakeApp, own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server()
    queued = make_app(server.url, REDIS_QUEUE_GRACE=0.4)
    started, go_on = threading.Event(), threading.Event()

    @kit.queue.task(name="long")
    def long() -> None:
        started.set()
        go_on.wait(60)

    with queued.app.app_context():
        kit.queue.enqueue("long")
        worker = Worker(queued.engine, queued.app.app_context, ["default"], threads=1)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            assert started.wait(60)
            server.kill()
            worker.stop()
            wait_until(lambda: not thread.is_alive())
        finally:
            go_on.set()
            worker.stop()
    failures = [message for message in caplog.messages if "server fails" in message]
    assert len(failures) < 5  # each has twice as many attempts behind it


def test_a_damaged_count_of_crashes_counts_as_none(
    near: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    job_id = kit.queue.enqueue(record, {"n": 1})
    redis_client.hset(keys.crash, job_id, "x")
    burst(near)
    assert ran(redis_client) == ["1"]
