"""Interrupts threads in the middle of exchanges; prints how many replies were read, how many wrong.

Each batch asks for two keys, which lie on two nodes of a Cluster.

Run as a program with the server's URL: interrupts hit the harness of a test runner as well.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
import threading
import time

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.wire import Wire
from tests.core.connecting import get, put, wire_to


class Interrupt(Exception):
    """Raised in a thread by another one."""


class Worker(threading.Thread):
    """Writes and reads keys of its own and compares."""

    def __init__(self, wire: Wire, name: str) -> None:
        super().__init__(daemon=True, name=name)
        self.wire = wire
        self.read = 0
        self.wrong = 0

    def run(self) -> None:
        while True:
            try:
                self._rounds()
            except (Interrupt, ServerUnavailable):
                continue

    def _rounds(self) -> None:
        while True:
            keys = [f"{self.name}:{self.read % 50}:{half}" for half in "ab"]
            for outcome in self.wire.send_many([put(key, key) for key in keys]):
                outcome.result()
            outcomes = self.wire.send_many([get(key) for key in keys])
            self.read += 1
            self.wrong += [o.result() for o in outcomes] != [key.encode() for key in keys]


def main(url: str, interrupts: int) -> None:
    """Interrupt four threads ``interrupts`` times at random moments."""
    sys.setswitchinterval(1e-5)
    with wire_to(url, max_connections=500, socket_timeout=5.0) as wire:
        wire.send(put("warm", "x"))  # imports happen now, where nothing interrupts them
        workers = [Worker(wire, f"w{n}") for n in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(interrupts):
            victim = random.choice(workers)
            if victim.ident is not None:
                identity = ctypes.c_ulong(victim.ident)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Interrupt))
            time.sleep(random.random() * 0.002)  # moments to interrupt at, not synchronisation
        print(sum(w.read for w in workers), sum(w.wrong for w in workers), flush=True)
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
