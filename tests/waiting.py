"""Waiting for something to become true, instead of sleeping for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_LOOK = 1.0
"""Seconds: what one look counts for at most, so that a machine that stands still costs no test."""


def wait_until(
    predicate: Callable[[], object], timeout: float = 30.0, what: str = "the condition"
) -> None:
    """Return as soon as ``predicate()`` is true; fail the test after ``timeout`` seconds."""
    left, pause = timeout, 0.001
    looked = time.monotonic()
    while not predicate():
        if left <= 0:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
        before, looked = looked, time.monotonic()
        left -= min(looked - before, LONGEST_LOOK)
