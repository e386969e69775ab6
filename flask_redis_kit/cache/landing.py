"""How a computation ends: its value stored, or its lease given back, or the old value served."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.exceptions import ResponseError

from flask_redis_kit.cache import entry
from flask_redis_kit.cache.busy import Busy
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.entry import Committed
from flask_redis_kit.cache.envelope import Epoch, pack_header
from flask_redis_kit.cache.flow import Flow
from flask_redis_kit.cache.gathering import Gatherings
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.payload import Payload
from flask_redis_kit.cache.reading import Readings
from flask_redis_kit.cache.shards import Place, Shards
from flask_redis_kit.cache.signals import Outcome, Reason
from flask_redis_kit.cache.ttl import Lifetime
from flask_redis_kit.cache.verdict import Call, Hit
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES

Report: TypeAlias = Callable[..., None]
"""``signals.report`` for one application."""
_PASSING = 10.0
"""Seconds for which nobody waits for a value whose latest result was not to be stored."""
_REASONS: dict[Committed, Reason] = {
    Committed.INVALIDATED: "invalidated",
    Committed.OTHER_LOG: "invalidated",
    Committed.LEASE_LOST: "lease-lost",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """The right, or the need, to compute. Without a token nothing is stored afterwards."""

    call: Call
    place: Place
    epoch: Epoch | None = None
    token: str | None = None
    since: float = 0.0  # on the monotonic clock: when the lease was surely ours
    server: object = None
    """The server that gave the lease, where it may be replaced by another one."""
    stale: Hit | None = None
    """The old value, to be served if the computation raises."""
    seized: bool = False
    """Whether the lease was taken whoever had it, to replace even a fresh value."""

    @property
    def seconds(self) -> float:
        """How long it has been computing."""
        return time.monotonic() - self.since


class Landings:
    """The ends of one application's computations. Thread-safe."""

    def __init__(
        self, config: CacheConfig, shards: Shards, notices: Notices, report: Report | None
    ) -> None:
        self._notices = notices
        self._report = report
        self._lease_ms = max(1, round(config.lease_seconds * 1000))
        self._retry_ms = min(self._lease_ms, round(config.retry_seconds * 1000))
        self._gatherings = Gatherings()
        self._busy = Busy()
        self._server_of = shards.server_of
        self.passing = Busy()
        """Values whose latest results were not to be stored: to wait for them is in vain."""
        self.memory = Readings(shards)

    def rescue(self, turn: Turn) -> Hit | None:
        """The old value, for a computation that has raised; None if there is none to serve."""
        return turn.stale and self._served_stale(turn.call, turn.stale)

    def _served_stale(self, call: Call, stale: Hit) -> Hit:
        self._tell(call, "stale")
        return stale

    def storing(
        self, turn: Turn, payload: Payload, lifetime: Lifetime, extra_tags: Sequence[bytes] = ()
    ) -> Exchange[Committed] | None:
        """The STORE that ends this turn; None if nothing may be stored.

        ``extra_tags`` are members of the log that were added during the computation.
        """
        if turn.token is None or turn.epoch is None:
            return None
        call = turn.call
        tags = tuple(dict.fromkeys((*call.tags, *extra_tags)))
        if tags != call.tags:
            self.memory.learn(call, tags)

        def done(committed: Committed) -> None:
            self.passing.forget(call.digest.text)
            self._busy.forget(call.digest.text)
            self._gatherings.nudge(call.digest.text)
            if committed is not Committed.STORED:
                self._tell(call, "refused", _REASONS.get(committed))
            elif self._report is not None and call.subject:
                size = len(payload.data)
                self._report(call.subject, "stored", None, size=size, milliseconds=delta_ms)

        delta_ms = int(turn.seconds * 1000)
        return entry.commit(
            turn.place,
            turn.token,
            pack_header(turn.epoch, lifetime, delta_ms, tags, payload.flags),
            payload.data,
            lifetime.total_ms,
            lease=self._needed(turn),
            done=done,
        )

    def _needed(self, turn: Turn) -> entry.Needed:
        # by the client's clock, started after the server's: it has surely expired there
        if turn.seconds * 1000 <= self._lease_ms:
            return "held"
        # a server that has taken over may lack what was written before the epoch was read: if so,
        # its clock was set back, and only a lease that has survived proves that it was not
        if self._server_of(turn.place) != turn.server:
            return "held"
        return "absent" if turn.seized else "unless"

    def releasing(self, turn: Turn, *, refused: bool = False) -> Exchange[bool] | None:
        """What ends this turn without a value; None if there is no lease to end.

        ``refused``: there was one, which is not to be stored: then nobody waits for the next one.
        As long as there is an old value to serve, nobody tries again for ``retry_seconds``.
        """
        if turn.token is None:
            return None
        name = turn.call.digest.text
        keep_ms = 0 if turn.stale is None else self._retry_ms

        def done(held: bool) -> None:
            self._busy.forget(name)
            if refused:
                self.passing.learn(name, _PASSING)
            if held and keep_ms:
                self._busy.learn(name, keep_ms / 1000)
            self._gatherings.nudge(name)

        return entry.release(turn.place, turn.token, keep_ms, done)

    def close(
        self,
        turn: Turn,
        payload: Payload | None,
        lifetime: Lifetime,
        extra_tags: Sequence[bytes] = (),
        *,
        refused: bool = False,
    ) -> Flow[None]:
        """Store the payload, or (None) only end the lease. Never raises for a failing server.

        ``refused``: there is a value, but it is not to be stored.
        """
        ending: Exchange[Any] | None
        if payload is None:
            ending = self.releasing(turn, refused=refused)
        else:
            ending = self.storing(turn, payload, lifetime, extra_tags)
        if ending is None:
            return
        try:
            yield ending
        except FAILURES as error:
            if payload is not None:
                self._tell(turn.call, "refused", "failure")
                salvaging = self.salvaging(turn, error)
                if salvaging is not None:
                    with contextlib.suppress(*FAILURES):
                        yield salvaging
            self._notices.failure("storing", error)

    def salvaging(self, turn: Turn, error: Exception) -> Exchange[bool] | None:
        """What to send after a STORE that failed, so that nobody waits for its lease.

        None if the server didn't answer: then another trip would be as vain. One that did (a slot
        half way to another node answers TRYAGAIN to what has several keys) can end the lease.
        """
        answered = isinstance(error, ResponseError) or isinstance(error.__cause__, ResponseError)
        return self.releasing(turn) if answered else None

    def refuse(self, turn: Turn, reason: Reason) -> None:
        """Report that the value of this turn is not stored."""
        self._tell(turn.call, "refused", reason)

    def _tell(self, call: Call, outcome: Outcome, reason: Reason | None = None) -> None:
        if self._report is not None and call.subject:
            self._report(call.subject, outcome, reason)
