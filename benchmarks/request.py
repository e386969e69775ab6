"""One request through session, three limits and a cached page: the kit against its peers.

Both applications run in this process on the same server, with the same view, called in turns. The
peers are Flask-Session, Flask-Limiter (moving window, headers on) and Flask-Caching. Printed: the
median time of a request over bare Flask, the ratio, and the round trips counted by a TCP proxy.

    python -m benchmarks.request [--requests 400] [--repeats 9] [--rtt 0 0.5]

``--rtt`` adds milliseconds to each reply, as a network would: by default it measures on loopback,
and with the half millisecond of a server in the same data centre.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import flask_limiter
import redis
from flask import Flask, session
from flask_caching import Cache
from flask_session import Session
from flask_session.redis import RedisSessionInterface as PeerSessionInterface

from benchmarks.requester import requester
from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.harness.engines import engines
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

Call = Callable[[], Any]
PAGE = "<p>" + "a page of some size " * 200


def _add_login(app: Flask) -> None:
    @app.get("/login")
    def login() -> str:
        session["user_id"] = 42
        session["theme"] = "dark"
        return "in"


def _after(app: Flask) -> None:
    @app.after_request
    def read_session(response: Any) -> Any:
        response.headers["X-User"] = str(session.get("user_id"))
        return response


def bare() -> Flask:
    app = Flask("bare")

    @app.get("/page")
    def page() -> str:
        return PAGE

    return app


def kit_app(url: str) -> Flask:
    app = Flask("kit")
    app.secret_key = "benchmark"
    app.config["REDIS_URL"] = url
    kit = RedisKit(app)
    app.session_interface = RedisSessionInterface(kit)
    _add_login(app)
    _after(app)

    @app.get("/page")
    @kit.ratelimit.rate_limit(limit=10_000_000, window=1)
    @kit.ratelimit.rate_limit(limit=20_000_000, window=60)
    @kit.ratelimit.rate_limit(limit=30_000_000, window=3600)
    @kit.cache.cache_result(key_prefix="page", ttl=3600, public=True)
    def page() -> str:
        return PAGE

    return app


def peer_app(url: str) -> Flask:
    app = Flask("peers")
    app.secret_key = "benchmark"
    client = redis.Redis.from_url(url)
    app.config.update(
        SESSION_TYPE="redis",
        SESSION_REDIS=client,
        RATELIMIT_HEADERS_ENABLED=True,
        CACHE_TYPE="RedisCache",
        CACHE_REDIS_URL=url,
    )
    Session(app)
    assert isinstance(app.session_interface, PeerSessionInterface)
    limiter = flask_limiter.Limiter(
        flask_limiter.util.get_remote_address,
        app=app,
        storage_uri=url,
        strategy="moving-window",
    )
    cache = Cache(app)
    _add_login(app)
    _after(app)

    @app.get("/page")
    @limiter.limit("10000000/second")
    @limiter.limit("20000000/minute")
    @limiter.limit("30000000/hour")
    @cache.cached(timeout=3600)
    def page() -> str:
        return PAGE

    return app


def _timed(call: Call, requests: int) -> tuple[float, float]:
    """Elapsed and CPU time of this process for one request, in µs."""
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(requests):
        call()
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    return elapsed / requests * 1e6, cpu / requests * 1e6


def _requester(app: Flask) -> Call:
    """Calls ``GET /page`` with a logged-in cookie as a WSGI server would; no test client's cost."""
    client = app.test_client()
    assert client.get("/login").status_code in {200, 404}
    cookie = client.get_cookie("session")
    session_id = cookie.value if cookie else "x" * 43
    cookies = [("Cookie", f"session={session_id}")]
    return requester(app, length=len(PAGE), headers=cookies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rtt", type=float, nargs="*", default=[0.0, 0.5], help="milliseconds")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    for rtt in options.rtt:
        requests = max(20, options.requests // (1 if rtt == 0 else 8))
        measure(rtt, requests, options.repeats)


def measure(rtt: float, requests: int, repeats: int) -> None:
    """Measure at one round-trip time (ms) and print the table."""
    server_engine = engines()[0]
    with Server(server_engine) as server, Proxy(server.socket_path) as proxy:
        trips = {}
        for name, make in (("kit", kit_app), ("peers", peer_app)):
            call = _requester(make(proxy.url))
            call()
            with proxy.counting() as count:
                call()
            trips[name] = count.trips
        if rtt:
            proxy.delay(rtt / 1000)
        url = proxy.url if rtt else server.url
        calls = {app.name: _requester(app) for app in (bare(), kit_app(url), peer_app(url))}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for call in calls.values():
            _timed(call, max(2, requests // 10))
        for _ in range(repeats):
            for name, call in calls.items():
                times[name].append(_timed(call, requests))
    medians = {n: statistics.median(elapsed for elapsed, _ in each) for n, each in times.items()}
    cpu = {n: statistics.median(cpu for _, cpu in each) for n, each in times.items()}
    over = {name: medians[name] - medians["bare"] for name in ("kit", "peers")}
    print(f"server: {server_engine.name}, added round-trip time: {rtt} ms")
    print(f"{'':8}{'µs/request':>12}{'over Flask':>12}{'own CPU':>9}{'trips':>7}")
    print(f"{'bare':8}{medians['bare']:12.0f}{'':>12}{cpu['bare']:9.0f}{0:7}")
    for name in ("kit", "peers"):
        print(f"{name:8}{medians[name]:12.0f}{over[name]:12.0f}{cpu[name]:9.0f}{trips[name]:7}")
    print(
        f"ratio peers/kit: {over['peers'] / over['kit']:.2f} over bare Flask, "
        f"{medians['peers'] / medians['kit']:.2f} in all"
    )


if __name__ == "__main__":
    main()
