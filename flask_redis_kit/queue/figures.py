"""Queues in figures."""

from __future__ import annotations

from typing import NamedTuple

from flask_redis_kit.core.exchange import Command, Exchange, Reply, pairs
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.queue.layout import QueueKeys, names_key


class QueueStats(NamedTuple):
    """One queue. ``running`` counts unfinished jobs that are neither waiting, delayed nor dead."""

    queue: str
    high: int
    normal: int
    low: int
    delayed: int
    running: int
    dead: int
    workers: int
    counters: dict[str, int]


def names(keys: KeyBuilder) -> Exchange[list[str]]:
    """The names of all queues, sorted."""
    key = names_key(keys)
    return Exchange(
        "queue",
        key,
        [("SMEMBERS", key)],
        lambda replies: sorted(name.decode() for name in replies[0]),
        read_only=True,
    )


def statistics(keys: QueueKeys) -> Exchange[QueueStats]:
    """The figures of one queue."""
    commands: list[Command] = [("LLEN", key) for key in keys.waiting]
    commands += [
        ("ZCARD", keys.delayed),
        ("ZCARD", keys.dead),
        ("ZCARD", keys.workers),
        ("HLEN", keys.jobs),
        ("HGETALL", keys.stats),
    ]

    def parse(replies: list[Reply]) -> QueueStats:
        high, normal, low, delayed, dead, workers, jobs, counters = replies
        running = max(0, jobs - high - normal - low - delayed - dead)
        counts = {name.decode(): int(count) for name, count in pairs(counters).items()}
        return QueueStats(keys.queue, high, normal, low, delayed, running, dead, workers, counts)

    return Exchange("queue", keys.jobs, commands, parse, read_only=True)
