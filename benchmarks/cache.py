"""The kit's cache against Flask-Caching, cashews and dogpile.cache, on one server in one run.

A hit of 200 bytes and of 100 kB (beside a bare GET of redis-py; of one value again and again, and
of a hundred in turn), a cached page, a miss with its store, the invalidation of a tag, the memory
of a value, and a stampede of 50 callers in four processes. The contenders take turns; a figure is
the median of the repeats. ``own CPU`` is what this process used up: on a busy machine it is the
steadier figure. Trips are counted by a proxy.

    python -m benchmarks.cache [--quick] [--large] [--calls 300] [--repeats 15]

``--quick`` shows that it runs; ``--large`` invalidates a tag of 1,000,000 values, too.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from flask import Flask

from benchmarks.caches import CONTENDERS, Asynchronous, Contender, Kit, Peer, Raw, Run
from benchmarks.requester import requester
from benchmarks.stampede import CALLERS, stampede
from tests.harness.engines import engines
from tests.harness.proxy import Proxy
from tests.harness.servers import Server

PAGE = "<p>" + "a page of some size " * 200
_COLUMNS = (*CONTENDERS, "bare")


class Cost(NamedTuple):
    """Of one call: µs by the clock and of this process's CPU; and round trips."""

    elapsed: float
    cpu: float
    trips: float = 0.0


def _timed(run: Run, calls: int) -> Cost:
    started, cpu = time.perf_counter(), time.process_time()
    run(calls)
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    return Cost(elapsed / calls * 1e6, cpu / calls * 1e6)


def take_turns(runs: Mapping[str, Run], calls: int, repeats: int) -> dict[str, Cost]:
    """The medians; who begins changes with every repeat."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    names = list(runs)
    for run in runs.values():
        run(max(2, calls // 10))
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(_timed(runs[name], calls))
    return {
        name: Cost(
            statistics.median(cost.elapsed for cost in each),
            statistics.median(cost.cpu for cost in each),
        )
        for name, each in costs.items()
    }


class Table:
    """Prints rows as they come; the least of each row is the first."""

    def __init__(self) -> None:
        print(f"{'':34}" + "".join(f"{name:>15}" for name in _COLUMNS) + "   first")

    def row(self, title: str, figures: Mapping[str, float], form: str = "{:.0f}") -> None:
        """One row of numbers; less is better."""
        cells = [form.format(figures[name]) if name in figures else "-" for name in _COLUMNS]
        rivals = {name: figure for name, figure in figures.items() if name in CONTENDERS}
        best = min(rivals, key=lambda name: rivals[name])
        print(f"{title:34}" + "".join(f"{cell:>15}" for cell in cells) + f"   {best}", flush=True)

    def costs(self, title: str, costs: Mapping[str, Cost], trips: Mapping[str, float]) -> None:
        """The rows of one kind of call."""
        self.row(f"{title}, µs", {name: cost.elapsed for name, cost in costs.items()})
        self.row("  own CPU, µs", {name: cost.cpu for name, cost in costs.items()})
        self.row("  round trips", trips, "{:.1f}")


def bare_app() -> Flask:
    """A page without a cache."""
    app = Flask("bare")
    app.get("/page")(lambda: PAGE)
    return app


def with_page(contender: Contender) -> Flask:
    """The application of a contender, with a cached page."""
    if isinstance(contender, Kit):
        contender.app.get("/page")(contender.kit.cache.cache_result("page", ttl=3600)(_page))
        return contender.app
    assert isinstance(contender, Peer)
    contender.app.get("/page")(contender.cache.cached(timeout=3600)(_page))
    return contender.app


def _invalidate(contender: Contender, tag: str, _: int) -> None:
    contender.invalidate(tag)


def _page() -> str:
    return PAGE


def requests_to(app: Flask) -> Run:
    """``GET /page``, as a WSGI server would ask."""
    call = requester(app, length=len(PAGE))

    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


class Benchmark:
    """All contenders on one server, each a second time behind a proxy that counts."""

    def __init__(self, server: Server, proxy: Proxy, calls: int, repeats: int) -> None:
        self._client = server.client()
        self._proxy = proxy
        self._server = server
        self._calls = calls
        self._repeats = repeats
        self._contenders = {name: make(server.url) for name, make in CONTENDERS.items()}
        self._counted = {name: make(proxy.url) for name, make in CONTENDERS.items()}
        self._raw = Raw(server.url)
        self.table = Table()

    def close(self) -> None:
        """Close all connections."""
        for contender in reversed([*self._contenders.values(), *self._counted.values()]):
            contender.close()
        self._raw.close()
        self._client.close()

    def all(self, entries: list[int], callers: tuple[int, ...]) -> None:
        """Everything."""
        self._functions("function hit, 200 B", 200)
        self._functions("function hit, 100 kB", 100_000)
        self._in_turn()
        self._pages()
        self._misses()
        for count in entries:
            self._invalidations(count)
        self._memory()
        self._stampede(callers)

    def _functions(self, title: str, size: int) -> None:
        runs = {name: each.hits(size) for name, each in self._contenders.items()}
        runs["bare"] = self._raw.hits(size)
        costs = take_turns(runs, self._calls, self._repeats)
        trips = self._trips({name: each.hits(size) for name, each in self._counted.items()})
        self.table.costs(title, costs, trips)
        floor = costs["bare"]
        ratios = {name: cost.elapsed / floor.elapsed for name, cost in costs.items()}
        self.table.row("  ratio to a GET of redis-py", ratios, "{:.2f}")

    def _in_turn(self, values: int = 100) -> None:
        """More values than a process keeps decompressed; each is there, in the server."""
        runs = {name: each.hits(100_000, values) for name, each in self._contenders.items()}
        for run in runs.values():
            run(values)
        costs = take_turns(runs, self._calls, self._repeats)
        elapsed = {name: cost.elapsed for name, cost in costs.items()}
        self.table.row(f"  {values} such values in turn, µs", elapsed)

    def _pages(self) -> None:
        names = (Kit.name, Peer.name)
        runs = {name: requests_to(with_page(self._contenders[name])) for name in names}
        runs["bare"] = requests_to(bare_app())
        costs = take_turns(runs, self._calls, self._repeats)
        self.table.costs(
            "route hit, 4 kB",
            costs,
            self._trips({name: requests_to(with_page(self._counted[name])) for name in names}),
        )
        over = {name: costs[name].elapsed - costs["bare"].elapsed for name in names}
        self.table.row("  µs over bare Flask", over)

    def _misses(self) -> None:
        runs = {name: each.misses(200) for name, each in self._contenders.items()}
        costs = take_turns(runs, max(2, self._calls // 3), self._repeats)
        trips = self._trips({name: each.misses(200) for name, each in self._counted.items()})
        self.table.costs("miss and store, 200 B", costs, trips)

    def _invalidations(self, entries: int) -> None:
        """Each repeat stores all of them anew."""
        figures: dict[str, list[float]] = {}
        for repeat in range(1 if entries > 10_000 else 3):
            for name in (Kit.name, Asynchronous.name):
                self._client.flushall()
                contender, tag = self._contenders[name], f"tag{entries}{repeat}"
                contender.fill(entries, tag)
                contender.invalidate("warm")
                cost = _timed(partial(_invalidate, contender, tag), 1)
                figures.setdefault(name, []).append(cost.elapsed)
        medians = {name: statistics.median(each) for name, each in figures.items()}
        self.table.row(f"invalidation, {entries:,} values, µs", medians)

    def _memory(self, entries: int = 3_000) -> None:
        for size, count, title in ((200, entries, "200 B, B"), (100_000, 30, "100 kB, B")):
            figures = {}
            for name, contender in self._contenders.items():
                self._client.flushall()
                run = contender.misses(size)
                run(2)
                before = self._used()
                run(count)
                figures[name] = (self._used() - before) / count
            self.table.row(f"memory of a function's {title}", figures)
        figures = {}
        for name in (Kit.name, Asynchronous.name):
            self._client.flushall()
            self._contenders[name].fill(2, "warm")
            before = self._used()
            self._contenders[name].fill(entries, "tag")
            figures[name] = (self._used() - before) / entries
        self.table.row("  200 B by hand, with a tag, B", figures)

    def _used(self) -> int:
        """Of all keys, as the server says: its total contains its buffers, too."""
        pipeline = self._client.pipeline(transaction=False)
        for key in self._client.scan_iter(count=1000):
            pipeline.memory_usage(key, samples=0)
        return sum(filter(None, pipeline.execute()))

    def _stampede(self, callers: tuple[int, ...]) -> None:
        results = {name: stampede(name, self._server.url, callers) for name in CONTENDERS}
        computed = {name: float(result.computed) for name, result in results.items()}
        self.table.row(f"stampede of {sum(callers)}: computations", computed)
        worst = {name: result.worst * 1000 for name, result in results.items()}
        self.table.row("  slowest caller (0.2 s work), ms", worst)

    def _trips(self, runs: Mapping[str, Run]) -> dict[str, float]:
        """Of one call, after it was made before: scripts and connections are there."""
        calls = 10
        trips = {}
        for name, run in runs.items():
            run(2)
            with self._proxy.counting() as count:
                run(calls)
            trips[name] = count.trips / calls
        return trips


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few calls: shows that it runs")
    parser.add_argument("--large", action="store_true", help="1,000,000 values with one tag, too")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    entries = [10, 1000] if options.quick else [10, 10_000]
    if options.large:
        entries.append(1_000_000)
    engine = engines()[0]
    print(f"server: {engine.name}; less is better, - is what a contender can't do")
    with Server(engine) as server, Proxy(server.socket_path) as proxy:
        calls, repeats = (6, 2) if options.quick else (options.calls, options.repeats)
        benchmark = Benchmark(server, proxy, calls, repeats)
        try:
            benchmark.all(entries, (2, 2) if options.quick else CALLERS)
        finally:
            benchmark.close()
    print("notes:", *_NOTES, sep="\n  ")


_NOTES = (
    "Flask-Caching and dogpile.cache have no tags; dogpile.cache invalidates in one process only.",
    "The kit compresses above 2 kB, and a process keeps what it has decompressed lately (4 MB):",
    "what the server sends unchanged is decompressed once. Of values that it doesn't keep (100 in",
    "turn) that costs more on loopback than it saves; on a network of 1 Gbit/s it saves 0.7 ms.",
    "Memory: the kit keeps with each value what it is checked against (identity and moment of the",
    "log, 13 bytes, and the tags), its times, and a key of 160 bits in a namespace. Flask-Caching",
    "keeps none of that, and has keys of 96 bits. By hand, cashews' key is the one it was given.",
    "Invalidated values stay until their time ends or others evict them.",
    "A miss of the kit asks for the lease before it computes, in a trip of its own: that keeps 50",
    "callers in four processes from computing. The miss of cashews is one without its lock.",
    "Who waits in a stampede looks for the value every 20 ms, so that many who wait cost little.",
    "A page's hit has ETag, Age, Cache-Control and Cache-Status, and answers 304; Flask-Caching's",
    "has none of them, and is the same for every host and method.",
    "cashews is asynchronous: its figures contain one event loop, not the start of one per call.",
)


if __name__ == "__main__":
    main()
