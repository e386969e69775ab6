"""Failovers that no second Sentinel disputed: only those say anything about what is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tests.harness.sentinels import SentinelGroup

T = TypeVar("T")
TRIALS = 5


def undisputed(group: SentinelGroup, trial: Callable[[], T]) -> T:
    """What came of a trial in which one failover was tried; it begins with empty servers.

    On a machine so busy that Sentinels miss each other's votes two of them may promote a server
    each. What was written to the first is lost then, whoever wrote it, so the trial is made again.
    """
    for _ in range(TRIALS):
        before = group.failovers_tried
        result = trial()
        tried = group.failovers_tried - before
        if tried == 1:
            return result
        print(f"{tried} failovers were tried: {result}")
        group.wait_until_stable()
        group.flush()
    raise AssertionError(f"in {TRIALS} trials there was no failover without a rival")
