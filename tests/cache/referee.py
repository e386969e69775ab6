"""Runs races: twelve readers in three processes and two writers in a fourth.

The processes are forked from one that has everything imported and no thread, so a race costs
little more than what it does.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType

from tests.cache.contenders import CONTENDERS
from tests.cache.mutations import mutate
from tests.cache.race import WRITERS, Figures, Racer, Settings, Truth
from tests.waiting import wait_until

_PROCESSES, _THREADS = 3, 4
_TIMEOUT = 120.0
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["tests.cache.referee"])

Meddle = Callable[[Truth], object]
"""Does one piece of harm; called again and again while the race goes on."""


def race(
    url: str,
    *,
    contender: str = "ours",
    ways: tuple[str, ...] = ("function",),
    invalidators: tuple[str, ...] = ("tags",),
    meddle: Meddle | None = None,
    every: float = 0.03,
    reads: int = 3000,
    writes: int = 100,
    slowest: float = 0.004,
    pause: float = 0.006,
    config: Mapping[str, object] = MappingProxyType({}),
    mutations: tuple[str, ...] = (),
) -> Figures:
    """Race until there were so many reads and acknowledged invalidations; the figures of all.

    ``meddle`` is called about ``every`` so many seconds. ``RACE`` in the environment multiplies the
    length; ``RACE_SEED`` repeats the draws of ways, items and pauses.
    """
    length = float(os.environ.get("RACE", "1"))
    seed = int(os.environ.get("RACE_SEED", random.randrange(2**32)))
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="frk-race-"))
        path = str(Path(directory) / "truth")
        truth = Truth(path)
        stack.callback(truth.close)
        writers = Settings(
            url=url,
            truth=path,
            contender=contender,
            role="writer",
            first=0,
            threads=WRITERS,
            seed=seed,
            ways=ways,
            invalidators=invalidators,
            slowest=slowest,
            pause=pause,
            config=dict(config),
            mutations=mutations,
        )
        readers = [
            replace(writers, role="reader", first=WRITERS + n * _THREADS, threads=_THREADS)
            for n in range(_PROCESSES)
        ]
        field = [_Entrant(settings) for settings in (writers, *readers)]
        for entrant in field:
            stack.callback(entrant.stop)
        for entrant in field:
            entrant.wait_until_ready()
        truth.start()
        _watch(truth, field, meddle, every, round(reads * length), round(writes * length))
        truth.end()
        total = Figures()
        for entrant in field:
            total.add(entrant.figures())
    print(f"{contender} {ways} {invalidators} {dict(config)} {mutations} seed {seed}: {total}")
    return total


def _watch(
    truth: Truth,
    field: list[_Entrant],
    meddle: Meddle | None,
    every: float,
    reads: int,
    writes: int,
) -> None:
    until = time.monotonic() + _TIMEOUT
    while True:
        time.sleep(random.uniform(0, 2 * every) if meddle else 0.01)
        if any(not entrant.running for entrant in field) or time.monotonic() > until:
            return
        if meddle is not None:
            meddle(truth)
        done = truth.counted(WRITERS, _PROCESSES * _THREADS)
        if done >= reads and truth.counted(0, WRITERS) >= writes:
            return


class _Entrant:
    """One process of the race."""

    def __init__(self, settings: Settings) -> None:
        self._results, theirs = _forking.Pipe()
        self._process = _forking.Process(target=_run, args=(settings, theirs), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def wait_until_ready(self) -> None:
        assert self._results.poll(_TIMEOUT), "a process of the race didn't start"
        assert self._results.recv() == "ready"

    def figures(self) -> Figures:
        assert self._results.poll(_TIMEOUT), "a process of the race didn't end"
        figures: Figures = self._results.recv()
        self._process.join(_TIMEOUT)
        return figures

    def stop(self) -> None:
        if self.running:
            self._process.kill()
        self._process.join()
        wait_until(lambda: not self.running)
        self._results.close()
        self._process.close()


def _run(settings: Settings, results: Connection) -> None:
    mutate(settings.mutations)
    racer = Racer(settings, CONTENDERS[settings.contender])
    results.send("ready")
    results.send(racer.run())
