"""A worker in a thread of the test: what it runs, when, and at what cost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import redis

from flask_redis_kit.core import signals
from flask_redis_kit.queue import current_job, runner, scripts
from flask_redis_kit.queue.consumer import LOW_FIRST_EVERY
from flask_redis_kit.queue.envelope import Body, Header, read_header, seal
from flask_redis_kit.queue.layout import QueueKeys, keys_of
from flask_redis_kit.queue.worker import Worker
from tests.harness.proxy import Proxy
from tests.queue.conftest import MakeApp, Queued, Working, burst, make_due, ran
from tests.queue.jobs_app import add, flaky, hold, kit, leave, record, tell_app
from tests.waiting import wait_until


@pytest.fixture
def queued(make_app: MakeApp) -> Iterator[Queued]:
    """An application in whose context the test runs; failed jobs run again at once."""
    made = make_app(REDIS_QUEUE_BACKOFF=0, REDIS_QUEUE_LEASE=0.7)
    with made.app.app_context():
        yield made


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
    make_app: MakeApp, working: Working, redis_client: redis.Redis
) -> None:
    queued = make_app()  # a lease of 30 s, so parked for 4 s
    with queued.app.app_context(), working(queued, "a", "b", threads=1):
        for n in range(6):
            wait_until(lambda: redis_client.info("clients")["blocked_clients"] == 1)
            kit.queue.enqueue(record, {"n": n}, queue="ab"[n % 2])
            wait_until(lambda n=n: len(ran(redis_client)) == n + 1, timeout=2)  # type: ignore[misc]


def test_a_job_that_ends_while_its_worker_is_parked_is_acknowledged_at_once(
    make_app: MakeApp, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    queued = make_app()  # a lease of 30 s, so parked for 4 s
    with queued.app.app_context(), working(queued, threads=2):
        kit.queue.enqueue(hold, {"n": 1})
        wait_until(lambda: ran(redis_client, "started"))
        blocked = "blocked_clients"
        wait_until(lambda: redis_client.info("clients")[blocked] == 1)
        redis_client.set("go", 1)
        with_token = redis_client.lpop(keys.wake)
        wait_until(lambda: not redis_client.exists(keys.jobs), timeout=2)
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


def test_progress_and_result_can_be_read_and_are_told(
    queued: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    told: list[tuple[str, float, str, object, str]] = []

    def listen(sender: object, **news: object) -> None:
        assert sender is queued.engine
        state = kit.queue.job(str(news["job_id"])).state
        told.append((news["state"], news["progress"], news["note"], news["user"], state))  # type: ignore[arg-type]

    with signals.job_progress.connected_to(listen):
        job_id = kit.queue.enqueue(add, {"a": 2, "b": 3}, user=42)
        burst(queued)
    assert told == [
        ("started", 0.0, "", 42, "running"),
        ("progress", 0.5, "half", 42, "running"),
        ("finished", 1.0, "half", 42, "finished"),  # who hears of it finds the result
    ]
    status = kit.queue.job(job_id)
    assert (status.state, status.progress, status.note) == ("finished", 1.0, "half")
    assert status.result["sum"] == 5
    assert 0 < redis_client.pttl(keys.record(job_id)) <= 3_600_000


def test_a_result_is_kept_only_if_the_task_says_so(
    queued: Queued, redis_client: redis.Redis
) -> None:
    @kit.queue.task(name="silent")
    def silent() -> int:
        return 7

    @kit.queue.task(name="telling")
    def telling() -> int:
        current_job().progress(0.3)
        return 7

    silently, told = kit.queue.enqueue("silent"), kit.queue.enqueue("telling")
    burst(queued)
    assert kit.queue.job(silently).state == "unknown"
    assert (kit.queue.job(told).state, kit.queue.job(told).result) == ("finished", None)
    assert len(redis_client.keys("*:r:*")) == 1


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), "half"])
def test_progress_is_a_number_from_0_to_1(queued: Queued, fraction: float) -> None:
    @kit.queue.task(name="tell", retries=0)
    def tell() -> None:
        current_job().progress(fraction)

    job_id = kit.queue.enqueue("tell")
    burst(queued)
    assert "give a number from 0 to 1" in (kit.queue.job(job_id).reason or "")


def test_a_listener_that_fails_harms_no_job(queued: Queued, redis_client: redis.Redis) -> None:
    def listen(_sender: object, **_news: object) -> None:
        raise RuntimeError("no")

    with signals.job_progress.connected_to(listen):
        kit.queue.enqueue(record, {"n": 1})
        burst(queued)
    assert ran(redis_client) == ["1"]
    assert kit.queue.stats()[0].counters == {"done": 1}


def test_a_result_that_can_not_be_stored_does_not_make_the_job_fail(queued: Queued) -> None:
    @kit.queue.task(name="give_function", keep_result=True)
    def give_function() -> object:
        return print

    job_id = kit.queue.enqueue("give_function")
    burst(queued)
    status = kit.queue.job(job_id)
    assert (status.state, status.result) == ("finished", None)


def test_a_job_that_raises_runs_again_until_it_succeeds(
    queued: Queued, working: Working, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    with working(queued):
        kit.queue.enqueue(flaky, {"succeed_at": 3})
        wait_until(lambda: ran(redis_client) == ["3"] and not redis_client.exists(keys.jobs))
    assert ran(redis_client, "started") == ["1", "2", "3"]
    assert kit.queue.stats()[0].counters == {"retried": 2, "done": 1}


def test_a_job_that_never_succeeds_is_dead_with_the_end_of_its_traceback(
    queued: Queued, working: Working, redis_client: redis.Redis
) -> None:
    states: list[str] = []

    def listen(_sender: object, *, state: str, **_news: object) -> None:
        states.append(state)

    with signals.job_progress.connected_to(listen), working(queued):
        job_id = kit.queue.enqueue(flaky, {"succeed_at": 99})
        wait_until(lambda: kit.queue.job(job_id).state == "dead")
    assert states == ["started", "retrying", "started", "retrying", "started", "failed"]
    reason = kit.queue.job(job_id).reason
    assert reason is not None
    assert reason.startswith("ValueError: attempt 3 xxx")
    assert len(reason.encode()) <= 4096
    assert kit.queue.stats()[0].dead == 1


def test_the_wait_before_a_retry_doubles_with_jitter_and_has_an_end() -> None:
    for failures, full in ((1, 5), (2, 10), (5, 80), (11, 3600), (60_000, 3600)):
        waits = {runner.backoff(5, failures) for _ in range(50)}
        assert all(full / 2 <= wait <= full for wait in waits)
        assert len(waits) > 1


@pytest.mark.parametrize(
    "how", ["SystemExit", "KeyboardInterrupt", "CancelledError", "unprintable"]
)
def test_a_worker_outlives_whatever_a_job_raises(
    queued: Queued, redis_client: redis.Redis, how: str
) -> None:
    rude = kit.queue.enqueue(leave, {"how": how})
    kit.queue.enqueue(record, {"n": 1})
    burst(queued)
    assert ran(redis_client) == ["1"]
    assert kit.queue.job(rude).state == "dead"


def test_a_job_whose_task_nobody_knows_is_held_back_and_dead_after_an_hour(
    queued: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    job_id = kit.queue.enqueue("from_tomorrow", {"x": 1})
    burst(queued)
    assert kit.queue.job(job_id).state == "delayed"
    due = redis_client.zscore(keys.delayed, job_id)
    seconds, _ = redis_client.time()
    assert isinstance(due, float)
    assert 4 <= due / 1000 - seconds <= 8
    stored = redis_client.hget(keys.jobs, job_id)
    assert isinstance(stored, bytes)
    header = read_header(stored)
    assert (header.failures, header.held_since_ms > 0) == (0, True)
    # an hour later
    redis_client.hset(keys.jobs, job_id, header.pack(held_since_ms=header.held_since_ms - 3600_000))
    redis_client.zadd(keys.delayed, {job_id: 1})
    burst(queued)
    assert kit.queue.job(job_id).state == "dead"
    assert kit.queue.job(job_id).reason == (
        "unknown task 'from_tomorrow': no worker knew it for an hour"
    )


def test_a_task_that_a_deploy_brings_runs_the_jobs_held_back(
    queued: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    kit.queue.enqueue("from_today", {"n": 5})
    burst(queued)
    kit.queue.task(name="from_today")(lambda n: redis_client.rpush("ran", n))
    make_due(redis_client, keys)
    burst(queued)
    assert ran(redis_client) == ["5"]


def test_a_job_of_a_newer_version_is_held_back(
    queued: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    newer = Header(2, "n", 0, 0, b"\x02whatever").pack()
    queued.engine.context.wire.send(scripts.enqueue(keys, [("default." + "a" * 32, newer)]))
    burst(queued)
    assert redis_client.zcard(keys.delayed) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"\x01?" + bytes(10),
        bytes(40),
        Header(1, "n", 0, 0, b"\x01garbage").pack(),
        Header(1, "n", 0, 0, b"\x80pickle").pack(),
    ],
)
def test_an_envelope_that_can_not_be_read_is_dead_and_the_worker_goes_on(
    queued: Queued, redis_client: redis.Redis, keys: QueueKeys, content: bytes
) -> None:
    broken = kit.queue.enqueue(record, {"n": 1})
    kit.queue.enqueue(record, {"n": 2})
    redis_client.hset(keys.jobs, broken, content)
    burst(queued)
    status = kit.queue.job(broken)
    assert (status.state, (status.reason or "")[:7]) == ("dead", "corrupt")
    assert ran(redis_client) == ["2"]


def test_an_envelope_of_another_shape_is_corrupt(
    queued: Queued, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    job_id = kit.queue.enqueue(record, {"n": 1})
    content = queued.engine.context.codec.encode(["not", "a", "dict"])
    redis_client.hset(keys.jobs, job_id, Header(1, "n", 0, 0, content).pack())
    burst(queued)
    assert kit.queue.job(job_id).state == "dead"


def test_a_payload_arrives_type_for_type(queued: Queued) -> None:
    arrived: list[dict[str, object]] = []
    kit.queue.task(name="take")(lambda **payload: arrived.append(payload))
    sent = {"tuple": (1, 2), "set": {3}, "bytes": b"\0", "none": None, "big": 10**30}
    kit.queue.enqueue("take", sent)
    burst(queued)
    assert arrived == [sent]


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
        wait_until(lambda: not redis_client.exists(keys.jobs), timeout=30)
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


def test_an_envelope_keeps_its_body_when_it_is_counted_up(queued: Queued) -> None:
    codec = queued.engine.context.codec
    sealed = seal(codec, "h", Body("t", {"a": 1}, "u"))
    again = read_header(read_header(sealed).pack(failures=70_000, held_since_ms=5))
    assert (again.priority, again.failures, again.held_since_ms) == ("h", 0xFFFF, 5)
    assert again.body == read_header(sealed).body


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
