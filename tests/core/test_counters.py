"""What features count: in memory at first, then in Redis, each count once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_redis_kit import RedisKit
from flask_redis_kit.core import counters as module
from flask_redis_kit.core import signals
from flask_redis_kit.core.counters import Counters, FeatureCounters
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.feature import Context
from tests.harness.children import exit_code, fork
from tests.harness.proxy import Proxy


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Made = tuple[Flask, RedisKit, Context[Any]]
Make = Callable[[str], Made]
Clocked = tuple[Counters, Clock]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes applications, which live as long as the test."""
    apps: list[Flask] = []

    def made(url: str) -> Made:
        app = Flask("counting")
        app.config.update(REDIS_URL=url)
        apps.append(app)
        kit = RedisKit(app, features=("cache",))
        return app, kit, kit.cache.context()

    yield made
    apps.clear()


@pytest.fixture
def clocked(make: Make, redis_url: str) -> Clocked:
    _, kit, context = make(redis_url)
    clock = Clock()
    return Counters(context.wire, kit.state().keys, now=clock), clock


def test_counts_of_two_processes_are_added_up(make: Make, redis_url: str) -> None:
    _, _, one = make(redis_url)
    _, _, other = make(redis_url)
    one.counters.add("product", "hit", 2)
    other.counters.add("product", "hit")
    other.counters.add("page", "miss")
    assert one.counters.read() == {("product", "hit"): 2}
    assert other.counters.read() == {("product", "hit"): 3, ("page", "miss"): 1}
    assert one.counters.read(days=99) == other.counters.read()


def test_several_names_are_counted_at_once_as_one_by_one(clocked: Clocked) -> None:
    counters, clock = clocked
    several = FeatureCounters(counters, "limit")
    heard: list[tuple[str, int]] = []

    def hear(_: object, *, subject: str, amount: int, **__: Any) -> None:
        heard.append((subject, amount))

    for _ in range(2):  # the second time they are known
        several.add_each(("minute", "day", "minute", "x" * 200), "admitted")
    with signals.counted.connected_to(hear):
        several.add_each(("minute", "day"), "admitted")
    assert heard == [("minute", 1), ("day", 1)]
    clock.now += module.INTERVAL
    assert counters.due(counters._wire) is not None  # and lost
    several.add_each(("day", "x" * 200), "admitted")
    assert counters.read("limit") == {("day", "admitted"): 1, ("x" * 100, "admitted"): 1}


def test_features_do_not_see_each_others_counts(clocked: Clocked) -> None:
    counters, _ = clocked
    FeatureCounters(counters, "cache").add("a", "hit")
    FeatureCounters(counters, "limit").add("a", "refused")
    assert counters.read("cache") == {("a", "hit"): 1}
    assert counters.read("limit") == {("a", "refused"): 1}


def test_a_report_is_due_after_a_while_and_only_on_its_own_wire(
    clocked: Clocked, make: Make, redis_url: str
) -> None:
    counters, clock = clocked
    wire = counters._wire
    _, _, other = make(redis_url)
    assert counters.due(wire) is None
    counters.add("cache", "product", "hit")
    assert counters.due(wire) is None
    clock.now += module.INTERVAL
    assert counters.due(other.wire) is None
    report = counters.due(wire)
    assert report is not None
    assert counters.due(wire) is None
    wire.send(report)
    assert counters.read("cache") == {("product", "hit"): 1}


def test_a_report_sent_twice_counts_once(clocked: Clocked) -> None:
    counters, _ = clocked
    counters.add("cache", "product", "hit", 5)
    report = counters.report()
    assert report is not None
    counters._wire.send_many([report, report])
    assert counters.read("cache") == {("product", "hit"): 5}


@given(st.lists(st.integers(0, 31), min_size=40, max_size=40), st.data())
@settings(max_examples=25)
def test_reports_that_overtake_each_other_count_once_each(
    clocked: Clocked, delays: list[int], data: st.DataObject
) -> None:
    """Two threads each take a report; the later one's may be sent first. Some are sent again."""
    template, _ = clocked
    counters = Counters(template._wire, template._keys)  # as in a process of its own
    subject = secrets.token_hex(4)
    reports: list[Exchange[None]] = []
    for number in range(len(delays)):
        counters.add("cache", subject, "hit", 1 << number)
        report = counters.report()
        assert report is not None
        reports.append(report)
    order = sorted(range(len(delays)), key=lambda number: number + delays[number])
    again = [data.draw(st.sampled_from(order[: n + 1])) for n in range(len(order))]
    counters._wire.send_many([reports[n] for pair in zip(order, again, strict=True) for n in pair])
    assert counters.read("cache")[subject, "hit"] == (1 << len(delays)) - 1


def test_a_report_rides_along_with_a_trip(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, redis_client: redis.Redis
) -> None:
    app, kit, context = make(proxy.url)
    kit.cache.set("warm", 1)
    context.counters.add("product", "hit")
    report = kit.state().counters(context.wire).report()  # the server knows the script from now on
    assert report is not None
    context.wire.send(report)
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    kit.state().counters(context.wire)._next = 0.001
    context.counters.add("product", "hit")
    with app.test_request_context(), proxy.counting() as counted:
        assert kit.cache.get("warm") == 1
    assert counted.trips == 1
    (key,) = redis_client.scan_iter(match="*:core:counts:*")
    assert redis_client.hvals(key).count(b"2") >= 1
    assert 0 < redis_client.ttl(key) <= module.KEPT_DAYS * 86400


def test_no_count_is_lost_between_threads(clocked: Clocked) -> None:
    counters, _ = clocked
    stop = threading.Event()

    def count() -> None:
        for _ in range(2000):
            counters.add("cache", "product", "hit")

    def flush() -> None:
        while not stop.is_set():
            counters.flush()

    flusher = threading.Thread(target=flush)
    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in [flusher, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    flusher.join()
    assert counters.read("cache") == {("product", "hit"): 12_000}


def test_a_child_reports_only_its_own(clocked: Clocked) -> None:
    counters, _ = clocked
    counters.add("cache", "parent", "hit")

    def count() -> bool:
        counters.add("cache", "child", "hit")
        return dict(counters._counts) == {("cache", "child", "hit"): 1}

    assert exit_code(fork(count)) == 0
    assert counters.read("cache") == {("parent", "hit"): 1}


def test_names_are_bounded_and_harmless(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    counters, _ = clocked
    monkeypatch.setattr(module, "_MOST_NAMES", 2)
    told: list[str] = []

    def listener(_: object, *, subject: str, **__: object) -> None:
        told.append(subject)

    with signals.counted.connected_to(listener, sender=counters):
        for name in ("a\x1fb", "x" * 500, "third", "fourth") * 2:
            counters.add("cache", name, "hit")
    assert told == ["a b", "x" * 100, "(other)", "(other)"] * 2
    assert counters.read("cache") == {
        ("a b", "hit"): 2,
        ("x" * 100, "hit"): 2,
        ("(other)", "hit"): 4,
    }


def test_what_else_lies_in_the_hash_is_passed_over(
    clocked: Clocked, redis_client: redis.Redis
) -> None:
    counters, _ = clocked
    counters.add("cache", "product", "hit")
    counters.flush()
    (key,) = redis_client.scan_iter(match="*:core:counts:*")
    redis_client.hset(key, b"\xff\xfe", b"what")
    assert counters.read("cache") == {("product", "hit"): 1}


def test_a_server_that_is_away_costs_the_counts_and_nothing_else(make: Make) -> None:
    _, kit, context = make("unix:///nowhere/at/all.sock")
    context.counters.add("product", "hit")
    kit.close()


def test_closing_a_kit_reports(make: Make, redis_url: str) -> None:
    _, kit, context = make(redis_url)
    context.counters.add("product", "hit", 3)
    kit.close()
    _, _, later = make(redis_url)
    assert later.counters.read() == {("product", "hit"): 3}


def test_a_plan_of_a_feature_outlives_a_report(make: Make, redis_url: str) -> None:
    app, kit, context = make(redis_url)
    counters = kit.state().counters(context.wire)
    counters._next = 0.001
    context.counters.add("product", "hit")
    with app.test_request_context():
        batch = context.batch()
        assert batch is not None
        place = "frk:{counting:x}:cache:v:x"
        batch.plan("me", context.wire, Exchange("cache", place, [("GET", place)], len))
        context.send(Exchange("cache", place, [("GET", place)], len, read_only=True))
        assert batch.planned("me") is not None


def test_listeners_hear_each_count(clocked: Clocked) -> None:
    counters, _ = clocked
    heard: list[object] = []

    def hear(sender: object, **facts: object) -> None:
        heard.append((sender is counters, facts))

    with signals.counted.connected_to(hear):
        counters.add("cache", "product", "hit", 2)
    facts = {"feature": "cache", "subject": "product", "outcome": "hit", "amount": 2}
    assert heard == [(True, facts)]
