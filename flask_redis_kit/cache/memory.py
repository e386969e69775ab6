"""What a process remembers between two calls: tags of values, and the epochs of misses."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.core.request import RequestBatch

if TYPE_CHECKING:
    from flask_redis_kit.cache.flight import Call

_MOST_TAGS = 10_000
_MOST_MISSES = 100
_NEVER = Epoch(0.0, 0.0, 0.0)  # of no log: nonces are odd

Misses = tuple[tuple[int, str, Epoch], ...]
_outside: ContextVar[Misses] = ContextVar("redis_kit_cache_misses", default=())


class TagMemory:
    """Tags that values have beyond those of their call, so that one READ can ask for all."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[bytes, ...]] = {}

    def asked(self, call: Call) -> tuple[bytes, ...]:
        """The tags to ask for when the value of this call is read."""
        known = self._known.get(call.digest.text) if self._known else None
        return call.tags if known is None else known

    def learn(self, call: Call, tags: tuple[bytes, ...]) -> None:
        """The value of this call was seen, or stored, with these tags."""
        if set(tags) <= set(call.tags):
            self._known.pop(call.digest.text, None)
            return
        while len(self._known) >= _MOST_TAGS:
            self._known.pop(next(iter(self._known)), None)
        self._known[call.digest.text] = tuple(dict.fromkeys((*call.tags, *tags)))


class MissMemory:
    """The epochs that misses of ``get`` saw, for the ``set`` that follows.

    Within a request they live in its batch, shared by the threads that share it; elsewhere in the
    context (of a thread, of an asyncio task). Of several open misses ``set`` gets the oldest
    epoch: a value may be refused needlessly, but a stale one is never taken for a newer one.
    """

    def remember(self, batch: RequestBatch | None, digest: str, epoch: Epoch) -> None:
        """``get`` has missed this."""
        if batch is not None:
            notes_of(batch).misses.setdefault(digest, []).append(epoch)
        else:
            _outside.set((*_outside.get()[1 - _MOST_MISSES :], (id(self), digest, epoch)))

    def take(self, batch: RequestBatch | None, digest: str) -> Epoch | None:
        """The epoch for one ``set``; None if there was no miss before it."""
        if batch is not None:
            epochs = notes_of(batch).misses.get(digest, [])
            oldest = _oldest(epochs)
            if epochs:
                epochs.pop()
            return oldest
        mine = [miss for miss in _outside.get() if miss[:2] == (id(self), digest)]
        if mine:
            _outside.set(tuple(miss for miss in _outside.get() if miss is not mine[-1]))
        return _oldest([epoch for _, _, epoch in mine])

    def refused(self, batch: RequestBatch | None, digest: str) -> None:
        """A ``set`` came too late. Outside of a request an old miss must not spoil the next one."""
        if batch is None:
            kept = (miss for miss in _outside.get() if miss[:2] != (id(self), digest))
            _outside.set(tuple(kept))


def _oldest(epochs: list[Epoch]) -> Epoch | None:
    if not epochs:
        return None
    if len({epoch.nonce for epoch in epochs}) > 1:
        return _NEVER
    return min(epochs, key=lambda epoch: epoch.seq)


class RequestNotes:
    """What the cache remembers for the length of one request."""

    def __init__(self) -> None:
        self.misses: dict[str, list[Epoch]] = {}
        self.planned: dict[object, Any] = {}
        """By wrapper: the call its plan has looked up; None once the wrapper was reached."""


def notes_of(batch: RequestBatch) -> RequestNotes:
    """The notes of a request, made at the first call."""
    notes: RequestNotes | None = batch.notes.get("cache")
    return batch.notes.setdefault("cache", RequestNotes()) if notes is None else notes
