"""The keys of rate limits: what each holds, and how it is named."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from flask_redis_kit.core.keys import KeyBuilder, KeySpec
from flask_redis_kit.ratelimit.limits import Limit

FORMATS = {"sliding-log": "s1", "auto": "a1", "concurrency": "c1"}
"""The algorithm's letter and the version of its format: another algorithm has other keys."""

_MEANING = "admitted to <scope> within the window, for the hashed <identity>"

KEYSPACE = (
    KeySpec(
        "frk:{<ns>:<identity>}:limit:s1:<scope>/<window>",
        "zset",
        "the window, from the last admitted request on",
        f"the units {_MEANING}: a member each, scored with its time",
    ),
    KeySpec(
        "frk:{<ns>:<identity>}:limit:a1:<scope>/<window>",
        "zset",
        "the window, from the last admitted request on",
        f"algorithm='auto': the units {_MEANING}, while the limit is 128 or less",
    ),
    KeySpec(
        "frk:{<ns>:<identity>}:limit:a1:<scope>/<window>",
        "hash",
        "65/64 of the window, from the last admitted request on",
        f"algorithm='auto': the units {_MEANING}, by 64 sub-windows",
    ),
    KeySpec(
        "frk:{<ns>:<identity>}:limit:c1:<scope>/<lease>",
        "zset",
        "until the last lease ends",
        "who holds a place of a concurrency limit: a member each, scored with its lease's end",
    ),
)

STRICT_TAG = "limits"
"""With atomicity "strict" all limits lie in this one slot."""

_MAX_NAME = 80


def limit_key(keys: KeyBuilder, tag: str, scope: str, limit: Limit, *, strict: bool = False) -> str:
    """The key under which ``limit`` is counted in ``scope`` for the identity hashed in ``tag``.

    The number of units is no part of it: raising or lowering a limit keeps the usage.
    """
    letter = FORMATS["concurrency" if limit.kind == "concurrency" else limit.algorithm]
    name = _log_name(scope, limit.window_us)
    if strict:
        return keys.key(STRICT_TAG, "limit", letter, f"{tag}/{name}")
    return keys.key(tag, "limit", letter, name)


@lru_cache(maxsize=1024)
def _log_name(scope: str, window_us: int) -> str:
    seconds, rest = divmod(window_us, 1_000_000)
    window = f"{window_us}us" if rest else str(seconds)
    return f"{_bounded(scope)}/{window}"


def _bounded(scope: str) -> str:
    data = scope.encode("utf-8", "surrogatepass")
    plain = scope.isascii() and scope.isprintable() and not scope.startswith("~")
    if plain and len(data) <= _MAX_NAME:
        return scope
    return "~" + hashlib.blake2b(data, digest_size=16).hexdigest()
