"""Single flight: find a value, or become the one who computes it, or wait for the one who does.

While a value is stale the same holds, but nobody waits: all but one get the old value.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from flask_redis_kit.cache import entry, log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.flow import Flow, Pause
from flask_redis_kit.cache.gathering import SILENCE
from flask_redis_kit.cache.landing import Landings, Report, Turn
from flask_redis_kit.cache.lately import Decode
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.reading import Look, Reading
from flask_redis_kit.cache.running import is_computing
from flask_redis_kit.cache.shards import Place, Shards
from flask_redis_kit.cache.verdict import Call, Hit, Judge, Miss
from flask_redis_kit.core.failure import FAILURES

__all__ = ["Call", "Decode", "Flights", "Hit", "Miss", "Report", "Turn"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.02  # s; one caller of a process looks for all


class Flights(Landings):
    """The look-ups and computations of one application's cache. Thread-safe."""

    def __init__(
        self, config: CacheConfig, shards: Shards, notices: Notices, report: Report | None = None
    ) -> None:
        super().__init__(config, shards, notices, report)
        self._config = config
        self._shards = shards
        self._judge = Judge(shards, self.memory, notices, config.max_bytes)

    def reading(self, call: Call) -> Reading:
        """The READ of a call, to be sent ahead of its place."""
        return self.memory.of(call)

    def at_a_glance(self, call: Call, seen: Look, decode: Decode) -> Hit | None:
        """The hit, if what was found is fresh beyond doubt; None: ``obtain`` knows."""
        hit = self._judge.fresh(call, seen, decode)
        if hit is not None:
            self._tell(call, "hit")
        return hit

    def look(
        self, call: Call, decode: Decode, ahead: Callable[[], Look] | None = None
    ) -> Flow[Hit | Miss]:
        """Look once; ``ahead`` has the result of a READ sent earlier. Raises ``FAILURES``."""
        found: Look = (yield self.reading(call)) if ahead is None else ahead()
        return (yield from self._judge.judge(call, found, decode))

    def obtain(
        self,
        call: Call,
        decode: Decode,
        ahead: Callable[[], Look] | None = None,
        *,
        wait_seconds: float | None = None,
        refresh: bool = False,
    ) -> Flow[Hit | Turn]:
        """The value, or the turn to compute it. One round trip for a hit, two for a turn.

        While another one computes, waits for him, at most ``wait_seconds`` (as configured); a stale
        value is served meanwhile. ``refresh``: compute in any case; who is computing already won't
        store his. Never raises for a failing server: then everyone computes.
        """
        try:
            if refresh:
                return (yield from self._seize(call))
            found = yield from self.look(call, decode, ahead)
            if isinstance(found, Miss):
                self._tell(call, "miss")
                return (yield from self._compete(call, decode, found, wait_seconds))
            if found.fresh_ms > 0:
                self._tell(call, "hit")
                return found
            return (yield from self._renew(call, decode, found, wait_seconds))
        except FAILURES as error:
            self._notices.failure("reading", error)
            return Turn(call, self._shards.place(call.digest))

    def _seize(self, call: Call) -> Flow[Turn]:
        """The lease, whoever has it."""
        place = self._shards.place(call.digest)
        leasing, token = self._leasing(call, place, "seize")
        return replace((yield from self._turn(call, place, token, (yield leasing))), seized=True)

    def _renew(
        self, call: Call, decode: Decode, stale: Hit, wait_seconds: float | None
    ) -> Flow[Hit | Turn]:
        """The turn to renew a stale value; or, as somebody else does so, that value."""
        if self._busy.is_known(call.digest.text):
            return self._served_stale(call, stale)
        place = self._shards.place(call.digest)
        leasing, token = self._leasing(call, place, "ask")
        try:
            seen: Look = yield leasing
        except FAILURES as error:
            self._notices.failure("reading", error)
            return self._served_stale(call, stale)
        if not seen.leased:
            self._busy.learn(call.digest.text)
            return self._served_stale(call, stale)
        if not self._judge.is_fresh(call, seen):
            self._busy.learn(call.digest.text, self._lease_ms / 1000)
            self._tell(call, "renewal")
            return (yield from self._turn(call, place, token, seen, stale))
        yield entry.release(place, token)  # it was renewed between our two looks
        found = yield from self.look(call, decode)
        if isinstance(found, Miss):
            self._tell(call, "miss")
            return (yield from self._compete(call, decode, found, wait_seconds))
        self._tell(call, "hit" if found.fresh_ms > 0 else "stale")
        return found

    def _compete(
        self, call: Call, decode: Decode, miss: Miss, wait_seconds: float | None
    ) -> Flow[Hit | Turn]:
        wait = self._config.wait_seconds if wait_seconds is None else wait_seconds
        if self.passing.is_known(call.digest.text):
            wait = 0
        until = time.monotonic() + wait
        place = self._shards.place(call.digest)
        if is_computing(call.digest.text):  # it calls itself
            return Turn(call, place)
        if wait <= 0 or not self._gatherings.holds(call.digest.text):
            won = yield from self._lease(call, place, decode, miss)
            if won is not None:
                return won
        gathering, waiter = self._gatherings.join(call.digest.text)
        pause = _FIRST_PAUSE
        try:
            while (left := until - time.monotonic()) > 0:
                bell, seconds = gathering.bell, SILENCE
                leads = gathering.leads(waiter)
                announced = gathering.announced_to(waiter)
                if announced is not None:
                    found = yield from self._judge.judge(call, announced, decode)
                    if isinstance(found, Hit):
                        return found
                if leads:
                    bell, seconds = waiter.bell, pause * random.uniform(0.5, 1.5)  # noqa: S311  # mere jitter
                    pause = min(pause * 2, _LONGEST_PAUSE)
                yield Pause(min(left, seconds), bell)
                if self.passing.is_known(call.digest.text):
                    break
                if not leads:
                    continue
                began = time.monotonic()
                seen: Look = yield entry.poll(place, self.memory.asked(call))
                found = yield from self._judge.judge(call, seen, decode)
                if isinstance(found, Hit):
                    gathering.announce(began, seen)
                    return found
                if not seen.leased:
                    won = yield from self._lease(call, place, decode, found)
                    if won is not None:
                        return won
        finally:
            self._gatherings.leave(call.digest.text, gathering, waiter)
        return Turn(call, place)

    def _lease(
        self, call: Call, place: Place, decode: Decode, miss: Miss
    ) -> Flow[Hit | Turn | None]:
        """A turn if the lease is ours; a hit if the value came meanwhile; None: wait."""
        leasing, token = self._leasing(call, place, "make" if miss.epoch is None else "ask")
        seen: Look = yield leasing
        if self._judge.is_fresh(call, seen, miss.unreadable):
            # stored between our two looks: no need to compute
            if seen.leased:
                yield entry.release(place, token)
            found = yield from self.look(call, decode)
            return found if isinstance(found, Hit) else None
        if not seen.leased:
            return None
        return (yield from self._turn(call, place, token, seen))

    def _leasing(self, call: Call, place: Place, how: entry.How) -> tuple[Reading, str]:
        token = secrets.token_hex(8)
        return entry.lease(place, self.memory.asked(call), token, self._lease_ms, how), token

    def _turn(
        self, call: Call, place: Place, token: str, seen: Look, stale: Hit | None = None
    ) -> Flow[Turn]:
        since = time.monotonic()
        epoch = seen.epoch
        if epoch is None:  # the log was lost between our two looks
            epoch = yield log.init(place.log)
        return Turn(call, place, epoch, token, since, self._shards.server_of(place), stale)
