"""What the kit's wire costs over plain redis-py, on the same server and with the same settings.

One exchange against ``get``, five in a batch against five calls, a batch over the three nodes of a
Cluster against redis-py's ``ClusterPipeline``, and a call while the circuit breaker is open. The
two sides take turns; printed are medians of the repeats, in µs a call.

    python -m benchmarks.connection [--calls 2000] [--repeats 15] [--rtt 0]

``--rtt`` adds milliseconds to each reply, as a network would.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from flask_redis_kit.core.config import CoreConfig
from flask_redis_kit.core.connectors import Connectors
from flask_redis_kit.core.exchange import Exchange, first
from flask_redis_kit.core.routing import wire_to
from flask_redis_kit.core.wire import Wire
from tests.harness.clusters import ClusterGroup
from tests.harness.engines import engines
from tests.harness.proxy import Proxy
from tests.harness.servers import Server
from tests.waiting import wait_until

Call = Callable[[], Any]


@contextlib.contextmanager
def connected(url: str, **core: Any) -> Iterator[Wire]:
    """The kit's wire to a server."""
    connectors = Connectors(CoreConfig(url=url, **core), Path("/nonexistent"))
    try:
        yield wire_to(connectors.get())
    finally:
        connectors.close()


def get(key: str) -> Exchange[bytes | None]:
    """Read a string."""
    return Exchange("benchmark", key, [("GET", key)], first, read_only=True)


def measured(calls: dict[str, Call], count: int, repeats: int) -> dict[str, float]:
    """Medians of the time of a call, in µs; the calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(count):
                call()
            if repeat:  # the first one warms up
                times[name].append((time.perf_counter() - started) / count * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def show(title: str, medians: dict[str, float]) -> None:
    """The kit's figure, redis-py's, and what lies between them."""
    ours, theirs = medians["kit"], medians["redis-py"]
    print(
        f"{title:42}{ours:8.1f}{theirs:10.1f}{ours - theirs:+10.1f}{ours / theirs:8.2f}", flush=True
    )


def single(url: str, count: int, repeats: int) -> None:
    """One server: one exchange, five, and the raw client on the kit's own pool."""
    plain = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)
    with plain, connected(url) as wire:
        shared = wire.connector.client
        keys = [f"key{n}" for n in range(5)]
        for key in keys:
            plain.set(key, "x" * 100)
        show(
            "get",
            measured(
                {"kit": lambda: wire.send(get("key0")), "redis-py": lambda: plain.get("key0")},
                count,
                repeats,
            ),
        )
        show(
            "get, redis-py on the kit's pool",
            measured(
                {"kit": lambda: wire.send(get("key0")), "redis-py": lambda: shared.get("key0")},
                count,
                repeats,
            ),
        )
        show(
            "five: one batch / five calls",
            measured(
                {
                    "kit": lambda: wire.send_many([get(key) for key in keys]),
                    "redis-py": lambda: [plain.get(key) for key in keys],
                },
                count // 4,
                repeats,
            ),
        )


def cluster(url: str, keys: list[str], count: int, repeats: int) -> None:
    """A Cluster: one exchange, and a batch over all its nodes."""
    with connected(url) as wire:
        plain: Any = wire.connector.client
        for key in keys:
            plain.set(key, "x" * 100)

        def pipeline() -> Any:
            with plain.pipeline() as pipe:
                for key in keys:
                    pipe.get(key)
                return pipe.execute()

        assert [o.result() for o in wire.send_many([get(key) for key in keys])] == pipeline()
        show(
            "Cluster: get",
            measured(
                {"kit": lambda: wire.send(get(keys[0])), "redis-py": lambda: plain.get(keys[0])},
                count // 2,
                repeats,
            ),
        )
        show(
            f"Cluster: {len(keys)} keys on 3 nodes / pipeline",
            measured(
                {
                    "kit": lambda: wire.send_many([get(key) for key in keys]),
                    "redis-py": pipeline,
                },
                count // 4,
                repeats,
            ),
        )


def broken(count: int, repeats: int) -> None:
    """While the breaker is open."""
    with Server() as server, connected(server.url, socket_timeout=0.1) as wire:
        wire.send(get("key"))
        server.pause()
        wire.send_many([get("key")])
        wait_until(lambda: wire.connector.breaker.state == "open")
        exchange = get("key")
        medians = measured({"kit": lambda: wire.send_many((exchange,))}, count, repeats)
        print(f"{'server away, breaker open':42}{medians['kit']:8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rtt", type=float, default=0.0, help="milliseconds added to each reply")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    engine = engines()[0]
    print(f"server: {engine.name}, added round-trip time: {options.rtt} ms")
    print(f"{'µs a call':42}{'kit':>8}{'redis-py':>10}{'':>10}{'ratio':>8}")
    with Server(engine) as server, Proxy(server.socket_path) as proxy:
        proxy.delay(options.rtt / 1000)
        single(proxy.url if options.rtt else server.url, options.calls, options.repeats)
    with ClusterGroup(engine, node_timeout=15) as group:
        keys = [group.key_on(node, name) for name in "ab" for node in group.primaries()]
        cluster(group.url, keys, options.calls, options.repeats)
    broken(options.calls, options.repeats)


if __name__ == "__main__":
    main()
