"""The threads that run jobs, and how they wake the thread that talks to the server."""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Waker:
    """A pipe that makes ``poll`` return. ``set`` may be called by threads and signal handlers."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)
        self._is_set = False
        weakref.finalize(self, _close, self._reader, self.writer)

    def set(self) -> None:
        """Wake."""
        if not self._is_set:
            self._is_set = True
            with contextlib.suppress(BlockingIOError):  # full, so it wakes anyway
                os.write(self.writer, b"\0")

    def clear(self) -> None:
        """Forget; whoever sets it after this wakes again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 64)
        self._is_set = False

    def fileno(self) -> int:
        """What to poll."""
        return self._reader


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class JobThreads(Generic[J, R]):
    """Runs ``run(job)`` in daemon threads; results are collected by ``done()``."""

    def __init__(self, count: int, run: Callable[[J], R], waker: Waker) -> None:
        self._run = run
        self._waker = waker
        self._jobs: queue.SimpleQueue[J | None] = queue.SimpleQueue()
        self._done: deque[tuple[J, R]] = deque()
        self._threads = [
            threading.Thread(target=self._work, name=f"redis-kit-job-{n}", daemon=True)
            for n in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, job: J) -> None:
        """Run this job as soon as a thread is free."""
        self._jobs.put(job)

    def withdraw(self) -> list[J]:
        """Take back the jobs that no thread has begun."""
        jobs: list[J] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
            if job is not None:
                jobs.append(job)

    def done(self) -> Iterator[tuple[J, R]]:
        """What was finished since the last call."""
        while self._done:
            yield self._done.popleft()

    def stop(self) -> None:
        """Let the threads end when they have nothing to do."""
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, timeout: float) -> None:
        """Wait for idle threads to end."""
        for thread in self._threads:
            thread.join(timeout)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # a context of its own, so that nothing a job sets is seen by the next one
            result = contextvars.Context().run(self._run, job)
            self._done.append((job, result))
            self._waker.set()
            del job, result
