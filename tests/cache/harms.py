"""What happens to the server while a race goes on. Each function returns a harm for ``race``."""

from __future__ import annotations

import random
import secrets
import time
from typing import Any, cast

import redis

from tests.cache.race import Truth
from tests.cache.referee import Meddle

_LOGS, _VALUES, _LEASES = (f"frk:{{race:*}}:cache:{kind}" for kind in ("t", "v:*", "l:*"))

# all keys of the kit with what is left of their time, at one moment
_SNAPSHOT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'frk:*')) do
  local left = redis.call('PTTL', key)
  if left ~= 0 then -- it would live for ever
    found[#found + 1] = {key, math.max(0, left), redis.call('DUMP', key)}
  end
end
return found
"""
_SET_BACK = """
for _, key in ipairs(redis.call('KEYS', 'frk:*')) do redis.call('DEL', key) end
for n = 1, #ARGV, 3 do redis.call('RESTORE', ARGV[n], ARGV[n + 1], ARGV[n + 2]) end
"""


def losing_logs(client: redis.Redis) -> Meddle:
    """One of the logs is gone, as if it had been evicted."""
    return lambda _: _delete_one(client, _LOGS)


def losing_values_and_leases(client: redis.Redis) -> Meddle:
    """One value or lease is gone."""
    return lambda _: _delete_one(client, random.choice((_VALUES, _LEASES)))


def losing_scripts(client: redis.Redis) -> Meddle:
    """``SCRIPT FLUSH``."""
    return lambda _: client.script_flush()


def filling(client: redis.Redis) -> Meddle:
    """Others write so much that the server evicts, now the least used keys, now any."""
    client.config_set("maxmemory", _used(client) + 2_000_000)

    def fill(_: Truth) -> None:
        client.config_set("maxmemory-policy", random.choice(("allkeys-lru", "allkeys-random")))
        for _each in range(300):
            client.set(f"filler:{secrets.token_hex(8)}", b"x" * 3000, px=60_000)

    return fill


def flooding(client: redis.Redis) -> Meddle:
    """Memory is full and nothing may be evicted; then there is room again."""
    full = False

    def flood(_: Truth) -> None:
        nonlocal full
        full = not full
        client.config_set("maxmemory", 1 if full else 0)

    return flood


def setting_back(client: redis.Redis) -> Meddle:
    """A failover that loses writes: the server is as it was some moments ago.

    What was acknowledged since then does not count any more; what is acknowledged from now on does.
    """

    def set_back(truth: Truth) -> None:
        with truth.lock(alone=True):
            acked, state = truth.all_acked(), cast("list[Any]", client.eval(_SNAPSHOT, 0))
        time.sleep(random.uniform(0, 0.03))  # time for writes that will be lost
        with truth.lock(alone=True), truth.set_back(acked):
            client.eval(_SET_BACK, 0, *(each for entry in state for each in entry))

    return set_back


def all_relieved(client: redis.Redis) -> None:
    """No limit of memory any more."""
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")


def _delete_one(client: redis.Redis, pattern: str) -> None:
    keys = sorted(client.scan_iter(pattern, count=1000))
    if keys:
        client.delete(random.choice(keys))


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])
