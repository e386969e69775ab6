"""A stampede: 50 callers in four processes want one value that takes 0.2 s to compute.

python -m benchmarks.stampede <contender> <url> <callers> <processes>      one of the processes
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import redis

from benchmarks.caches import COMPUTATION, CONTENDERS, Asynchronous

CALLERS = (13, 13, 12, 12)
_ROOT = Path(__file__).parents[1]


class Stampede(NamedTuple):
    """How often was computed, and how many seconds the slowest call took."""

    computed: int
    worst: float


def stampede(name: str, url: str, each: tuple[int, ...] = CALLERS) -> Stampede:
    """Let one contender go through it; ``each`` process has so many callers."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.stampede", name, url, str(n), str(len(each))],
                stdout=subprocess.PIPE,
                text=True,
                cwd=_ROOT,
            )
            for n in each
        ]
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert not any(process.returncode for process in processes)
        worst = max(max(json.loads(output)) for output in outputs)
        return Stampede(int(client.get("computed") or 0), worst)


def main(name: str, url: str, callers: int, processes: int) -> None:
    """Wait for the other processes, then call."""
    client = redis.Redis.from_url(url)

    def compute() -> str:
        client.incr("computed")
        if name != Asynchronous.name:  # which waits by itself
            time.sleep(COMPUTATION)
        return "value"

    contender = CONTENDERS[name](url)
    contender.hits(200)(1)  # connected
    client.incr("ready")
    while int(client.get("ready") or 0) < processes:
        time.sleep(0.001)
    print(json.dumps(contender.stampede(callers, compute)))
    contender.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
