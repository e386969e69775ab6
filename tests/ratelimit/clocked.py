"""The kit's scripts on a clock that the test sets.

One line of each script is replaced: where it asks the server's TIME it reads a key of the test's.
All else, to the last byte, is what applications run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from flask_redis_kit.core.script import Script
from flask_redis_kit.ratelimit import scripts

SECONDS, MICROS = "{log}:seconds", "{log}:micros"


class ClockedScript(Script):
    """A script of the kit that reads the test's clock."""

    def __init__(self, script: Script) -> None:
        super().__init__(script.package, script.filename)
        source = script.source
        for asks in (b"redis.call('TIME')", b"call('TIME')"):
            if asks in source:
                assert source.count(b"'TIME'") == 1
                known = f"redis.call('MGET', '{SECONDS}', '{MICROS}')".encode()
                self.__dict__["source"] = source.replace(asks, known)
                return


class Clock:
    """What the scripts take for the server's time, in microseconds."""

    def __init__(self, client: redis.Redis, now: int) -> None:
        self._client = client
        self.now = now
        self.set(now)

    def set(self, now: int) -> None:
        """Set it, forward or back."""
        self.now = now
        seconds, micros = divmod(now, 1_000_000)
        self._client.mset({SECONDS: seconds, MICROS: micros})


@contextmanager
def clocked_scripts() -> Iterator[None]:
    """Within the block every script reads the test's clock."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ACQUIRE", "RENEW"):
            patch.setattr(scripts, name, ClockedScript(getattr(scripts, name)))
        yield
