"""How the commands of the cache show what they have found."""

from __future__ import annotations

import json
import pprint
from typing import Any

from flask_redis_kit.cache.figures import Figures
from flask_redis_kit.cache.inspection import Inspection
from flask_redis_kit.core.tables import printable


def described(found: Inspection) -> list[tuple[str, str]]:
    """What is known of a value, as rows."""
    rows: list[tuple[str, str]] = [
        ("key", found.key),
        ("state", f"{found.state}. {found.why}"),
        ("computing", "somebody computes it now" if found.computing else "nobody"),
    ]
    if not found.codec and not found.tags:
        return rows
    kept = f"{duration(found.kept_for)}, of it fresh {duration(found.fresh_for)}"
    how = "compressed (zlib)" if found.compressed else "as encoded"
    return [
        *rows,
        ("age", duration(found.age)),
        ("kept for", kept),
        ("stored for", f"{duration(found.fresh)} fresh, {duration(found.grace)} grace"),
        ("computed in", duration(found.computed_in)),
        ("size", f"{size(found.size)}, the payload {size(found.payload)} {how}"),
        ("codec", found.codec or "unknown"),
        ("holds", "what the call raised" if found.raised else "a value"),
    ]


def facts(found: Inspection) -> dict[str, Any]:
    """What is known of a value, for JSON."""
    known = {name: getattr(found, name) for name in found.__slots__}
    return {**known, "tags": [each._asdict() for each in found.tags]}


def row(each: Figures) -> tuple[str, ...]:
    """Prefix, hits, misses, hit rate, stale, renewed, stored, refused by reason."""
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(each.refused.items()))
    rate = "-" if each.rate is None else f"{each.rate:.1%}"
    counts = (each.hit, each.miss, rate, each.stale, each.renewal, each.stored)
    return (each.subject, *map(str, counts), refused or "0")


def duration(milliseconds: float) -> str:
    """A time in the unit that suits it."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def shown(value: object) -> str:
    """A value for people."""
    if isinstance(value, str):
        return printable(value, but="\n\t")
    return pprint.pformat(value, sort_dicts=False)


def as_json(value: object) -> str:
    """JSON; what that doesn't have, such as dates, as Python spells it."""
    try:
        return json.dumps(value, indent=2, default=repr)
    except (TypeError, ValueError):
        return json.dumps(repr(value))
