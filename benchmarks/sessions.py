"""Sessions: the kit against Flask-Session, on the same server, in one run.

Requests that leave the session alone, read it, write it, log in; sessions of 2 kB and 50 kB, where
one of 20 keys changes, with the bytes that go over the wire; the memory of a session; and eight
requests that write different keys of one session at once. Both applications have the same views and
take turns; printed are medians, in µs over bare Flask, and round trips counted by a proxy.

A session of a user takes more memory here than in Flask-Session: it is in the index of his devices,
it holds whose it is and with what it was last used, and each of its fields can be written alone.

    python -m benchmarks.sessions [--requests 200] [--repeats 9] [--races 100] [--rtt 0]

``--rtt`` adds milliseconds to each reply, as a network would.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import redis
from flask import Flask, session
from flask_session import Session
from werkzeug.test import EnvironBuilder

from flask_redis_kit import RedisKit, RedisSessionInterface
from tests.harness.engines import engines
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

Call = Callable[[], Any]
WRITERS = 8
FIELDS = 20
SIZES = {"small": 0, "2 kB": 100, "50 kB": 2500}
"""The bytes in each of the 20 fields that a session has besides the user's."""


def views(app: Flask) -> Flask:
    """What the bare application, the kit's and the peer's have in common."""
    rotate = getattr(app.session_interface, "regenerate", None)

    @app.get("/start/<int:size>")
    def start(size: int) -> str:
        session["_user_id"] = "42"
        session["theme"] = "dark"
        if size:
            session.update({f"field{n}": "x" * size for n in range(FIELDS)})
        return "started"

    @app.get("/untouched")
    def untouched() -> str:
        return "hello"

    @app.get("/read")
    def read() -> str:
        return str(session["theme"])

    @app.get("/write/<value>")
    def write(value: str) -> str:
        session["theme"] = value
        return value

    @app.get("/write/<name>/<value>")
    def write_one(name: str, value: str) -> str:
        session[name] = value
        return value

    @app.get("/login/<user>")
    def login(user: str) -> str:
        session["_user_id"] = user
        if rotate is not None:
            rotate(session)
        return user

    @app.get("/echo/<value>")
    def echo(value: str) -> str:
        return value

    return app


def bare() -> Flask:
    """Flask without a session."""
    app = Flask("bare")

    @app.get("/<path:anything>")
    def view(anything: str) -> str:
        return anything

    return app


def kit_app(url: str) -> Flask:
    """Sessions of the kit."""
    app = Flask("kit")
    app.secret_key = "benchmark"
    app.config.update(REDIS_URL=url, REDIS_NAMESPACE="kit")
    kit = RedisKit(app, features=("sessions",))
    app.extensions["kept"] = kit
    app.session_interface = RedisSessionInterface(kit)
    return views(app)


def peer_app(url: str) -> Flask:
    """Sessions of Flask-Session, as it is configured by default."""
    app = Flask("peer")
    app.secret_key = "benchmark"
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(url))
    Session(app)
    return views(app)


class Visitor:
    """A browser at a WSGI application, without the cost of a test client."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._cookie = ""

    def get(self, path: str) -> None:
        """One request. A new cookie replaces the old one."""
        environ = EnvironBuilder(path=path, headers=[("Cookie", self._cookie)]).get_environ()
        environ["REMOTE_ADDR"] = "127.0.0.1"
        self.send(environ)

    def prepared(self, path: str) -> Call:
        """The same request again and again, its environ made once."""
        made = EnvironBuilder(path=path).get_environ()
        made["REMOTE_ADDR"] = "127.0.0.1"
        return lambda: self.send({**made, "HTTP_COOKIE": self._cookie})

    def send(self, environ: dict[str, Any]) -> None:
        def start_response(status: str, headers: Iterable[tuple[str, str]], *_: Any) -> Any:
            assert status == "200 OK", status
            for name, value in headers:
                if name == "Set-Cookie":
                    self._cookie = value.partition(";")[0]

        body = self._app(environ, start_response)
        b"".join(body)
        body.close()  # type: ignore[attr-defined]  # werkzeug's iterable has it


@dataclass
class Row:
    """One kind of request, asked of each application."""

    title: str
    size: str
    call: Callable[[Visitor], Call]


def _written(visitor: Visitor) -> Call:
    """Each request writes another value: an equal one would not be written."""
    calls = [visitor.prepared(f"/write/{n}") for n in range(7)]
    turn = iter(range(10**9))
    return lambda: calls[next(turn) % 7]()


def _login(visitor: Visitor) -> Call:
    calls = [visitor.prepared(f"/login/{n}") for n in range(7)]
    turn = iter(range(10**9))
    return lambda: calls[next(turn) % 7]()


ROWS = [
    Row("untouched", "small", lambda visitor: visitor.prepared("/untouched")),
    Row("read", "small", lambda visitor: visitor.prepared("/read")),
    Row("written", "small", _written),
    Row("login (new id)", "small", _login),
    Row("2 kB, one key written", "2 kB", _written),
    Row("50 kB, one key written", "50 kB", _written),
]


def _timed(call: Call, requests: int) -> float:
    started = time.perf_counter()
    for _ in range(requests):
        call()
    return (time.perf_counter() - started) / requests * 1e6


def _traffic(client: redis.Redis) -> int:
    stats = client.info("stats")
    return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])


def _bytes(client: redis.Redis, call: Call, requests: int = 20) -> float:
    """What goes over the server's network for one request."""
    _traffic(client)
    start = _traffic(client)
    own = _traffic(client) - start  # the price of asking
    start = _traffic(client)
    for _ in range(requests):
        call()
    return max(0.0, (_traffic(client) - start - own) / requests)


def _visitors(apps: dict[str, Flask], size: str) -> dict[str, Visitor]:
    visitors = {name: Visitor(app) for name, app in apps.items()}
    for visitor in visitors.values():
        visitor.get(f"/start/{SIZES[size]}")
    return visitors


def requests(server: Server, count: int, repeats: int, rtt: float) -> None:
    """The table of requests."""
    print(f"{'':26}{'µs over Flask':^22}{'':8}{'trips':^12}{'bytes on the wire':^20}")
    print(f"{'':26}{'kit':>9}{'FS':>9}{'FS/kit':>8}{'kit':>8}{'FS':>6}{'kit':>11}{'FS':>9}")
    with Proxy(server.socket_path) as proxy, redis.Redis.from_url(server.url) as client:
        through = {"kit": kit_app(proxy.url), "peer": peer_app(proxy.url)}
        url = proxy.url if rtt else server.url
        apps = {"bare": bare(), "kit": kit_app(url), "peer": peer_app(url)}
        for row in ROWS:
            proxy.delay(0)
            trips, sizes = {}, {}
            for name, visitor in _visitors(through, row.size).items():
                call = row.call(visitor)
                call()
                with proxy.counting() as counted:
                    call()
                trips[name] = counted.trips
                sizes[name] = _bytes(client, call)
            proxy.delay(rtt / 1000)
            calls = {n: row.call(v) for n, v in _visitors(apps, row.size).items()}
            times: dict[str, list[float]] = {name: [] for name in calls}
            for repeat in range(repeats + 1):
                for name, call in calls.items():
                    spent = _timed(call, count)
                    if repeat:  # the first one warms up
                        times[name].append(spent)
            medians = {name: statistics.median(each) for name, each in times.items()}
            ours, theirs = (max(0.1, medians[n] - medians["bare"]) for n in ("kit", "peer"))
            print(
                f"{row.title:26}{ours:9.0f}{theirs:9.0f}{theirs / ours:8.1f}"
                f"{trips['kit']:8}{trips['peer']:6}{sizes['kit']:11.0f}{sizes['peer']:9.0f}",
                flush=True,
            )


def memory(server: Server, count: int = 500) -> None:
    """What a session takes in the server, key and expiry included."""
    with redis.Redis.from_url(server.url) as client:
        starts = {title: f"/start/{size}" for title, size in SIZES.items()}
        for title, start in {"no user": "/write/dark", **starts}.items():
            used: dict[str, float] = {}
            for name, make in (("kit", kit_app), ("peer", peer_app)):
                app = make(server.url)
                Visitor(app).get(start)
                before = int(client.info("memory")["used_memory_dataset"])
                for _ in range(count):
                    Visitor(app).get(start)
                used[name] = (int(client.info("memory")["used_memory_dataset"]) - before) / count
            ratio = used["peer"] / used["kit"]
            print(
                f"memory of a session, {title:10}{used['kit']:9.0f} B{used['peer']:9.0f} B"
                f"{ratio:8.2f}",
                flush=True,
            )


def races(server: Server, rounds: int) -> None:
    """Eight requests of one browser write a key each at the same time: how many keys are lost?"""
    lost = {}
    for name, make in (("kit", kit_app), ("peer", peer_app)):
        app = make(server.url)
        missing = spoiled = 0
        for _ in range(rounds):
            visitor = Visitor(app)
            visitor.get("/start/0")
            barrier = threading.Barrier(WRITERS)

            def write(n: int, visitor: Visitor = visitor, barrier: Any = barrier) -> None:
                barrier.wait()
                visitor.get(f"/write/key{n}/{n}")

            threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gone = _missing(app, visitor)
            missing += gone
            spoiled += gone > 0
        lost[name] = f"{missing} of {rounds * WRITERS} in {spoiled} of {rounds} rounds"
    print(f"lost updates, 8 writers: kit {lost['kit']}; Flask-Session {lost['peer']}", flush=True)


def _missing(app: Flask, visitor: Visitor) -> int:
    client = app.test_client()
    name, _, value = visitor._cookie.partition("=")
    client.set_cookie(name, value)
    with client.session_transaction() as found:
        return sum(found.get(f"key{n}") != str(n) for n in range(WRITERS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--races", type=int, default=100)
    parser.add_argument("--rtt", type=float, default=0.0, help="milliseconds added to each reply")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    engine = engines()[0]
    print(f"server: {engine.name}, added round-trip time: {options.rtt} ms")
    with Server(engine) as server:
        requests(server, options.requests, options.repeats, options.rtt)
        memory(server)
        races(server, options.races)


if __name__ == "__main__":
    main()
