"""One stored value from outside: what it is, and whether it would be served, and why not."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from flask_redis_kit.cache import log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.envelope import Envelope, Epoch, unpack
from flask_redis_kit.cache.identity import Digest
from flask_redis_kit.cache.payload import COMPRESSED, RAISED, unpacked
from flask_redis_kit.cache.shards import FEATURE, Place, Shards
from flask_redis_kit.cache.tags import own_tag
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Command, Exchange
from flask_redis_kit.core.feature import Context

_KINDS = {
    "t": "tag",
    "f": "function",
    "p": "key_prefix",
    "k": "this value",
    "c": "its call",
    "a": "its endpoint and arguments",
    "u": "URL",
}


class TagState(NamedTuple):
    """A tag of a value, and what became of it since: "valid", "invalidated" or "stale"."""

    kind: str
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is known of one value. Times are ms, sizes bytes.

    ``state``  "fresh", "stale", "invalid", "unreadable" or "absent"; ``why`` says more.
    ``computing``  whether somebody is computing it now.
    """

    key: str
    state: str
    why: str
    computing: bool
    size: int = 0
    payload: int = 0
    compressed: bool = False
    raised: bool = False
    codec: str = ""
    age: int = 0
    fresh_for: int = 0
    kept_for: int = 0
    fresh: int = 0
    grace: int = 0
    computed_in: int = 0
    tags: tuple[TagState, ...] = ()


class Inspector:
    """Looks at stored values of one application without counting as a reader."""

    def __init__(self, context: Context[CacheConfig], shards: Shards) -> None:
        self._context = context
        self._shards = shards

    def place_of(self, key: str) -> Place | None:
        """The place of a value by its key in Redis; None if that is no value of this cache."""
        name = key.rpartition(":")[2]
        try:
            raw = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))
        except (binascii.Error, ValueError):
            return None
        if len(raw) != 20:
            return None
        place = self._shards.place(Digest(raw))
        return place if place.value == key else None

    def inspect(self, digest: Digest) -> Inspection:
        """What is stored under a digest. Two round trips. Raises the errors of a server."""
        place = self._shards.place(digest)
        commands: list[Command] = [
            ("TYPE", place.value),
            ("PTTL", place.value),
            ("EXISTS", place.lease),
        ]
        kind, left, leased = self._context.send(_all(place, commands))
        computing = bool(leased)
        if kind in (b"none", "none"):
            return Inspection(place.value, "absent", "There is nothing.", computing)
        if kind not in (b"string", "string"):
            why = f"It is a {bytes(kind).decode()}, not a value."
            return Inspection(place.value, "unreadable", why, computing)
        [stored] = self._context.send(_all(place, [("GET", place.value)]))
        try:
            envelope = unpack(stored or b"", own_tag(digest.text))
        except ValueError as error:
            why = f"It counts as absent: {error}."
            return Inspection(place.value, "unreadable", why, computing, size=len(stored or b""))
        members = (*envelope.tags, *map(log.softened, envelope.tags))
        epoch, scores = self._context.send(log.scores(place.log, members))
        codec, problem = self._codec_of(stored, envelope)
        state, why = _verdict(envelope, epoch, scores, left)
        if problem and state in ("fresh", "stale"):
            state, why = "unreadable", f"It counts as absent: {problem}"
        return Inspection(
            place.value,
            state,
            why,
            computing,
            size=len(stored),
            payload=len(stored) - envelope.start,
            compressed=bool(envelope.flags & COMPRESSED),
            raised=bool(envelope.flags & RAISED),
            codec=codec,
            age=max(0, envelope.fresh_ms + envelope.grace_ms - left),
            fresh_for=max(0, left - envelope.grace_ms),
            kept_for=max(0, left),
            fresh=envelope.fresh_ms,
            grace=envelope.grace_ms,
            computed_in=envelope.delta_ms,
            tags=tuple(_tag_state(tag, envelope, scores) for tag in envelope.tags),
        )

    def _codec_of(self, stored: bytes, envelope: Envelope) -> tuple[str, str]:
        """What encoded the payload, as far as can be told; and what is wrong with it."""
        payload = memoryview(stored)[envelope.start :]
        try:
            data = unpacked(payload, envelope.flags, self._context.config.max_bytes)
        except CodecError as error:
            return "", str(error)
        version = bytes(data[:1])
        if version != b"\x01":
            return f"a codec of the application (first byte 0x{version.hex()})", ""
        try:
            self._context.codec.decode(data)
        except CodecError as error:
            return "msgpack, version 1", str(error)
        return "msgpack, version 1", ""


def _all(place: Place, commands: list[Command]) -> Exchange[list[Any]]:
    return Exchange(FEATURE, place.value, commands, list, read_only=True)


def _verdict(
    envelope: Envelope, epoch: Epoch | None, scores: Mapping[bytes, float | None], left: int
) -> tuple[str, str]:
    if epoch is None:
        return "invalid", "There is no log: everything was cleared, or the log was evicted."
    if envelope.nonce != epoch.nonce:
        return "invalid", "It belongs to an earlier log: everything was cleared since."
    if envelope.seq > epoch.seq:
        return "invalid", "The log is older than the value: a failover has lost what came between."
    if envelope.seq < epoch.floor:
        return "invalid", "The log has forgotten that time: REDIS_CACHE_LOG_LIMIT was reached."
    behind = {tag for tag in envelope.tags if _later(scores.get(tag), envelope)}
    if behind:
        return "invalid", f"Invalidated since: {', '.join(map(_spelled, sorted(behind)))}."
    grace = envelope.grace_ms
    softly = {tag for tag in envelope.tags if _later(scores.get(log.softened(tag)), envelope)}
    if softly:
        names = ", ".join(map(_spelled, sorted(softly)))
        if not grace:
            return "invalid", f"Invalidated softly since, and it has no grace period: {names}."
        return "stale", f"Invalidated softly since: {names}."
    if left <= grace:
        return "stale", "Its time is over; it is in its grace period."
    return "fresh", "It would be served."


def _later(score: float | None, envelope: Envelope) -> bool:
    return score is not None and score > envelope.seq


def _tag_state(tag: bytes, envelope: Envelope, scores: Mapping[bytes, float | None]) -> TagState:
    kind, name = _parts(tag)
    if _later(scores.get(tag), envelope):
        return TagState(kind, name, "invalidated")
    softly = _later(scores.get(log.softened(tag)), envelope)
    return TagState(kind, name, "stale" if softly else "valid")


def _parts(tag: bytes) -> tuple[str, str]:
    """Kind and name of a member of the log; a long name is known by its hash only."""
    kind, name = tag[:1].decode("latin-1"), tag[2:].decode("utf-8", "replace")
    return _KINDS.get(kind, kind), f"(hashed) {name}" if tag[1:2] == b"#" else name


def _spelled(tag: bytes) -> str:
    kind, name = _parts(tag)
    return repr(name) if kind == "tag" else f"{kind} {name!r}"
