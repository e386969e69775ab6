"""What becomes of a job: success, progress, failure, and what can't be run."""

from __future__ import annotations

import pytest
import redis

from flask_redis_kit.core import signals
from flask_redis_kit.queue import current_job, runner, scripts
from flask_redis_kit.queue.envelope import Body, Header, read_header, seal
from flask_redis_kit.queue.layout import QueueKeys
from tests.queue.conftest import Queued, Working, burst, make_due, ran
from tests.queue.jobs_app import add, flaky, kit, leave, record
from tests.waiting import wait_until


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


def test_an_envelope_keeps_its_body_when_it_is_counted_up(queued: Queued) -> None:
    codec = queued.engine.context.codec
    sealed = seal(codec, "h", Body("t", {"a": 1}, "u"))
    again = read_header(read_header(sealed).pack(failures=70_000, held_since_ms=5))
    assert (again.priority, again.failures, again.held_since_ms) == ("h", 0xFFFF, 5)
    assert again.body == read_header(sealed).body
