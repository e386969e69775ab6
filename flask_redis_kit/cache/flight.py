"""Single flight: find a value, or become the one who computes it, or wait for the one who does."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flask_redis_kit.cache import entry, log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.entry import Committed, Look
from flask_redis_kit.cache.envelope import Envelope, Epoch, pack_header, unpack
from flask_redis_kit.cache.flow import Flow, Pause
from flask_redis_kit.cache.freshness import Lifetime
from flask_redis_kit.cache.identity import Digest
from flask_redis_kit.cache.memory import TagMemory
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.payload import Payload, unpacked
from flask_redis_kit.cache.shards import Place, Shards
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES

Decode = Callable[[memoryview], Any]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


class Call(NamedTuple):
    """What a value stands for: its digest, and all tags it hangs on (as members of the log)."""

    digest: Digest
    tags: tuple[bytes, ...]


class Hit(NamedTuple):
    """A value that was valid during the look-up. Times are ms.

    ``fresh_ms``  how long it is fresh yet; 0 or less: it is stale, and may be served all the same.
    ``age_ms``    how long ago it was stored.
    ``grace_ms``  what is left of the time in which it may be served stale.
    ``flags``     those of its payload: ``RAISED`` if it is what the call raised.
    """

    value: Any
    fresh_ms: int
    age_ms: int
    grace_ms: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Miss:
    """No valid value; ``epoch`` is the log's state of that moment, None if there is no log.

    ``unreadable`` is the header of a value that is valid but can't be decoded.
    """

    epoch: Epoch | None
    unreadable: bytes | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The right, or the need, to compute. Without a token nothing is stored afterwards."""

    call: Call
    place: Place
    epoch: Epoch | None = None
    token: str | None = None
    since: float = 0.0  # on the monotonic clock: when the lease was surely ours
    stale: Hit | None = None
    """The old value, to be served if the computation raises."""

    @property
    def seconds(self) -> float:
        """How long it has been computing."""
        return time.monotonic() - self.since


class Flights:
    """The look-ups and computations of one application's cache."""

    def __init__(self, config: CacheConfig, shards: Shards, notices: Notices) -> None:
        self._config = config
        self._shards = shards
        self._notices = notices
        self._lease_ms = max(1, round(config.lease_seconds * 1000))
        self.memory = TagMemory()

    def reading(self, call: Call) -> Exchange[Look]:
        """The READ of a call, to be sent ahead of its place."""
        return entry.read(self._shards.place(call.digest), self.memory.asked(call))

    def look(
        self, call: Call, decode: Decode, ahead: Callable[[], Look] | None = None
    ) -> Flow[Hit | Miss]:
        """Look once; ``ahead`` has the result of a READ sent earlier. Raises ``FAILURES``."""
        found = (yield self.reading(call)) if ahead is None else ahead()
        return (yield from self._judge(call, found, decode))

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

        While another one computes, waits for him, at most ``wait_seconds``. Never raises for a
        failing server: then everyone computes.
        """
        try:
            found = yield from self.look(call, decode, ahead)
            if isinstance(found, Hit):
                return found
            return (yield from self._compete(call, decode, found))
        except FAILURES as error:
            self._notices.failure("reading", error)
            return Turn(call, self._shards.place(call.digest))

    def _compete(self, call: Call, decode: Decode, miss: Miss) -> Flow[Hit | Turn]:
        place = self._shards.place(call.digest)
        until = time.monotonic() + self._config.wait_seconds
        pause = _FIRST_PAUSE
        free = True
        while True:
            if free:
                won = yield from self._lease(call, place, decode, miss)
                if won is not None:
                    return won
            left = until - time.monotonic()
            if left <= 0:
                return Turn(call, place)
            yield Pause(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311  # mere jitter
            pause = min(pause * 2, _LONGEST_PAUSE)
            seen: Look = yield entry.poll(place, self.memory.asked(call))
            found = yield from self._judge(call, seen, decode)
            if isinstance(found, Hit):
                return found
            miss, free = found, not seen.leased

    def _lease(
        self, call: Call, place: Place, decode: Decode, miss: Miss
    ) -> Flow[Hit | Turn | None]:
        """A turn if the lease is ours; a hit if the value came meanwhile; None: wait."""
        token = secrets.token_hex(8)
        asked = self.memory.asked(call)
        make_log = miss.epoch is None
        seen: Look = yield entry.lease(place, asked, token, self._lease_ms, make_log=make_log)
        since = time.monotonic()
        if self._seems_valid(call, seen, miss.unreadable):
            # stored between our two looks: no need to compute
            if seen.leased:
                yield entry.release(place, token)
            found = yield from self.look(call, decode)
            return found if isinstance(found, Hit) else None
        if not seen.leased:
            return None
        return Turn(call, place, seen.epoch, token, since)

    def _seems_valid(self, call: Call, seen: Look, unreadable: bytes | None) -> bool:
        """Whether there is a valid value now, by its header; not the one we could not read."""
        if not seen.stored or seen.ttl_ms <= 0 or seen.epoch is None:
            return False
        if unreadable is not None and seen.stored.startswith(unreadable):
            return False
        try:
            envelope = unpack(seen.stored)
        except ValueError:
            return False
        known = seen.scores.keys()
        return set(call.tags) <= set(envelope.tags) <= known and envelope.valid(
            seen.epoch, seen.scores
        )

    def _judge(self, call: Call, seen: Look, decode: Decode) -> Flow[Hit | Miss]:
        """Is what was found valid, complete and readable?"""
        miss = Miss(seen.epoch)
        if seen.stored is None or seen.epoch is None:
            return miss
        try:
            envelope = unpack(seen.stored)
        except ValueError as error:
            self._unreadable(call, error)
            return miss
        as_asked = envelope.tags == call.tags
        if seen.ttl_ms <= 0 or not (as_asked or set(call.tags) <= set(envelope.tags)):
            return miss  # expired just now; or stored when the call had fewer tags
        epoch, scores = seen.epoch, seen.scores
        if not (as_asked or set(envelope.tags) <= scores.keys()):
            self.memory.learn(call, envelope.tags)
            later: tuple[Epoch | None, log.Scores]
            later = yield log.scores(self._shards.place(call.digest).log, envelope.tags)
            if later[0] is None:
                return Miss(None)
            epoch, scores = later[0], later[1]
        if not envelope.valid(epoch, scores):
            return miss
        hit = self._decoded(call, seen, envelope, decode)
        return hit or Miss(epoch, seen.stored[: envelope.start])

    def _decoded(self, call: Call, seen: Look, envelope: Envelope, decode: Decode) -> Hit | None:
        assert seen.stored is not None  # noqa: S101  # _judge has seen to it
        try:
            data = memoryview(seen.stored)[envelope.start :]
            value = decode(unpacked(data, envelope.flags, self._config.max_bytes))
        except CodecError as error:
            self._unreadable(call, error)
            return None
        grace_ms = int(envelope.total_ms - envelope.fresh_ms)
        return Hit(
            value,
            seen.ttl_ms - grace_ms,
            max(0, int(envelope.total_ms) - seen.ttl_ms),
            min(grace_ms, seen.ttl_ms),
            envelope.flags,
        )

    def _unreadable(self, call: Call, error: Exception) -> None:
        self._notices.once(
            "unreadable",
            "A stored value (%s) can't be read and counts as absent: %s. "
            "Others like it are not reported.",
            call.digest.text,
            error,
        )

    def storing(
        self, turn: Turn, payload: Payload, lifetime: Lifetime, extra_tags: Sequence[bytes] = ()
    ) -> Exchange[Committed] | None:
        """The STORE that ends this turn; None if nothing may be stored.

        ``extra_tags`` are members of the log that were added during the computation.
        """
        if turn.token is None or turn.epoch is None:
            return None
        tags = tuple(dict.fromkeys((*turn.call.tags, *extra_tags)))
        self.memory.learn(turn.call, tags)
        delta_ms = int(turn.seconds * 1000)
        header = pack_header(turn.epoch, lifetime, delta_ms, tags, payload.flags)
        return entry.commit(
            turn.place,
            turn.token,
            header,
            payload.data,
            lifetime.total_ms,
            # by the client's clock, started after the server's: it has surely expired there
            allow_absent=turn.seconds * 1000 > self._lease_ms,
        )

    def releasing(self, turn: Turn) -> Exchange[bool] | None:
        """What ends this turn without a value; None if there is no lease to end."""
        return None if turn.token is None else entry.release(turn.place, turn.token)

    def close(
        self,
        turn: Turn,
        payload: Payload | None,
        lifetime: Lifetime,
        extra_tags: Sequence[bytes] = (),
    ) -> Flow[None]:
        """Store the payload, or (None) only end the lease. Never raises for a failing server."""
        ending: Exchange[Any] | None
        if payload is None:
            ending = self.releasing(turn)
        else:
            ending = self.storing(turn, payload, lifetime, extra_tags)
        if ending is None:
            return
        try:
            yield ending
        except FAILURES as error:
            self._notices.failure("storing", error)
