"""Run as a program: connects, forks, and writes in parent and child through a failover.

Arguments: the URL, and how many seconds to write. Prints "parent", "child" and what each got:
acknowledged writes, errors, and the threads that watch Sentinel; "ready" when both write.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.watcher import THREAD_NAME
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import add, wire_to


def watchers() -> int:
    """How many threads watch Sentinel in this process."""
    return sum(thread.name == THREAD_NAME for thread in threading.enumerate())


def write(wire: Wire, who: str, seconds: float) -> None:
    """Count up one key until the time is over."""
    acknowledged = errors = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            acknowledged = wire.send(add(f"forked:{who}"))
        except FAILURES:
            errors += 1
        time.sleep(0.005)
    print(who, acknowledged, errors, watchers(), flush=True)


def main(url: str, seconds: float) -> None:
    """Fork in the middle of it."""
    with wire_to(url) as wire:
        wire.send(add("forked:before"))
        assert watchers() == 4
        pid = os.fork()
        if pid == 0:
            assert watchers() == 0  # until it connects
            wire.send(add("forked:before"))
            write(wire, "child", seconds)
            sys.stdout.flush()
            os._exit(0)
        print("ready", flush=True)
        write(wire, "parent", seconds)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
