"""The epochs that misses of ``get`` saw, for the ``set`` that follows."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.cache.memory import notes_of
from flask_redis_kit.core.request import RequestBatch

_BUCKETS = 64
_PER_BUCKET = 160
NEVER = Epoch(0.0, 0.0, 0.0)  # of no log: nonces are odd
"""No moment at all: what is stored as of it is refused."""

Bucket = dict[tuple[object, str], tuple[Epoch, ...]]
_outside: ContextVar[tuple[Bucket, ...]] = ContextVar(
    "redis_kit_cache_misses", default=tuple({} for _ in range(_BUCKETS))
)
"""Of a context; a bucket is never changed, as a copied context shares it, but replaced."""


class MissMemory:
    """Remembers misses until a value is set.

    Within a request they live in its batch, shared by the threads that share it; elsewhere in the
    context (of a thread, of an asyncio task), at most about 10,000, of which the oldest are
    forgotten first. Of several open misses ``set`` gets the oldest epoch: a value may be refused
    needlessly, but a stale one is never taken for a newer one.
    """

    def __init__(self) -> None:
        self._mark = object()

    def remember(self, batch: RequestBatch | None, digest: str, epoch: Epoch) -> None:
        """``get`` has missed this."""
        if batch is not None:
            notes_of(batch).misses.setdefault(digest, []).append(epoch)
            return
        bucket = _bucket(digest)
        if len(bucket) >= _PER_BUCKET:
            del bucket[next(iter(bucket))]
        key = (self._mark, digest)
        bucket[key] = (*bucket.get(key, ()), epoch)
        _replace(digest, bucket)

    def take(self, batch: RequestBatch | None, digest: str) -> Epoch | None:
        """The epoch for one ``set``; None if there was no miss before it."""
        if batch is not None:
            epochs = notes_of(batch).misses.get(digest, [])
            oldest = _oldest(tuple(epochs))
            del epochs[-1:]
            return oldest
        bucket = _bucket(digest)
        mine = bucket.pop((self._mark, digest), ())
        if mine:
            if mine[1:]:
                bucket[self._mark, digest] = mine[:-1]
            _replace(digest, bucket)
        return _oldest(mine)

    def refused(self, batch: RequestBatch | None, digest: str) -> None:
        """A ``set`` came too late. Outside of a request an old miss must not spoil the next one."""
        if batch is None:
            bucket = _bucket(digest)
            if bucket.pop((self._mark, digest), None) is not None:
                _replace(digest, bucket)


def _bucket(digest: str) -> Bucket:
    """A copy of the bucket that a digest belongs to."""
    return dict(_outside.get()[hash(digest) % _BUCKETS])


def _replace(digest: str, bucket: Bucket) -> None:
    at = hash(digest) % _BUCKETS
    buckets = _outside.get()
    _outside.set((*buckets[:at], bucket, *buckets[at + 1 :]))


def _oldest(epochs: Iterable[Epoch]) -> Epoch | None:
    seen = set(epochs)
    if len({epoch.nonce for epoch in seen}) > 1:
        return NEVER
    return min(seen, key=lambda epoch: epoch.seq, default=None)
