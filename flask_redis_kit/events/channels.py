"""Channels: their names, and where each one lives in Redis.

A plain name can't contain ``~``, so no name reaches a user's channel (``user~<id>``) or the one of
everybody (``broadcast~``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import quote
from uuid import UUID

from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.events.config import EventsConfig
from flask_redis_kit.events.errors import EventNameError

UserId = str | int | UUID
NAME = re.compile(r"[A-Za-z0-9_.:@/-]{1,200}\Z")
BROADCAST = "broadcast~"
MAX_CHANNELS = 16
"""Of one stream: its position must fit into a header."""

# 64 tags of two characters. With any namespace before them their Cluster slots lie one in each
# 1/64 of the slots: CRC16 is linear, so a common beginning only permutes these ranges.
_TAGS = (
    "10186h032921324s0j0b1a0s2y2q2h2d11196i022820334r0k0c0z0r2x2p2i2a"
    "126s09014h2330380h0d0y0q3a2s2j2b136r08004i2231390i0a0x0p2z2r2k2c"
)
PARTITIONS: tuple[str, ...] = tuple(_TAGS[n : n + 2] for n in range(0, len(_TAGS), 2))


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel. ``hash8`` stands for it in positions; TTLs are milliseconds.

    Compared by identity: a stream keeps its positions by the objects it was made with.
    """

    name: str
    hash8: str
    history: str
    meta: str
    topic: str
    history_length: int
    history_ttl_ms: int
    meta_ttl_ms: int


class Channels:
    """The channels of one application's namespace."""

    def __init__(self, keys: KeyBuilder, config: EventsConfig) -> None:
        self._keys = keys
        self._config = config

    def plain(self, name: str) -> Channel:
        """The channel with this name; ``EventNameError`` if it can't be one."""
        if not isinstance(name, str) or not NAME.match(name):
            raise EventNameError(
                f"channel {name!r} can't be one: use 1 to 200 ASCII letters, digits, '_', '.', "
                "':', '@', '/' or '-'."
            )
        return self._make(name, self._config.history_length, self._config.history_ttl)

    def user(self, user_id: UserId) -> Channel:
        """The channel of one user; 42 and "42" are the same user."""
        text = str(user_id)
        if isinstance(user_id, bool) or not isinstance(user_id, UserId) or not text:
            raise EventNameError(
                f"user id {user_id!r} can't be one: give a str that isn't empty, an int or a UUID."
            )
        try:
            name = "user~" + quote(text, safe=":@/")
        except UnicodeEncodeError:
            raise EventNameError(f"user id {text!r} is no valid text.") from None
        if len(name) > 200:
            raise EventNameError(f"user id {text[:40]!r}… is too long: 195 characters, encoded.")
        return self._make(name, self._config.user_history_length, self._config.user_history_ttl)

    def broadcast(self) -> Channel:
        """The channel that everybody hears."""
        return self._make(BROADCAST, self._config.history_length, self._config.history_ttl)

    def of(self, names: Iterable[str], user: UserId | None) -> tuple[Channel, ...]:
        """What one stream hears: the named channels, the user's, and the broadcasts."""
        if isinstance(names, str):
            raise EventNameError(f"channels={names!r} is one name: write channels=[{names!r}].")
        found = list({channel.name: channel for channel in map(self.plain, names)}.values())
        if user is not None:
            found.append(self.user(user))
        found.append(self.broadcast())
        if len(found) > MAX_CHANNELS:
            raise EventNameError(
                f"{len(found)} channels on one stream; {MAX_CHANNELS} are possible, the user's and "
                "the broadcasts included. Publish to fewer, broader channels."
            )
        by_hash = {channel.hash8: channel.name for channel in found}
        for channel in found:
            if by_hash[channel.hash8] != channel.name:
                raise EventNameError(
                    f"channels {channel.name!r} and {by_hash[channel.hash8]!r} have the same hash "
                    "and can't share a stream; rename one."
                )
        return tuple(found)

    def _make(self, name: str, length: int, ttl: float) -> Channel:
        digest = blake2b(name.encode(), digest_size=8).digest()
        tag = PARTITIONS[int.from_bytes(digest[4:], "big") % len(PARTITIONS)]
        key = self._keys.key
        return Channel(
            name=name,
            hash8=digest[:4].hex(),
            history=key(tag, "event", "h", name),
            meta=key(tag, "event", "m", name),
            topic=key(tag, "event", "c", name),
            history_length=length,
            history_ttl_ms=max(1, round(ttl * 1000)),
            meta_ttl_ms=max(1, round(self._config.meta_ttl * 1000)),
        )
