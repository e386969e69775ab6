"""What a look means: whether the value that was found is valid, fresh and readable.

Algorithm: design/cache.md 4.2 (G). No clock of this process takes part: how long a value is fresh
yet follows from the time the server gives it, whether it was invalidated from the log's own clock.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask_redis_kit.cache import log
from flask_redis_kit.cache.envelope import FIXED, KIND, MAGIC, Envelope, Epoch, unpack
from flask_redis_kit.cache.flow import Flow
from flask_redis_kit.cache.identity import Digest
from flask_redis_kit.cache.lately import Decode, Lately
from flask_redis_kit.cache.notices import Notices
from flask_redis_kit.cache.payload import KNOWN
from flask_redis_kit.cache.reading import Look, Readings, asked_for
from flask_redis_kit.cache.shards import Shards
from flask_redis_kit.cache.tags import own_tag
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Reply


class Call(NamedTuple):
    """What a value stands for: its digest, and all tags it hangs on (as members of the log).

    ``subject`` is what its outcomes are counted under; nothing is counted without.
    """

    digest: Digest
    tags: tuple[bytes, ...]
    subject: str = ""


class Hit(NamedTuple):
    """A value that was valid during the look-up. Times are ms.

    ``fresh_ms``  how long it is fresh yet; 0 or less: it is stale, and may be served all the same.
    ``age_ms``    how long ago it was stored.
    ``grace_ms``  for how much longer it may be served stale, from now or when it isn't fresh.
    ``flags``     those of its payload: ``RAISED`` if it is what the call raised.
    ``tags``      all it hangs on, those added during its computation, too.
    ``old``       whether it was invalidated softly: what is made of it is old as well.
    """

    value: Any
    fresh_ms: int
    age_ms: int
    grace_ms: int = 0
    flags: int = 0
    tags: tuple[bytes, ...] = ()
    old: bool = False


class Miss(NamedTuple):
    """No valid value; ``epoch`` is the log's state of that moment, None if there is no log.

    ``unreadable`` is the header of a value that is valid but can't be decoded.
    """

    epoch: Epoch | None
    unreadable: bytes | None = None


class Judge:
    """Judges the looks of one application."""

    def __init__(
        self, shards: Shards, readings: Readings, notices: Notices, max_bytes: int
    ) -> None:
        self._shards = shards
        self._readings = readings
        self._notices = notices
        self._lately = Lately(max_bytes)

    def fresh(self, call: Call, seen: Look, decode: Decode) -> Hit | None:
        """The hit, if all is as most often: fresh, readable, with the tags that were asked for.

        None says nothing yet: ``judge`` knows.
        """
        stored, asked, scores = seen.stored, seen.asked, seen.log
        if asked.members is not asked.tags:
            return None
        try:
            magic, kind, fresh, grace, _, n2, n1, n0, s1, s0 = FIXED.unpack_from(stored)  # type: ignore[arg-type]  # None raises, too
        except (struct.error, TypeError):
            return None
        flags = kind ^ KIND
        if (
            magic != MAGIC
            or flags & ~KNOWN  # another version, or times that aren't ms
            or not stored.startswith(asked.packed, FIXED.size)  # type: ignore[union-attr]
        ):
            return None
        ttl_ms = seen.ttl_ms
        if ttl_ms <= grace:
            return None
        if not _is_current(n2 << 40 | n1 << 32 | n0, s1 << 32 | s0, scores):
            return None
        start = FIXED.size + len(asked.packed)
        try:
            value = self._lately.value(call.digest.text, stored, start, flags, decode)  # type: ignore[arg-type]
        except CodecError:
            return None
        age_ms = max(0, fresh + grace - ttl_ms)
        return Hit(value, ttl_ms - grace, age_ms, grace, flags, asked.tags)

    def judge(self, call: Call, seen: Look, decode: Decode) -> Flow[Hit | Miss]:
        """The hit, fresh or stale, or the miss. One more trip if not all tags were asked for."""
        hit = self.fresh(call, seen, decode)
        if hit is not None:
            return hit
        epoch = seen.epoch
        if seen.stored is None or epoch is None:
            return Miss(epoch)
        try:
            envelope = unpack(seen.stored, own_tag(call.digest.text))
        except ValueError as error:
            self._unreadable(call, error)
            return Miss(epoch)
        if seen.ttl_ms <= 0 or not set(call.tags) <= set(envelope.tags):
            return Miss(epoch)  # expired just now; or stored when the call had fewer tags
        scores = seen.scores
        while not _known(envelope, epoch, scores):
            softly = epoch.soft > envelope.seq
            self._readings.learn(call, envelope.tags, softly=softly)
            asked = asked_for(envelope.tags, softly=softly)
            later = yield log.scores(self._shards.place(call.digest).log, asked.members)
            epoch, scores = later
            if epoch is None:
                return Miss(None)
        if len(seen.asked.members) > len(seen.asked.tags) and epoch.soft <= envelope.seq:
            self._readings.learn(call, envelope.tags)  # nothing is soft about it any more
        if not envelope.valid(epoch, scores):
            return Miss(epoch)
        return self._decoded(call, seen, envelope, epoch, scores, decode)

    def is_fresh(self, call: Call, seen: Look, unreadable: bytes | None = None) -> bool:
        """Whether there is a fresh value, by the start of its envelope; not ``unreadable``."""
        epoch = seen.epoch
        if not seen.stored or epoch is None:
            return False
        if unreadable is not None and seen.stored.startswith(unreadable):
            return False
        try:
            envelope = unpack(seen.stored, own_tag(call.digest.text))
        except ValueError:
            return False
        scores = seen.scores
        return (
            seen.ttl_ms > envelope.grace_ms
            and set(call.tags) <= set(envelope.tags)
            and _known(envelope, epoch, scores)
            and envelope.valid(epoch, scores)
            and not _is_soft(envelope, epoch, scores)
        )

    def _decoded(
        self,
        call: Call,
        seen: Look,
        envelope: Envelope,
        epoch: Epoch,
        scores: Mapping[bytes, float | None],
        decode: Decode,
    ) -> Hit | Miss:
        assert seen.stored is not None  # noqa: S101  # judge() has seen to it
        grace_ms = envelope.grace_ms
        fresh_ms, left_ms = seen.ttl_ms - grace_ms, min(grace_ms, seen.ttl_ms)
        old = _is_soft(envelope, epoch, scores)
        if old:
            if not grace_ms:
                return Miss(epoch)
            # when that was the log can't tell: it may be served for all of its time
            fresh_ms, left_ms = min(0, fresh_ms), seen.ttl_ms
        name, start, flags = call.digest.text, envelope.start, envelope.flags
        try:
            value = self._lately.value(name, seen.stored, start, flags, decode)
        except CodecError as error:
            self._unreadable(call, error)
            return Miss(epoch, seen.stored[:start])
        age_ms = max(0, envelope.fresh_ms + grace_ms - seen.ttl_ms)
        return Hit(value, fresh_ms, age_ms, left_ms, flags, envelope.tags, old)

    def _unreadable(self, call: Call, error: Exception) -> None:
        self._notices.once(
            "unreadable",
            "A stored value (%s) can't be read and counts as absent: %s. "
            "Others like it are not reported.",
            call.digest.text,
            error,
        )


def _is_current(nonce: int, seq: int, scores: Sequence[Reply]) -> bool:
    """Whether the log has written nothing down, of whatever kind, after this moment of its own.

    ``scores`` are as the server sends them: numbers, or text (RESP2).
    """
    now, latest, floor, soft, *tags = scores
    if now is None or latest is None or floor is None:
        return False
    if nonce != -float(now) or not -float(floor) <= seq <= float(latest):
        return False
    if soft is not None and -float(soft) > seq:
        return False
    return tags.count(None) == len(tags) or all(
        score is None or float(score) <= seq for score in tags
    )


def _known(envelope: Envelope, epoch: Epoch, scores: Mapping[bytes, float | None]) -> bool:
    """Whether all scores are there that the verdict on a value needs."""
    if not scores.keys() >= set(envelope.tags):
        return False
    return epoch.soft <= envelope.seq or scores.keys() >= set(map(log.softened, envelope.tags))


def _is_soft(envelope: Envelope, epoch: Epoch, scores: Mapping[bytes, float | None]) -> bool:
    """Whether one of a value's tags was invalidated softly after its epoch."""
    if epoch.soft <= envelope.seq:
        return False
    found = [scores[log.softened(tag)] for tag in envelope.tags]
    return any(score is not None and score > envelope.seq for score in found)
