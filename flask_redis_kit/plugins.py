"""Features of other distributions, found by the entry points that those declare.

A distribution that brings a feature says so in its ``pyproject.toml``::

    [project.entry-points."flask_redis_kit.features"]
    shortlinks = "flask_redis_shortlinks:ShortlinksFeature"

and ``RedisKit(features=("cache", "shortlinks"))`` has it. Nothing of it is imported before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from flask_redis_kit.core.config import CoreConfig, known_keys
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.feature import Feature

GROUP = "flask_redis_kit.features"


def installed() -> dict[str, list[EntryPoint]]:
    """The entry points of all installed distributions, by the feature's name. Imports none."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        same = found.setdefault(point.name, [])
        if point not in same:  # one that is on the path twice
            same.append(point)
    return found


def several(names: Iterable[str]) -> tuple[str, ...]:
    """The names that ``features=`` gives; ``TypeError`` for one that would be taken for letters."""
    if isinstance(names, str):
        raise TypeError(f"features must be several names, not {names!r}: features=({names!r},).")
    return tuple(names)


def make(name: str, builtin: tuple[str, ...]) -> Feature[Any, Any]:
    """The feature that a distribution offers under this name.

    Raises ``ConfigError`` naming the distribution if it can't be loaded, and listing what there is
    if none offers it.
    """
    offered = installed()
    points = offered.get(name, [])
    if not points:
        raise ConfigError(
            f"features={name!r}: there is no such feature. The kit has {', '.join(builtin)}"
            f"{_offers(offered)}; others come in by kit.register(...)."
        )
    if len(points) > 1:
        origins = " and ".join(sorted(_origin(point) for point in points))
        raise ConfigError(
            f"features={name!r}: {origins} both offer it. Uninstall one, or kit.register(...) the "
            "one that you mean."
        )
    (point,) = points
    where = f"features={name!r} is {point.value} of {_origin(point)}"
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(
            f"{where}, which can't be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Feature)):
        raise ConfigError(f"{where}, which is no subclass of flask_redis_kit.Feature.")
    try:
        feature: Feature[Any, Any] = found()
    except Exception as error:
        raise ConfigError(
            f"{where}, which can't be made: {type(error).__name__}: {error}"
        ) from error
    if feature.name != name:
        raise ConfigError(
            f"{where}, whose name is {feature.name!r}: its entry point must have the same."
        )
    return feature


def check(feature: Feature[Any, Any], *, reserved: Iterable[str], sections: Iterable[str]) -> None:
    """Raise ``ConfigError`` if a feature can't live in a kit, which has ``reserved`` attributes.

    The settings of a feature begin with its section, and those of no other ``sections`` and no
    plain setting (``REDIS_SOCKET_TIMEOUT``) may begin in the same way.
    """
    name, section = feature.name, feature.section
    if not name.isidentifier() or name.startswith("_") or name in reserved:
        raise ConfigError(f"A feature can't be named {name!r}: kit.{name} can't be it.")
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", section):
        raise ConfigError(f"The section {section!r} of {name!r} can't stand in a config key.")
    plain = {key.removeprefix("REDIS_") for key in known_keys(CoreConfig, "REDIS", None)}
    for other in sorted({*sections, *plain}):
        begins = f"{section}_".startswith(f"{other}_") and other not in plain
        if begins or f"{other}_".startswith(f"{section}_"):
            raise ConfigError(
                f"The settings of {name!r} begin with REDIS_{section}_, which is mixed up with "
                f"REDIS_{other}. Give it a section of its own."
            )


def _offers(offered: dict[str, list[EntryPoint]]) -> str:
    def names() -> Iterator[str]:
        for name, points in sorted(offered.items()):
            yield f"{name} (of {', '.join(_origin(point) for point in points)})"

    return f"; installed are also {', '.join(names())}" if offered else ""


def _origin(point: EntryPoint) -> str:
    return (
        "an unknown distribution"
        if point.dist is None
        else (f"{point.dist.name} {point.dist.version}")
    )
