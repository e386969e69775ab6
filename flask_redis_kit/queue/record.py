"""What a job leaves to be read: its progress, how it ended, and its result if it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_redis_kit.core.codec import Codec
from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.queue.layout import QueueKeys


@dataclass(frozen=True, slots=True)
class Record:
    """``state``: running, retrying, finished or failed. ``progress``: 0 to 1."""

    state: str
    progress: float = 0.0
    note: str = ""
    result: Any = None


def store(keys: QueueKeys, codec: Codec, job_id: str, record: Record, ttl: float) -> Exchange[None]:
    """Write a record; it expires after ``ttl`` seconds. ``CodecError`` if the result can't be."""
    content = codec.encode(
        {"s": record.state, "p": record.progress, "n": record.note, "r": record.result}
    )
    command = ("SET", keys.record(job_id), content, "PX", max(1, round(ttl * 1000)))
    return Exchange("queue", keys.jobs, [command], lambda _: None, idempotent=True)


def read(codec: Codec, content: bytes | None) -> Record | None:
    """A stored record; None if there is none, or it can't be read."""
    if content is None:
        return None
    try:
        match codec.decode(content):
            case {"s": str(state), "p": float(progress), "n": str(note), "r": result}:
                return Record(state, progress, note, result)
    except CodecError:
        pass
    return None
