"""Counters per prefix: across processes, in no trip of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from flask_redis_kit import RedisKit, cache_result
from flask_redis_kit.cache.figures import Figures, by_subject
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

ANOTHER_PROCESS = """
import sys
import tests  # which makes it patient
from flask import Flask
from flask_redis_kit import RedisKit
app = Flask("shop")
app.config["REDIS_URL"] = sys.argv[1]
kit = RedisKit(app, features=("cache",))
for _ in range(3):
    kit.cache.cache_result("product")(lambda: 1)()
kit.state().contexts["cache"].counters.read()
"""


def figures(kit: RedisKit) -> dict[str, Figures]:
    counts = kit.state().contexts["cache"].counters.read()
    return {each.subject: each for each in by_subject(counts)}


def test_processes_are_added_up(kit: RedisKit, server: Server) -> None:
    kit.cache.cache_result("product")(lambda: 1)()
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, server.url], check=True, cwd=root, timeout=60
    )
    product = figures(kit)["product"]
    assert product.hit + product.miss == 4
    assert product.stored >= 1


def test_counting_sends_nothing_by_itself(warmed: RedisKit, proxy: Proxy) -> None:
    with proxy.counting() as count:
        for _ in range(50):
            warmed.cache.get("k")
    assert count.trips == 50


def test_computing_time_and_bytes_are_those_of_what_was_stored(kit: RedisKit) -> None:
    function = kit.cache.cache_result("large")(lambda: "x" * 1000)
    function()
    function()
    large = figures(kit)["large"]
    assert 1000 < large.bytes < 1100
    assert (large.hit, large.miss, large.stored) == (1, 1, 1)
    assert large.rate == 0.5


def test_keys_never_become_names(kit: RedisKit) -> None:
    for n in range(20):
        kit.cache.set(f"user:{n}", n)
        kit.cache.get(f"user:{n}")
    assert list(figures(kit)) == ["(by hand)"]


def test_figures_from_counts() -> None:
    counts = {
        ("b", "hit"): 3,
        ("b", "stale"): 1,
        ("b", "renewal"): 3,
        ("b", "miss"): 1,
        ("b", "refused:session"): 2,
        ("b", "refused:size"): 1,
        ("b", "milliseconds"): 70,
        ("b", "of a later version"): 9,
        ("a", "bytes"): 10,
    }
    a, b = by_subject(counts)
    assert (a.subject, a.bytes, a.rate) == ("a", 10, None)
    assert (b.hit, b.stale, b.miss, b.renewal, b.rate) == (3, 1, 1, 3, 0.5)
    assert b.refused == {"session": 2, "size": 1}
    assert b.milliseconds == 70
    assert json.loads(json.dumps(b.as_dict()))["rate"] == 0.5


def test_a_renewal_is_neither_a_hit_nor_a_miss(kit: RedisKit, app: Flask) -> None:
    calls: list[int] = []

    @app.get("/")
    @cache_result("page", ttl=100, grace=100, tags=["t"])
    def page() -> str:
        calls.append(1)
        return "x"

    client = app.test_client()
    for _ in range(2):
        client.get("/")
    kit.cache.invalidate_tags("t", soft=True)
    assert "fwd=stale; stored" in client.get("/").headers["Cache-Status"]
    client.get("/")
    found = figures(kit)["page"]
    assert (found.hit, found.miss, found.stale, found.renewal, found.stored) == (2, 1, 0, 1, 2)
    assert found.rate == 0.5
    assert len(calls) == 2


def test_a_miss_of_head_counts(kit: RedisKit, app: Flask) -> None:
    app.add_url_rule("/", "page", cache_result("page")(lambda: "x"))
    app.test_client().head("/")
    app.test_client().get("/")
    app.test_client().head("/")
    found = figures(kit)["page"]
    assert (found.hit, found.miss, found.stored) == (1, 2, 1)


def test_switched_off_nothing_is_counted(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ENABLED=False)
    kit.cache.get("k")
    kit.cache.cache_result("product")(lambda: 1)()
    assert figures(kit) == {}


@pytest.mark.parametrize("outcome", ["set", "add"])
def test_a_store_whose_server_fails_is_counted(outcome: str, kit: RedisKit, proxy: Proxy) -> None:
    kit.cache.get("warm")
    proxy.refuse()
    proxy.cut()
    assert getattr(kit.cache, outcome)("k", 1) is False
    proxy.restore()
    assert figures(kit)["(by hand)"].refused == {"failure": 1}
