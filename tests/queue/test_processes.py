"""Worker processes and signals: what SIGKILL, SIGSTOP and SIGTERM do to the jobs."""

from __future__ import annotations

import random
import signal
from typing import cast

import pytest
import redis
from flask import Flask

from flask_redis_kit.queue.commands import stopped_by_signals
from flask_redis_kit.queue.layout import QueueKeys
from flask_redis_kit.queue.worker import Worker
from tests.queue.conftest import StartWorker, ran
from tests.queue.jobs_app import brief, hold, kit, leave, record
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _in_app(app: Flask) -> None:
    """The application ``jobs``, in whose context each test runs."""


def test_a_job_whose_worker_is_killed_in_the_middle_runs_again(
    start_worker: StartWorker, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    first = start_worker("--threads", "1")
    job_id = kit.queue.enqueue(hold, {"n": 1})
    wait_until(lambda: ran(redis_client, "started") == ["1:1"])
    assert kit.queue.job(job_id).state == "running"
    first.kill()
    redis_client.set("go", 1)
    start_worker("--threads", "1")
    wait_until(lambda: not redis_client.exists(keys.jobs))
    assert ran(redis_client, "started") == ["1:1", "1:2"]
    assert ran(redis_client) == ["1"]
    assert redis_client.exists(keys.crash) == 0


def test_no_job_is_lost_when_workers_are_killed_again_and_again(
    start_worker: StartWorker, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    threads, kills, jobs = 4, 8, 4000
    options = ("--threads", f"{threads}")
    settings = {"REDIS_QUEUE_MAX_CRASHES": 100}
    workers = [start_worker(*options, **settings) for _ in range(2)]
    kit.queue.enqueue_many([(brief, {"n": n}) for n in range(jobs)])
    chance = random.Random(7)
    for kill in range(1, kills + 1):
        wait_until(lambda kill=kill: redis_client.llen("ran") >= kill * 400)  # type: ignore[misc]
        victim = workers.pop(chance.randrange(len(workers)))
        victim.kill()
        workers.append(start_worker(*options, ready=False, **settings))
    wait_until(lambda: not redis_client.exists(keys.jobs), timeout=60)
    done = [int(n) for n in ran(redis_client)]
    assert set(done) == set(range(jobs))
    duplicates = len(done) - jobs
    print(f"{kills} kills: lost 0, duplicates {duplicates}")
    assert duplicates <= kills * threads * 2


def test_a_job_that_takes_its_workers_with_it_is_dead_in_the_end(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    poison = kit.queue.enqueue(leave, {"how": "_exit"})
    for _ in range(2):
        worker = start_worker("--threads", "1", ready=False, REDIS_QUEUE_MAX_CRASHES=1)
        assert worker.exit_code() == 7, worker.output()
    start_worker("--threads", "1", REDIS_QUEUE_MAX_CRASHES=1)
    wait_until(lambda: kit.queue.job(poison).state == "dead")
    assert (kit.queue.job(poison).reason or "").startswith("poison")
    assert ran(redis_client, "started") == ["_exit", "_exit"]


def test_a_worker_stopped_for_longer_than_its_lease_does_no_harm_when_it_wakes(
    start_worker: StartWorker, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    sleeper = start_worker("--threads", "1")
    job_id = kit.queue.enqueue(hold, {"n": 1})
    wait_until(lambda: ran(redis_client, "started") == ["1:1"])
    sleeper.signal(signal.SIGSTOP)
    start_worker("--threads", "1", REDIS_QUEUE_LEASE=4)  # nobody may take the job from this one
    wait_until(lambda: ran(redis_client, "started") == ["1:1", "1:2"])
    sleeper.signal(signal.SIGCONT)
    wait_until(lambda: redis_client.zcard(keys.workers) == 2)  # it goes on under a new name
    redis_client.set("go", 1)
    wait_until(lambda: not redis_client.exists(keys.jobs) and len(ran(redis_client)) == 2)
    kit.queue.enqueue_many([(record, {"n": n}) for n in range(2, 12)])
    wait_until(lambda: len(ran(redis_client)) == 12 and not redis_client.exists(keys.jobs))
    assert sorted(map(int, ran(redis_client)[2:])) == list(range(2, 12))
    assert kit.queue.job(job_id).state == "unknown"
    assert sleeper.alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_told_to_stop_finishes_its_jobs_and_begins_none(
    start_worker: StartWorker,
    redis_client: redis.Redis,
    keys: QueueKeys,
    number: signal.Signals,
) -> None:
    worker = start_worker("--threads", "2")
    kit.queue.enqueue_many([(hold, {"n": n}) for n in range(4)])
    wait_until(lambda: len(ran(redis_client, "started")) == 2)
    worker.signal(number)
    kit.queue.enqueue(record, {"n": 9}, priority="high")
    worker.wait_for("Stopping")
    redis_client.set("go", 1)
    assert worker.exit_code() == 0, worker.output()
    assert sorted(ran(redis_client)) == ["0", "1"]
    assert (redis_client.llen(keys.high), redis_client.llen(keys.normal)) == (1, 2)
    assert redis_client.zcard(keys.workers) == 0


def test_an_idle_worker_stops_at_once(
    start_worker: StartWorker, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    worker = start_worker(REDIS_QUEUE_LEASE=30)
    wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output()
    assert redis_client.zcard(keys.workers) == 0


def test_the_second_signal_gives_back_at_once_what_still_runs(
    start_worker: StartWorker, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    worker = start_worker("--threads", "1", REDIS_QUEUE_LEASE=30)
    job_id = kit.queue.enqueue(hold, {"n": 1})
    wait_until(lambda: ran(redis_client, "started"))
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGINT)
    assert worker.exit_code() == 0, worker.output()
    assert redis_client.lrange(keys.normal, 0, -1) == [job_id.encode()]
    assert redis_client.hlen(keys.crash) == 0


def test_a_job_longer_than_the_lease_runs_once(
    start_worker: StartWorker, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    lease = 3.0  # it is renewed each second: a busy machine has two of them
    for _ in range(2):
        start_worker("--threads", "1", REDIS_QUEUE_LEASE=lease)
    kit.queue.enqueue(hold, {"n": 1})
    wait_until(lambda: ran(redis_client, "started"))

    def lease_end() -> float:
        ends = cast(
            "list[tuple[bytes, float]]", redis_client.zrange(keys.workers, 0, -1, withscores=True)
        )
        assert len(ends) == 2
        return min(end for _, end in ends)

    begin = lease_end()
    wait_until(lambda: lease_end() > begin + lease * 1000)
    redis_client.set("go", 1)
    wait_until(lambda: not redis_client.exists(keys.jobs))
    assert ran(redis_client, "started") == ["1:1"]


def test_a_signal_wakes_the_worker_even_before_python_handles_it(app: Flask) -> None:
    worker = Worker(kit.queue.engine(), app.app_context, ["default"], threads=1)
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals(worker):
        assert signal.set_wakeup_fd(worker.wakeup_fd) == worker.wakeup_fd
        signal.raise_signal(signal.SIGTERM)
        assert worker.run() == 0
    assert signal.set_wakeup_fd(-1) == -1
    assert signal.getsignal(signal.SIGTERM) is before
