"""``flask redis cache …``: what it shows, what it changes, and its exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import redis
from click.testing import Result
from flask import Flask
from flask.views import MethodView

from flask_redis_kit import RedisKit, cache_result
from tests.cache.conftest import MakeKit
from tests.harness.proxy import Proxy
from tests.waiting import wait_until

Command = Callable[..., Result]


def runner_of(kit: RedisKit) -> Command:
    def run(*arguments: str, typed: str = "") -> Result:
        runner = kit.state().app.test_cli_runner()
        return runner.invoke(args=["redis", "cache", *arguments], input=typed)

    return run


@pytest.fixture
def command(kit: RedisKit) -> Command:
    return runner_of(kit)


def row_of(result: Result, name: str) -> list[str]:
    """The cells of the line that begins with this name."""
    [line] = [line for line in result.stdout.splitlines() if line.startswith(name)]
    return re.split(r"  +", line.strip())


def test_stats_add_up_all_processes_by_prefix(
    kit: RedisKit, make_kit: MakeKit, proxy: Proxy, command: Command
) -> None:
    @kit.cache.cache_result("product")
    def product(n: int) -> object:
        return object() if n else n

    for n in (0, 0, 0, 1):
        product(n)
    kit.cache.get("absent")
    kit.state().contexts["cache"].counters.read()  # so that it is reported
    other = make_kit(proxy.url)
    for _ in range(2):
        other.cache.cache_result("product")(product.uncached)(0)
    other.state().contexts["cache"].counters.read()
    kit.cache.invalidate_tags("a", "b")
    result = command("stats", "--entries")
    assert result.exit_code == 0, result.output
    heads = ["prefix", "hits", "misses", "hit rate", "stale", "renewed", "stored", "refused"]
    assert re.split(r"  +", result.stdout.splitlines()[0]) == heads
    assert row_of(result, "product") == ["product", "4", "2", "66.7%", "0", "0", "1", "1 encoding"]
    assert row_of(result, "(by hand)")[:4] == ["(by hand)", "0", "1", "0.0%"]
    assert "log: 2 invalidated tags" in result.stdout
    assert "1 invalidations since it was made" in result.stdout
    assert "entries: 1" in result.stdout
    assert "Counted by all processes today (UTC)" in result.stderr


def test_stats_for_programs(kit: RedisKit, command: Command) -> None:
    kit.cache.set("k", "x" * 100)
    kit.cache.get("k")
    found = json.loads(command("stats", "--json", "--days", "8").stdout)
    [by_hand] = found["prefixes"]
    assert (by_hand["subject"], by_hand["hit"], by_hand["stored"]) == ("(by hand)", 1, 1)
    assert by_hand["rate"] == 1.0
    assert by_hand["bytes"] > 100
    assert found["log"]["shards"] in (1, 16)
    assert "entries" not in found


@pytest.mark.parametrize("name", ["stats", "top"])
def test_figures_of_nothing_say_when_there_will_be_some(command: Command, name: str) -> None:
    result = command(name)
    assert result.exit_code == 0
    assert "Nothing was counted today." in result.stdout
    assert "prefix" not in result.stdout
    assert "every 10 s at most, along with a trip" in result.stderr


def test_top_sorts_by_what_is_asked_for(kit: RedisKit, command: Command) -> None:
    large = kit.cache.cache_result("large")(lambda: "x" * 1000)
    often = kit.cache.cache_result("often")(lambda: 1)
    large()
    for _ in range(5):
        often()
    for by, first in (("bytes", "large"), ("hits", "often"), ("time", "large")):
        result = command("top", "--by", by, "--limit", "5", "--json")
        subjects = [each["subject"] for each in json.loads(result.stdout)]
        assert set(subjects) == {"large", "often"}
        assert by == "time" or subjects[0] == first
    result = command("top", "--by", "bytes", "--limit", "1")
    assert row_of(result, "large")[-2:] == ["1.0 kB", "0"]
    assert "often" not in result.stdout
    assert command("top", "--by", "size").exit_code == 2


def test_get_shows_a_value_by_hand(kit: RedisKit, command: Command) -> None:
    kit.cache.set("k", {"a": [1, 2]}, grace=100, tags=["t"])
    assert command("get", "k").stdout == "{'a': [1, 2]}\n"
    assert json.loads(command("get", "k", "--json").stdout) == {"a": [1, 2]}
    kit.cache.invalidate_tags("t", soft=True)
    stale = command("get", "k")
    assert (stale.exit_code, stale.stdout) == (0, "{'a': [1, 2]}\n")
    assert "the value is stale" in stale.stderr
    absent = command("get", "absent")
    assert absent.exit_code == 1
    assert "Error: There is no value under 'absent'." in absent.stderr


def test_get_counts_as_no_reader(kit: RedisKit, command: Command) -> None:
    kit.cache.set("k", 1)
    command("get", "k")
    command("get", "l")
    [figures] = json.loads(command("stats", "--json").stdout)["prefixes"]
    assert (figures["hit"], figures["miss"]) == (0, 0)


def inspected(command: Command, what: str) -> tuple[int, dict[str, object]]:
    result = command("inspect", what, "--json")
    return result.exit_code, json.loads(result.stdout)


def test_inspect_tells_what_is_stored(kit: RedisKit, command: Command) -> None:
    kit.cache.set("k", "x" * 10_000, ttl=100, grace=50, tags=["t", "ü" * 40])
    code, found = inspected(command, "k")
    assert code == 0
    assert (found["state"], found["compressed"], found["raised"]) == ("fresh", True, False)
    assert found["codec"] == "msgpack, version 1"
    assert (found["fresh"], found["grace"]) == (100_000, 50_000)
    assert 90_000 < int(str(found["fresh_for"])) <= 100_000
    assert 140_000 < int(str(found["kept_for"])) <= 150_000
    assert int(str(found["payload"])) < int(str(found["size"])) < 1000
    assert found["tags"][1] == {"kind": "tag", "name": "t", "state": "valid"}  # type: ignore[index]
    text = command("inspect", "k").stdout
    assert "state        fresh. It would be served." in text
    assert re.search(r"^tag +t +valid$", text, re.MULTILINE)
    assert re.search(r"^tag +\(hashed\) \S+ +valid$", text, re.MULTILINE)


def lose_the_log(kit: RedisKit, client: redis.Redis) -> None:
    for key in client.scan_iter("frk:*:cache:t"):
        client.delete(key)


def outlive(kit: RedisKit, key: str) -> None:
    kit.cache.touch(key, 0.001)
    wait_until(lambda: kit.cache.get(key) is None)


@pytest.mark.parametrize(
    ("spoil", "state", "why"),
    [
        (lambda kit, _: kit.cache.invalidate_tags("t"), "invalid", "Invalidated since: 't'."),
        (lambda kit, _: kit.cache.invalidate_tags("t", soft=True), "stale", "softly since: 't'."),
        (lambda kit, _: kit.cache.delete("k"), "absent", "There is nothing."),
        (lambda kit, _: kit.cache.clear(), "invalid", "There is no log"),
        (lambda kit, _: (kit.cache.clear(), kit.cache.incr("n")), "invalid", "an earlier log"),
        (lambda kit, _: outlive(kit, "k"), "stale", "in its grace period"),
        (lambda _, client: client.zincrby(log_of(client), 5, "!n"), "invalid", "an earlier log"),
        (lambda _, client: client.zincrby(log_of(client), -9, "!s"), "invalid", "a failover"),
        (lambda _, client: client.zincrby(log_of(client), -9, "!f"), "invalid", "LOG_LIMIT"),
        (lambda _, client: client.setrange(key_of(client), 1, b"\x90"), "unreadable", "version 9"),
        (lambda _, client: client.setrange(key_of(client), 0, b"XX"), "unreadable", "no value of"),
        (lambda _, client: client.append(key_of(client), b"\xc1"), "unreadable", "absent"),
        (lambda _, client: client.set(key_of(client), b"", px=9999), "unreadable", "too short"),
    ],
)
@pytest.mark.standalone("it reaches into the log of the one shard")
def test_inspect_tells_why_a_value_would_not_be_served(
    spoil: Callable[[RedisKit, redis.Redis], object],
    state: str,
    why: str,
    kit: RedisKit,
    command: Command,
    redis_client: redis.Redis,
) -> None:
    kit.cache.set("k", 1, tags=["t"], grace=100)
    spoil(kit, redis_client)
    code, found = inspected(command, "k")
    assert (found["state"], code) == (state, 0 if state == "stale" else 1)
    assert why in str(found["why"])
    assert kit.cache.get("k") is None, "as inspect says"
    assert command("inspect", "k").exit_code == code


def key_of(client: redis.Redis) -> bytes:
    [key] = client.scan_iter("frk:*:cache:v:*")
    return bytes(key)


def log_of(client: redis.Redis) -> bytes:
    [key] = client.scan_iter("frk:*:cache:t")
    return bytes(key)


def test_inspect_takes_a_key_in_redis(kit: RedisKit, command: Command) -> None:
    @kit.cache.cache_result("numbers", tags=["all"])
    def number(n: int) -> int:
        return n

    number(7)
    code, found = inspected(command, number.cache_key(7))
    assert (code, found["state"]) == (0, "fresh")
    assert {"kind": "key_prefix", "name": "numbers", "state": "valid"} in found["tags"]  # type: ignore[operator]
    for foreign in ("frk:{x:0of1}:cache:v:abc", number.cache_key(7)[:-1], "frk:"):
        result = command("inspect", foreign)
        assert result.exit_code == 1
        assert "is no value of this application's cache" in result.stderr


def test_inspect_takes_the_url_of_a_route(kit: RedisKit, app: Flask, command: Command) -> None:
    @app.get("/products/<int:n>")
    @cache_result("product", tags=["product:{n}"])
    def product(n: int) -> str:
        return str(n)

    class Page(MethodView):
        @cache_result()
        def get(self, name: str) -> str:
            return name

    app.add_url_rule("/page/<name>", view_func=Page.as_view("page"))
    app.add_url_rule("/plain", view_func=lambda: "x", endpoint="plain")
    assert inspected(command, "/products/7?b=1&a=2")[1]["state"] == "absent"
    client = app.test_client()
    client.get("/products/7?a=2&b=1")
    client.get("/page/x")
    code, found = inspected(command, "http://localhost/products/7?b=1&a=2")
    assert (code, found["state"]) == (0, "fresh")
    assert inspected(command, "/page/x")[1]["state"] == "fresh"
    assert inspected(command, "https://localhost/products/7?b=1&a=2")[1]["state"] == "absent"
    app.test_client().get("/page/far", base_url="http://shop.test")
    missed = command("inspect", "/page/far")
    assert missed.exit_code == 1
    assert "give the whole URL" in missed.stderr
    assert "give the whole URL" not in command("inspect", "http://shop.test/page/far").stderr
    assert inspected(command, "http://shop.test/page/far")[1]["state"] == "fresh"
    for url, problem in (
        ("/nothing", "No route answers '/nothing'"),
        ("/plain", "The route 'plain' of '/plain' has no @cache_result."),
        ("/products/7?" + "x" * 5000, "Nothing is cached for"),
    ):
        result = command("inspect", url)
        assert result.exit_code == 1
        assert problem in result.stderr


def test_invalidate_tag(kit: RedisKit, command: Command) -> None:
    kit.cache.set_many({"a": 1, "b": 2}, tags=["t"], grace=100)
    result = command("invalidate-tag", "t", "u", "t", "--soft")
    assert (result.exit_code, result.stdout) == (0, "Invalidated 2 tags.\n")
    assert kit.cache.get("a") is None
    assert kit.cache.get("a", stale=True) == 1
    assert command("invalidate-tag", "t").stdout == "Invalidated 1 tag.\n"
    assert kit.cache.get("a", stale=True) is None
    assert command("invalidate-tag").exit_code == 2
    assert command("invalidate-tag", "").exit_code == 1


def test_clear_asks_first(kit: RedisKit, command: Command) -> None:
    kit.cache.set("k", 1)
    result = command("clear", typed="n\n")
    assert result.exit_code == 1
    assert "Invalidate all that is cached for 'shop' on " in result.stdout
    assert kit.cache.get("k") == 1
    assert command("clear", typed="y\n").exit_code == 0
    assert kit.cache.get("k") is None
    kit.cache.set("k", 1)
    assert command("clear", "--yes").exit_code == 0
    assert kit.cache.get("k") is None


def test_without_a_server_each_says_so(make_kit: MakeKit, proxy: Proxy) -> None:
    kit = make_kit(proxy.url, REDIS_CACHE_ON_INVALIDATION_ERROR="log")
    proxy.refuse()
    for arguments in (
        ["stats"],
        ["top"],
        ["get", "k"],
        ["inspect", "k"],
        ["invalidate-tag", "t"],
        ["clear", "--yes"],
    ):
        result = runner_of(kit)(*arguments)
        assert result.exit_code == 1, arguments
        assert result.stderr.startswith("Error: "), arguments
        assert "Traceback" not in result.output
        assert result.stdout == ""


def test_switched_off_nothing_is_invalidated(make_kit: MakeKit, proxy: Proxy) -> None:
    command = runner_of(make_kit(proxy.url, REDIS_CACHE_ENABLED=False))
    for arguments in (["invalidate-tag", "t"], ["clear", "--yes"]):
        result = command(*arguments)
        assert result.exit_code == 1
        assert "REDIS_CACHE_ENABLED is false" in result.stderr
