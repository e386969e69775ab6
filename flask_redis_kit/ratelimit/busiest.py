"""The busiest keys of an application: who uses most of a limit, by hashed identity."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flask_redis_kit.core.feature import Context
from flask_redis_kit.ratelimit.config import RateLimitConfig
from flask_redis_kit.ratelimit.layout import FORMATS, STRICT_TAG
from flask_redis_kit.ratelimit.limits import MAX_LIMIT, Algorithm, Claim, Kind, Limit
from flask_redis_kit.ratelimit.scripts import peek

MOST_KEYS = 100_000
_PAGE = 500
_NAME = re.compile(
    r"(?:(?P<tag>[0-9a-f]{32})/)?(?P<scope>.*)/(?P<window>\d+)(?P<micro>us)?\Z", re.DOTALL
)
_LETTERS = {letter: kind for kind, letter in FORMATS.items()}


@dataclass(frozen=True, slots=True)
class Use:
    """What one identity uses of one limit. ``free_after``: seconds until all of it is free."""

    scope: str
    window: float
    kind: str
    identity: str
    used: int
    free_after: float


@dataclass(frozen=True, slots=True)
class Busiest:
    """The top of what was found; ``complete`` is False if there were more keys than looked at."""

    uses: tuple[Use, ...]
    keys: int
    complete: bool


def busiest(
    context: Context[RateLimitConfig],
    count: int,
    *,
    scope: str | None = None,
    most_keys: int = MOST_KEYS,
) -> Busiest:
    """The ``count`` identities that use most units, over all limits or those of one scope.

    Looks at ``most_keys`` keys at most: SCAN in steps of 500, then one trip for each 500 keys.
    Raises ``ServerError``.
    """
    keys = _keys(context)
    looked = 0
    top: list[Use] = []
    wanted = islice(keys, most_keys)
    while page := list(islice(wanted, _PAGE)):
        looked += len(page)
        claims = [claim for claim in map(_claim, page) if claim is not None]
        if scope is not None:
            claims = [claim for claim in claims if claim.scope == scope]
        top = heapq.nlargest(count, [*top, *_uses(context, claims)], key=lambda use: use.used)
    return Busiest(tuple(top), looked, next(keys, None) is None)


def _keys(context: Context[RateLimitConfig]) -> Iterator[str]:
    namespace = re.sub(r"([*?\[\]\\])", r"\\\1", context.keys.key("*", "limit", "*", "*"))
    pattern = namespace.replace("\\*", "*")
    client: Any = context.wire.connector.client
    seen: set[str] = set()  # SCAN may give a key twice
    for key in client.scan_iter(match=pattern, count=_PAGE):
        text = key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key
        if text not in seen:
            seen.add(text)
            yield text


def _claim(key: str) -> Claim | None:
    """The claim that looks at a key; None if it is none of ours."""
    start, _, rest = key.partition("}:limit:")
    letter, _, name = rest.partition(":")
    found, kind = _NAME.match(name), _LETTERS.get(letter)
    if found is None or kind is None or not (name.isascii() and name.isprintable()):
        return None
    tag = start.rpartition(":")[2]
    scope, window_us = found["scope"], int(found["window"]) * (1 if found["micro"] else 1_000_000)
    if tag == STRICT_TAG:
        tag = found["tag"] or ""
    elif found["tag"]:
        scope = f"{found['tag']}/{scope}"
    rate: Kind = "concurrency" if kind == "concurrency" else "rate"
    algorithm: Algorithm = "auto" if kind == "auto" else "sliding-log"
    limit = Limit(MAX_LIMIT, window_us, algorithm=algorithm, kind=rate)
    return Claim(limit, tag, scope, 0, key)


def _uses(context: Context[RateLimitConfig], claims: Sequence[Claim]) -> Iterator[Use]:
    outcomes = context.send_many([peek([claim]) for claim in claims])
    for claim, outcome in zip(claims, outcomes, strict=True):
        standing = outcome.result().standings[0]
        used = claim.limit.limit - standing.remaining
        if used > 0:
            kind = claim.limit.kind
            free_after = standing.full_us / 1_000_000
            yield Use(claim.scope, claim.limit.window, kind, claim.tag, used, free_after)
