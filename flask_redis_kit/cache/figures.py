"""Figures of the cache: what was counted by prefix in all processes, and how large its logs are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from flask_redis_kit.cache import log
from flask_redis_kit.cache.config import CacheConfig
from flask_redis_kit.cache.invalidation import ROUNDS
from flask_redis_kit.cache.shards import FEATURE, Shards
from flask_redis_kit.cache.signals import BYTES, MILLISECONDS
from flask_redis_kit.core.exchange import Command, Exchange, Reply
from flask_redis_kit.core.feature import Context

_REFUSED = "refused:"


@dataclass(slots=True)
class Figures:
    """What was counted for one prefix, function or fragment.

    ``renewal``: look-ups that found a value past its time, and computed the next one. If that
    raises, the old one is served: then it counts as ``stale``, too.
    ``milliseconds`` and ``bytes`` are of the values that were stored: computing time, size.
    """

    subject: str
    hit: int = 0
    miss: int = 0
    stale: int = 0
    renewal: int = 0
    stored: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    milliseconds: int = 0
    bytes: int = 0

    @property
    def rate(self) -> float | None:
        """The share of look-ups for which nothing was computed; None if there was none."""
        found, computed = self.hit + self.stale, self.miss + self.renewal
        return found / (found + computed) if found + computed else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "rate": self.rate}


def by_subject(counts: Mapping[tuple[str, str], int]) -> list[Figures]:
    """The figures of each subject, by name, from ``context.counters.read()``."""
    found: dict[str, Figures] = {}
    for (subject, outcome), amount in counts.items():
        figures = found.setdefault(subject, Figures(subject))
        if outcome.startswith(_REFUSED):
            reason = outcome.removeprefix(_REFUSED)
            figures.refused[reason] = figures.refused.get(reason, 0) + amount
        elif outcome in {"hit", "miss", "stale", "renewal", "stored", BYTES, MILLISECONDS}:
            setattr(figures, outcome, getattr(figures, outcome) + amount)
    return [found[subject] for subject in sorted(found)]


class LogFigures(NamedTuple):
    """The logs of all shards together: how many tags they remember, bytes, invalidations so far."""

    shards: int
    tags: int
    bytes: int
    invalidations: int


def of_logs(context: Context[CacheConfig], shards: Shards) -> LogFigures:
    """The figures of the logs. One round trip; raises the errors of a server."""
    tags = size = invalidations = 0
    logs = shards.logs()
    for outcome in context.send_many([_measuring(key) for key in logs]):
        figures = outcome.result()
        tags, size = tags + figures[0], size + figures[1]
        invalidations = max(invalidations, figures[2])  # each is written to every shard
    rounds = 1 if len(logs) == 1 else ROUNDS
    return LogFigures(len(logs), tags, size, -(-invalidations // rounds))


def _measuring(key: str) -> Exchange[tuple[int, int, int]]:
    commands: list[Command] = [
        ("ZCARD", key),
        ("MEMORY", "USAGE", key),
        log.scores_command(key, ()),
    ]

    def parse(replies: list[Reply]) -> tuple[int, int, int]:
        epoch, _ = log.read_scores(replies[2], ())
        own = sum(score is not None for score in replies[2])
        return (
            max(0, int(replies[0]) - own),
            int(replies[1] or 0),
            0 if epoch is None else int(epoch.seq),
        )

    return Exchange(FEATURE, key, commands, parse, read_only=True)


def count_entries(context: Context[CacheConfig]) -> int:
    """How many values there are, valid or not: reads all keys of the server, a thousand a trip."""
    pattern = context.keys.key("*", FEATURE, "v", "*")
    client = context.wire.connector.client
    return sum(1 for _ in client.scan_iter(match=pattern, count=1000))
