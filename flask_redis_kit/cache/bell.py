"""Waking who waits in this process: threads and asyncio's tasks alike."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Bell:
    """Rings once; who waits for it goes on, and who comes later doesn't wait."""

    __slots__ = ("_event", "_lock", "_tasks")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def rang(self) -> bool:
        """Whether it has rung."""
        return self._event.is_set()

    def ring(self) -> None:
        """Wake everybody. Never blocks."""
        with self._lock:
            self._event.set()
            tasks, self._tasks = self._tasks, []
        for loop, event in tasks:
            with contextlib.suppress(RuntimeError):  # its loop was closed: nobody waits there
                loop.call_soon_threadsafe(event.set)

    def wait(self, seconds: float) -> None:
        """Wait in blocking code, at most so long."""
        self._event.wait(seconds)

    async def wait_async(self, seconds: float) -> None:
        """Wait in a task, at most so long."""
        entry = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self._event.is_set():
                return
            self._tasks.append(entry)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry[1].wait(), seconds)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._tasks.remove(entry)
