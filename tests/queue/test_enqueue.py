"""What ``enqueue`` costs and what comes of it when the network or the server fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from flask import Flask

from flask_redis_kit.core.errors import CircuitOpen, ReplyTimeout, ServerUnavailable
from flask_redis_kit.queue import QueueDamaged
from flask_redis_kit.queue.layout import QueueKeys
from tests.harness.proxy import Proxy
from tests.harness.servers import free_port
from tests.queue.conftest import MakeApp
from tests.queue.jobs_app import kit, record


@pytest.fixture
def far(make_app: MakeApp, proxy: Proxy) -> Iterator[Flask]:
    """An application behind the proxy, connected, in whose context the test runs."""
    app = make_app(proxy.url, REDIS_SOCKET_TIMEOUT=5).app
    with app.app_context():
        kit.client.ping()
        yield app


def test_enqueue_costs_one_trip_from_the_first_job_on(far: Flask, proxy: Proxy) -> None:
    with proxy.counting() as count:
        first = kit.queue.enqueue(record, {"n": 1})
    assert count.trips == 2  # the scripts were unknown to the server
    with proxy.counting() as count:
        second = kit.queue.enqueue("record", {"n": 1}, priority="high", queue="mail")
    assert count.trips == 1
    assert first.startswith("default.")
    assert second.startswith("mail.")
    assert len(second) == len("mail.") + 32


def test_a_thousand_jobs_cost_one_trip_and_keep_their_order(
    far: Flask, proxy: Proxy, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    kit.queue.enqueue(record, {"n": 0}, queue="other")
    with proxy.counting() as count:
        ids = kit.queue.enqueue_many([(record, {"n": n}) for n in range(1000)])
    assert count.trips == 1
    assert redis_client.lrange(keys.normal, 0, -1) == [name.encode() for name in ids]
    with proxy.counting() as count:
        more = kit.queue.enqueue_many([("record", {"n": n}) for n in range(2500)])
    assert count.trips == 1
    assert redis_client.llen(keys.normal) == 3500
    assert len(set(ids + more)) == 3500


def test_no_jobs_are_no_trip(far: Flask, proxy: Proxy) -> None:
    with proxy.counting() as count:
        assert kit.queue.enqueue_many([]) == []
    assert count.trips == 0


def test_a_lost_connection_after_the_job_is_in_makes_no_second_one(
    far: Flask, proxy: Proxy, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    kit.queue.enqueue(record, {"n": 0}, queue="other")
    kit.queue.enqueue(record, {"n": 0})
    proxy.cut_after(1)
    job_id = kit.queue.enqueue(record, {"n": 1})
    assert redis_client.lrange(keys.normal, 1, -1) == [job_id.encode()]
    assert redis_client.hlen(keys.jobs) == 2


def test_a_lost_reply_raises_and_leaves_one_job_at_most(
    make_app: MakeApp, proxy: Proxy, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    app = make_app(proxy.url, REDIS_SOCKET_TIMEOUT=0.2).app
    with app.app_context():
        kit.queue.enqueue(record, {"n": 0})
        proxy.drop_replies(1)
        with pytest.raises(ReplyTimeout):
            kit.queue.enqueue(record, {"n": 1})
    assert redis_client.llen(keys.normal) == 2


def test_enqueue_raises_at_once_when_the_server_is_away(make_app: MakeApp) -> None:
    app = make_app(f"redis://127.0.0.1:{free_port()}/0").app
    with app.app_context():
        for _ in range(3):
            with pytest.raises(ServerUnavailable):
                kit.queue.enqueue(record, {"n": 1})
        with pytest.raises(CircuitOpen):
            kit.queue.enqueue(record, {"n": 1})


def test_in_a_request_it_takes_along_what_is_pending(far: Flask, proxy: Proxy) -> None:
    kit.queue.enqueue(record, {"n": 0})
    context = kit.queue.context()
    with far.test_request_context("/"):
        batch = context.batch()
        assert batch is not None
        from flask_redis_kit.core.exchange import Exchange, first

        look = Exchange("other", "k", [("GET", "k")], first, read_only=True)
        pending = batch.prefetch(context.wire, look)
        with proxy.counting() as count:
            kit.queue.enqueue(record, {"n": 1})
            assert pending.result() is None
        assert count.trips == 1


def test_priorities_and_delays_go_to_their_places(
    app: Flask, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    high = kit.queue.enqueue(record, {"n": 1}, priority="high")
    low = kit.queue.enqueue(record, {"n": 1}, priority="low")
    later = kit.queue.enqueue(record, {"n": 1}, delay=timedelta(minutes=1))
    assert redis_client.lrange(keys.high, 0, -1) == [high.encode()]
    assert redis_client.lrange(keys.low, 0, -1) == [low.encode()]
    assert redis_client.zrange(keys.delayed, 0, -1) == [later.encode()]
    assert [kit.queue.job(each).state for each in (high, low, later)] == [
        "waiting",
        "waiting",
        "delayed",
    ]


def test_a_job_that_is_not_there_is_unknown(app: Flask) -> None:
    for text in ("", "nonsense", "default." + "0" * 32, "a{b}." + "0" * 32, "../../x"):
        assert kit.queue.job(text).state == "unknown"
    with pytest.raises(TypeError):
        kit.queue.job(7)  # type: ignore[arg-type]


def test_a_key_of_another_type_is_an_error_that_says_where(
    app: Flask, redis_client: redis.Redis, keys: QueueKeys
) -> None:
    redis_client.set(keys.normal, "mine", ex=60)
    with pytest.raises(QueueDamaged, match=r"'default'.*frk:\{jobs:default\}:queue:\*"):
        kit.queue.enqueue(record, {"n": 1})
    redis_client.delete(keys.normal)
    redis_client.set(keys.jobs, "mine", ex=60)
    with pytest.raises(QueueDamaged):
        kit.queue.job("default." + "0" * 32)
    redis_client.delete(keys.jobs)


def test_a_script_flush_at_any_moment_harms_nothing(app: Flask, redis_client: redis.Redis) -> None:
    for n in range(3):
        kit.queue.enqueue(record, {"n": n})
        redis_client.script_flush()
    assert kit.queue.stats()[0].normal == 3


def test_the_names_of_queues_are_known_again_after_they_were_flushed(
    app: Flask, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.queue.enqueue(record, {"n": 1}, queue="mail")
    redis_client.flushall()
    monkeypatch.setattr("flask_redis_kit.queue.engine.ANNOUNCE_EVERY", 0.0)
    kit.queue.enqueue(record, {"n": 1}, queue="mail")
    assert [each.queue for each in kit.queue.stats()] == ["mail"]
