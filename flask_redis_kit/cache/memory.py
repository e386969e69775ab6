"""What the cache remembers for the length of a request."""

from __future__ import annotations

from typing import Any

from flask_redis_kit.cache.envelope import Epoch
from flask_redis_kit.core.request import RequestBatch


class RequestNotes:
    """What the cache remembers for the length of one request."""

    def __init__(self) -> None:
        self.misses: dict[str, list[Epoch]] = {}
        self.planned: dict[object, Any] = {}
        """By wrapper: the visit that looks up a page ahead; None once the wrapper was reached."""
        self.computing = 0
        """How many cached routes are being computed; more than one if one is made of another."""


def notes_of(batch: RequestBatch) -> RequestNotes:
    """The notes of a request, made at the first call."""
    notes: RequestNotes | None = batch.notes.get("cache")
    return batch.notes.setdefault("cache", RequestNotes()) if notes is None else notes
