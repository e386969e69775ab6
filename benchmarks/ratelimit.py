"""Rate limits against Flask-Limiter: admitted and refused requests, memory, the server's time.

Both applications run in this process on the same server, with the same view, called in turns;
Flask-Limiter with its moving window, headers on. Printed: medians over bare Flask, round trips
counted by a TCP proxy, requests per second refused, bytes of a full log, and the server's own time
for a decision (INFO commandstats).

    python -m benchmarks.ratelimit [--requests 400] [--repeats 9] [--rtt 0 0.5]

``--rtt`` adds milliseconds to each reply, as a network would: by default it measures on loopback,
and with the half millisecond of a server in the same data centre.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any, get_args

import flask_limiter
import redis
from flask import Flask

from benchmarks.requester import requester
from flask_redis_kit import RedisKit
from flask_redis_kit.core.wire import Wire
from flask_redis_kit.ratelimit.limits import Algorithm, Claim, Limit
from flask_redis_kit.ratelimit.scripts import acquire, new_token
from tests.core.connecting import wire_to
from tests.harness.engines import engines
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

Call = Callable[[], Any]
LIMITS = ("10000000/second", "20000000/minute", "30000000/hour")
SIZES = (10, 128, 1_000, 10_000)


def bare(_: str, __: int) -> Flask:
    app = Flask("bare")
    app.add_url_rule("/page", "page", lambda: "ok")
    return app


def kit_app(url: str, limits: int) -> Flask:
    app = Flask("kit")
    app.config["REDIS_URL"] = url
    kit = RedisKit(app)
    app.add_url_rule("/page", "page", _limited(kit.ratelimit.rate_limit, limits))
    app.add_url_rule("/refused", "refused", kit.ratelimit.rate_limit("5/hour")(lambda: "ok"))
    return app


def peer_app(url: str, limits: int) -> Flask:
    app = Flask("Flask-Limiter")
    app.config["RATELIMIT_HEADERS_ENABLED"] = True
    limiter = flask_limiter.Limiter(
        flask_limiter.util.get_remote_address,
        app=app,
        storage_uri=url,
        strategy="moving-window",
    )
    app.add_url_rule("/page", "page", _limited(limiter.limit, limits))
    app.add_url_rule("/refused", "refused", limiter.limit("5/hour")(lambda: "ok"))
    return app


def _limited(limit: Callable[[str], Callable[[Any], Any]], limits: int) -> Callable[[], str]:
    def page() -> str:
        return "ok"

    for text in LIMITS[:limits]:
        page = limit(text)(page)
    return page


def _timed(call: Call, requests: int) -> float:
    """Elapsed time of one request, in µs."""
    started = time.perf_counter()
    for _ in range(requests):
        call()
    return (time.perf_counter() - started) / requests * 1e6


def _in_turns(calls: dict[str, Call], requests: int, repeats: int) -> dict[str, float]:
    """Medians of a request's time, in µs."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        _timed(call, max(2, requests // 10))
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(_timed(call, requests))
    return {name: statistics.median(each) for name, each in times.items()}


def admitted(rtt: float, limits: int, requests: int, repeats: int) -> None:
    """Admitted requests under ``limits`` limits, with ``rtt`` ms added to each reply."""
    makes = (bare, kit_app, peer_app)
    with Server(engines()[0]) as server, Proxy(server.socket_path) as proxy:
        trips = {}
        for make in makes:
            call = requester(make(proxy.url, limits))
            call()
            with proxy.counting() as count:
                call()
            trips[make("redis://localhost", limits).name] = count.trips
        if rtt:
            proxy.delay(rtt / 1000)
        url = proxy.url if rtt else server.url
        apps = [make(url, limits) for make in makes]
        medians = _in_turns({app.name: requester(app) for app in apps}, requests, repeats)
    over = {name: median - medians["bare"] for name, median in medians.items()}
    for name, median in medians.items():
        print(
            f"  {name:14}{limits:4} limits{median:9.0f} µs{over[name]:9.0f} over Flask"
            f"{trips[name]:4} trips"
        )
    print(f"  ratio over bare Flask: {over['Flask-Limiter'] / over['kit']:.2f}")


def refused(requests: int, repeats: int) -> None:
    """A client that goes on asking after its limit is used up."""
    with Server(engines()[0]) as server:
        calls = {"bare": requester(bare("", 0))}
        for make in (kit_app, peer_app):
            app = make(server.url, 1)
            spend = requester(app, "/refused")
            for _ in range(5):
                spend()
            calls[app.name] = requester(app, "/refused", status="429 TOO MANY REQUESTS")
        medians = _in_turns(calls, requests, repeats)
    for name, median in medians.items():
        print(f"  {name:14}{1e6 / median:9.0f} requests/s{median:9.0f} µs")
    over = {name: median - medians["bare"] for name, median in medians.items()}
    print(
        f"  ratio: {medians['Flask-Limiter'] / medians['kit']:.2f}, "
        f"{over['Flask-Limiter'] / over['kit']:.2f} over bare Flask (which answers 200)"
    )


def memory() -> None:
    """Bytes of a key that holds so many units (MEMORY USAGE), in the kit and in the peer."""
    with Server(engines()[0]) as server, server.client() as client, wire_to(server.url) as wire:
        print(f"  {'units':>14}" + "".join(f"{size:>10,}" for size in SIZES))
        for algorithm in get_args(Algorithm):
            sizes = [_bytes(client, wire, size, algorithm) for size in SIZES]
            print(f"  {algorithm:>14}" + "".join(f"{size:>10,}" for size in sizes))
        print(f"  {'moving window':>14}" + "".join(f"{_of_peer(client, n):>10,}" for n in SIZES))


def _bytes(client: redis.Redis, wire: Wire, size: int, algorithm: Algorithm) -> int:
    """Spread over the window, so that every sub-window has its part."""
    key = f"{algorithm}:{size}"
    window = 64_000 * 100 if algorithm == "auto" else 3_600_000_000
    claim = Claim(Limit(size, window, algorithm=algorithm), "0", "s", 1, key)
    started, taken = time.monotonic(), 0
    while taken < size:
        due = size if algorithm == "sliding-log" else int((time.monotonic() - started) / 6 * size)
        while taken < min(due + 1, size):
            wire.send(acquire([claim], new_token()))
            taken += 1
        time.sleep(0 if algorithm == "sliding-log" else 0.005)
    return int(client.memory_usage(key, samples=0) or 0)


def _of_peer(client: redis.Redis, size: int) -> int:
    now = time.time()
    values = [str(now + n / 1e6) for n in range(size)]
    for start in range(0, size, 1000):
        client.lpush("peer", *values[start : start + 1000])
    used = int(client.memory_usage("peer", samples=0) or 0)
    client.delete("peer")
    return used


def server_time(requests: int) -> None:
    """Microseconds of the server's time for the decisions of one request."""
    with Server(engines()[0]) as server, server.client() as client:
        for limits in (1, 3):
            for make in (kit_app, peer_app):
                app = make(server.url, limits)
                call = requester(app)
                for _ in range(100):
                    call()
                client.config_resetstat()
                _timed(call, requests)
                stats: dict[str, Any] = client.info("commandstats")
                scripts = [stats[n] for n in ("cmdstat_evalsha", "cmdstat_eval") if n in stats]
                micros = sum(each["usec"] for each in scripts)
                calls = sum(each["calls"] for each in scripts)
                print(
                    f"  {app.name:14}{limits:4} limits{micros / requests:8.1f} µs in "
                    f"{calls / requests:.0f} calls"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rtt", type=float, nargs="*", default=[0.0, 0.5], help="milliseconds")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"server: {engines()[0].name}")
    for rtt in options.rtt:
        print(f"admitted, added round-trip time: {rtt} ms")
        requests = max(20, options.requests // (1 if rtt == 0 else 8))
        for limits in (1, 3):
            admitted(rtt, limits, requests, options.repeats)
    print("refused")
    refused(options.requests, options.repeats)
    print("server's time for the decisions of a request")
    server_time(options.requests)
    print("bytes of a key")
    memory()


if __name__ == "__main__":
    main()
