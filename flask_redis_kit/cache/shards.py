"""Where the cache's keys lie: one shard on a single server, sixteen on a Cluster.

All keys of a value and the log it is checked against share a hash tag, hence a slot and one stream
of replication. The tag ``3of16`` names the number of shards too, so that another layout never
meets these keys.
"""

from __future__ import annotations

from flask_redis_kit.cache.identity import Digest
from flask_redis_kit.core.keys import KeyBuilder, KeySpec
from flask_redis_kit.core.wire import Wire

FEATURE = "cache"
CLUSTER_SHARDS = 16

KEYSPACE = (
    KeySpec("frk:{<ns>:<shard>}:cache:v:<digest>", "string", "the value's ttl", "a cached value"),
    KeySpec(
        "frk:{<ns>:<shard>}:cache:w:<digest>~<token>",
        "string",
        "the value's ttl",
        "a value on its way to its place",
    ),
    KeySpec(
        "frk:{<ns>:<shard>}:cache:l:<digest>",
        "string",
        "REDIS_CACHE_LEASE_SECONDS",
        "the lease of who computes the value",
    ),
    KeySpec(
        "frk:{<ns>:<shard>}:cache:t",
        "zset",
        None,
        "the shard's log of invalidated tags; at most REDIS_CACHE_LOG_LIMIT of them",
    ),
)


class Place:
    """The keys of one value; those that a hit has no use for are made when they are asked for."""

    __slots__ = ("_keys", "_tag", "digest", "log", "value")

    def __init__(self, digest: Digest, keys: KeyBuilder, tag: str) -> None:
        self._keys = keys
        self._tag = tag
        self.digest = digest
        self.value = keys.key(tag, FEATURE, "v", digest.text)
        self.log = keys.key(tag, FEATURE, "t")

    @property
    def lease(self) -> str:
        """Whose existence says that somebody computes the value."""
        return self._keys.key(self._tag, FEATURE, "l", self.digest.text)

    def staging(self, token: str) -> str:
        """Where the holder of a lease puts the value before it is committed."""
        return self._keys.key(self._tag, FEATURE, "w", f"{self.digest.text}~{token}")


class Shards:
    """Finds the keys of one application's cache."""

    __slots__ = ("_keys", "_wire")

    def __init__(self, wire: Wire, keys: KeyBuilder) -> None:
        self._wire = wire
        self._keys = keys

    @property
    def count(self) -> int:
        """How many logs there are."""
        return CLUSTER_SHARDS if self._wire.clustered else 1

    def place(self, digest: Digest) -> Place:
        """The keys of the value with this digest."""
        count = self.count
        return Place(digest, self._keys, f"{digest.raw[0] % count}of{count}")

    def server_of(self, place: Place) -> object:
        """The server that has these keys, where another one may take over; see ``Wire``."""
        return self._wire.server_of(place.log)

    def logs(self) -> list[str]:
        """The keys of all logs."""
        count = self.count
        return [self._keys.key(f"{n}of{count}", FEATURE, "t") for n in range(count)]
