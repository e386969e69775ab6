"""A worker in a thread of the test: what it runs, when, and at what cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import redis

from flask_redis_kit.queue.consumer import LOW_FIRST_EVERY
from flask_redis_kit.queue.layout import QueueKeys, keys_of
from flask_redis_kit.queue.worker import Worker
from tests.harness.proxy import Proxy
from tests.queue.conftest import MakeApp, Queued, Working, burst, ran
from tests.queue.jobs_app import hold, kit, record, tell_app
from tests.waiting import wait_until


def test_a_job_runs_once_in_the_context_of_its_application(
    queued: Queued, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    with working(queued):
        kit.queue.enqueue(tell_app)
        wait_until(lambda: ran(redis_client) == ["jobs"] and not redis_client.exists(keys.jobs))
    assert redis_client.keys("frk:*:a:*") == []
    assert redis_client.zcard(keys.workers) == 0


def test_finishing_a_job_and_fetching_the_next_is_one_trip(
    make_app: MakeApp, proxy: Proxy, redis_client: redis.Redis
) -> None:
    far = make_app(proxy.url)
    near = make_app(name="jobs")
    with near.app.app_context():
        kit.queue.enqueue(tell_app)
        burst(far, threads=1)  # the server knows the scripts now
        kit.queue.enqueue_many([("add_nothing", {})] * 50)

        @kit.queue.task(name="add_nothing")
        def nothing() -> None: ...

        with proxy.counting() as count:
            burst(far, threads=1)
    names = [command[0] for command in count.commands]
    assert names.count(b"EVALSHA") == len(names)
    # the first fetch, one for each finished job, the signing off
    assert count.trips == 1 + 50 + 1


def test_priorities_go_first_but_the_lowest_never_starves(
    queued: Queued, redis_client: redis.Redis
) -> None:
    kit.queue.enqueue_many([(record, {"n": n}) for n in range(1000, 1030)], priority="low")
    kit.queue.enqueue_many([(record, {"n": n}) for n in range(100, 130)])
    kit.queue.enqueue_many([(record, {"n": n}) for n in range(30)], priority="high")
    burst(queued, threads=1)
    order = [int(n) for n in ran(redis_client)]
    for low, high in ((0, 30), (100, 130), (1000, 1030)):
        assert [n for n in order if low <= n < high] == list(range(low, high))
    assert order[: LOW_FIRST_EVERY - 1] == list(range(LOW_FIRST_EVERY - 1))
    last_high = order.index(29)
    assert [n for n in order[:last_high] if n >= 1000] == [1000, 1001, 1002, 1003]
    assert not [n for n in order[:last_high] if 100 <= n < 1000]


def test_two_queues_are_served_in_turn(queued: Queued, redis_client: redis.Redis) -> None:
    for queue, start in (("a", 0), ("b", 100)):
        jobs = [(record, {"n": n}) for n in range(start, start + 10)]
        kit.queue.enqueue_many(jobs, queue=queue)
    burst(queued, "a", "b", threads=1)
    order = [int(n) for n in ran(redis_client)]
    assert len(order) == 20
    assert all((one < 100) != (other < 100) for one, other in pairwise(order))


def test_an_idle_worker_wakes_for_any_of_its_queues(
    make_app: MakeApp, working: Working, redis_client: redis.Redis, long_parks: float
) -> None:
    queued = make_app(REDIS_QUEUE_LEASE=long_parks)
    with queued.app.app_context(), working(queued, "a", "b", threads=1):
        for n in range(6):
            # on Cluster it waits at the node of each queue
            wait_until(lambda: redis_client.info("clients")["blocked_clients"] >= 1)
            kit.queue.enqueue(record, {"n": n}, queue="ab"[n % 2])
            wait_until(lambda n=n: len(ran(redis_client)) == n + 1)  # type: ignore[misc]


def test_a_job_that_ends_while_its_worker_is_parked_is_acknowledged_at_once(
    make_app: MakeApp,
    working: Working,
    redis_client: redis.Redis,
    keys: QueueKeys,
    long_parks: float,
) -> None:
    queued = make_app(REDIS_QUEUE_LEASE=long_parks)
    with queued.app.app_context(), working(queued, threads=2):
        kit.queue.enqueue(hold, {"n": 1})
        wait_until(lambda: ran(redis_client, "started"))
        blocked = "blocked_clients"
        wait_until(lambda: redis_client.info("clients")[blocked] == 1)
        redis_client.set("go", 1)
        with_token = redis_client.lpop(keys.wake)
        wait_until(lambda: not redis_client.exists(keys.jobs))
        assert with_token is None
        assert redis_client.info("clients")[blocked] == 1  # it was parked all the time


def test_a_delayed_job_runs_when_it_is_due_and_not_before(
    queued: Queued, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    times: list[tuple[int, int]] = []

    @kit.queue.task(name="note_time")
    def note_time() -> None:
        times.append(redis_client.time())

    with working(queued):
        job_id = kit.queue.enqueue("note_time", delay=0.3)
        due = redis_client.zscore(keys.delayed, job_id)
        assert isinstance(due, float)
        wait_until(lambda: times)
    seconds, micros = times[0]
    assert seconds * 1000 + micros / 1000 >= due


def test_many_jobs_over_several_workers_run_once_each(
    queued: Queued, redis_client: redis.Redis, working: Working, keys: QueueKeys
) -> None:
    with working(queued, threads=4), working(queued, threads=4), working(queued, threads=1):
        jobs = [(record, {"n": n}) for n in range(600)]
        threads = [
            threading.Thread(target=queued.engine.enqueue_many, args=(jobs[n::6],))
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: not redis_client.exists(keys.jobs))
    assert sorted(map(int, ran(redis_client))) == list(range(600))


def test_a_stopped_worker_gives_back_what_still_runs_after_its_grace(
    make_app: MakeApp, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    queued = make_app(REDIS_QUEUE_GRACE=0)
    with queued.app.app_context():
        with working(queued, threads=1):
            job_id = kit.queue.enqueue(hold, {"n": 1})
            wait_until(lambda: ran(redis_client, "started"))
        assert kit.queue.job(job_id).state == "waiting"
        assert redis_client.zcard(keys.workers) == 0
        assert redis_client.hlen(keys.crash) == 0
        redis_client.set("go", 1)
        burst(queued)
    assert ran(redis_client)[0] == "1"


def test_keys_of_a_queue_share_a_slot(keys: QueueKeys, queued: Queued) -> None:
    mine = keys_of(queued.engine.context.keys, "default")
    assert mine == keys
    names = [*keys.waiting, keys.wake, keys.jobs, keys.active("w"), keys.record("x"), keys.stats]
    assert {name[: name.index("}") + 1] for name in names} == {"frk:{jobs:default}"}


def test_a_job_that_ends_as_its_worker_stops_is_acknowledged_not_given_back(
    queued: Queued, redis_client: redis.Redis
) -> None:
    stops: list[Callable[[], None]] = []

    @kit.queue.task(name="stop_worker")
    def stop_worker() -> None:
        stops[-1]()

    for _ in range(30):
        worker = Worker(queued.engine, queued.app.app_context, ["default"], threads=1)
        stops.append(worker.stop)
        kit.queue.enqueue("stop_worker")
        assert worker.run() == 0
    counters = kit.queue.stats()[0].counters
    assert counters == {"done": 30}
    assert redis_client.keys("*:w:*") == []
