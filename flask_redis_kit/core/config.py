"""The only reader of ``app.config``: turns it into frozen, typed dataclasses.

A section is a dataclass whose field ``ttl`` is read from ``REDIS_CACHE_TTL`` (prefix, section,
field), or from the key that the field names itself (``metadata={"key": "SESSION_LIFETIME"}``).
Precedence of a value: ``app.config``, then arguments of ``init_app``, then of the constructor, then
the default. Strings, as an environment holds them, are converted to the field's type.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
import warnings
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar, cast

from flask import Flask

from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.masking import HIDDEN, names_secret
from flask_redis_kit.core.url import mask

C = TypeVar("C")
TRUE = frozenset({"1", "true", "yes", "on", "t", "y"})
FALSE = frozenset({"0", "false", "no", "off", "f", "n", ""})
_MISSING: Any = dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """What every feature's section has; a feature's own section derives from it.

    ``enabled``  the off switch: a feature that is off lets everything pass and stores nothing.
    ``url``      its own server; None: the application's.
    """

    enabled: bool = True
    url: str | None = field(default=None, metadata={"secret": True}, repr=False)


@dataclass(frozen=True, slots=True)
class CoreConfig:
    """The plain ``REDIS_…`` keys. Times are seconds."""

    url: str | None = field(default=None, metadata={"secret": True}, repr=False)
    host: str | None = None
    port: int | None = None
    db: int | None = None
    username: str | None = None
    password: str | None = field(default=None, metadata={"secret": True}, repr=False)
    ssl: bool = False
    unix_socket_path: str | None = None
    sentinel_hosts: tuple[str, ...] = ()
    sentinel_master: str = "mymaster"
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, metadata={"secret": True}, repr=False)
    decode_responses: bool = False
    max_connections: int = 50
    socket_timeout: float | None = 0.5
    socket_connect_timeout: float = 0.5
    pool_timeout: float = 0.2
    health_check_interval: float = 30.0
    client_name: str | None = None
    maintenance_notifications: bool = False
    options: Mapping[str, object] = field(
        default_factory=dict, metadata={"secret": True}, repr=False
    )
    databases: Mapping[str, object] = field(
        default_factory=dict, metadata={"secret": True, "urls": True}, repr=False
    )
    client_class: object = field(default=None, metadata={"suffix": "CLASS"})
    namespace: str | None = None
    breaker_failures: int = 3
    breaker_open_seconds: float = 1.0

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check_number(item.name, getattr(self, item.name), f"REDIS_{item.name.upper()}")


_ABOVE_ZERO = frozenset(
    {
        "max_connections",
        "socket_timeout",
        "socket_connect_timeout",
        "breaker_failures",
        "breaker_open_seconds",
    }
)
_FROM_ZERO = frozenset({"db", "pool_timeout", "health_check_interval"})


def check_number(name: str, value: Any, key: str) -> None:
    """Raise ``ConfigError`` naming ``key`` if ``value`` is no number for the field ``name``."""
    if name in _ABOVE_ZERO:
        _require(value, key, None)
    elif name in _FROM_ZERO:
        _require(value, key, 0)


def require_positive(
    config: object, prefix: str, names: Iterable[str], *, least: float | None = None
) -> None:
    """Raise ``ConfigError`` for the first of these fields that is 0 or less.

    ``prefix``  of their keys: ``REDIS_CACHE``.
    ``least``   the smallest allowed value, where it is another one: 0, or 0.1.
    """
    for name in names:
        _require(getattr(config, name), f"{prefix}_{name.upper()}", least)


def _require(value: float | None, key: str, least: float | None) -> None:
    if value is None:
        return
    if least is None and value <= 0:
        raise ConfigError(f"{key} must be more than 0, not {value!r}.", key=key)
    if least is not None and value < least:
        raise ConfigError(f"{key} must be {least} or more, not {value!r}.", key=key)


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective setting as ``flask redis config`` shows it; ``value`` is masked if secret."""

    key: str
    value: str
    source: str


def key_of(item: dataclasses.Field[Any], prefix: str, section: str | None) -> str:
    """The config key of a field."""
    if "key" in item.metadata:
        return str(item.metadata["key"])
    name = item.metadata.get("suffix", item.name.upper())
    return f"{prefix}_{section}_{name}" if section else f"{prefix}_{name}"


@lru_cache(maxsize=64)
def _hints(section_class: Any) -> dict[str, Any]:
    return typing.get_type_hints(section_class)


def load(
    section_class: type[C],
    app: Flask,
    *,
    prefix: str = "REDIS",
    section: str | None = None,
    arguments: Mapping[str, object] | None = None,
) -> tuple[C, list[Setting]]:
    """Read one section. Raises ``ConfigError`` naming key, value and cure."""
    values: dict[str, object] = {}
    settings: list[Setting] = []
    hints = _hints(cast("Hashable", section_class))
    for item in dataclasses.fields(section_class):  # type: ignore[arg-type]  # any dataclass
        key = key_of(item, prefix, section)
        outside = section is None and item.name == "url"
        found, source = _find(item, key, app, arguments or {}, environment=outside)
        if found is not _MISSING:
            secret = bool(item.metadata.get("secret"))
            values[item.name] = convert(found, hints[item.name], key, secret=secret)
        shown = values.get(item.name, _default(item))
        settings.append(Setting(key, _shown(item, shown), source))
    return section_class(**values), settings


def _find(
    item: dataclasses.Field[Any],
    key: str,
    app: Flask,
    arguments: Mapping[str, object],
    *,
    environment: bool,
) -> tuple[object, str]:
    if key in app.config and app.config[key] is not None:
        return app.config[key], "app.config"
    if environment and os.environ.get(key):
        return os.environ[key], "environment"
    if arguments.get(item.name) is not None:
        return arguments[item.name], "argument"
    return _MISSING, "default"


def _default(item: dataclasses.Field[Any]) -> object:
    if item.default is not _MISSING:
        return item.default
    factory: Any = item.default_factory
    return None if factory is _MISSING else factory()


def _shown(item: dataclasses.Field[Any], value: object) -> str:
    if not item.metadata.get("secret") or not value:
        return repr(value)
    if item.name == "url":
        return repr(mask(str(value)))
    if isinstance(value, Mapping):
        return _shown_entries(value, urls="urls" in item.metadata)
    return f"'{HIDDEN}'"


def _shown_entries(entries: Mapping[Any, object], *, urls: bool) -> str:
    """The entries of a dict; ``urls``: their URLs, names and numbers may be read by anybody."""
    shown = []
    for name, value in entries.items():
        if urls and isinstance(value, Mapping):
            text = _shown_entries(value, urls=name != "options")
        elif urls and not names_secret(str(name)) and isinstance(value, str | int | None):
            text = _safe(value)
        else:
            text = f"'{HIDDEN}'"
        shown.append(f"{name!r}: {text}")
    return "{" + ", ".join(shown) + "}"


def convert(value: object, hint: Any, key: str, *, secret: bool = False) -> object:
    """``value`` as the type ``hint``; ``ConfigError``, which hides a secret, if it isn't one."""
    options = _alternatives(hint)
    if value is None and type(None) in options:
        return None
    for option in options:
        if option is type(None):
            continue
        try:
            return _as(value, option)
        except (TypeError, ValueError):
            continue
    shown = f"<{type(value).__name__}>" if secret else _safe(value)
    raise ConfigError(f"{key}={shown} is not {_spoken(hint)}: {_cure(options)}", key=key)


def _safe(value: object) -> str:
    return repr(mask(value)) if isinstance(value, str) else repr(value)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return tuple(typing.get_args(hint))
    return (hint,)


def _as(value: Any, hint: Any) -> object:
    origin = typing.get_origin(hint)
    if hint is object:
        return value
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        raise ValueError(value)
    if hint is bool:
        return _as_bool(value)
    if hint in (int, float):
        return _as_number(value, hint)
    if hint is timedelta:
        return value if isinstance(value, timedelta) else timedelta(seconds=float(value))
    if hint is str:
        if not isinstance(value, str):
            raise TypeError(value)
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        inner = typing.get_args(hint)[0]
        return tuple(_as(item.strip() if isinstance(item, str) else item, inner) for item in items)
    kind = origin or hint
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise TypeError(value)


def _as_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(value)


def _as_number(value: Any, kind: type) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    number: float = kind(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(value)
    return number


def _spoken(hint: Any) -> str:
    return " or ".join(_name(o) for o in _alternatives(hint) if o is not type(None))


def _name(option: Any) -> str:
    if typing.get_origin(option) is typing.Literal:
        return "known"
    return str(getattr(option, "__name__", option))


def _cure(options: tuple[Any, ...]) -> str:
    if bool in options:
        return "use true or false."
    if float in options or timedelta in options:
        return "give a number of seconds." if timedelta in options else "give a number."
    if int in options:
        return "give a whole number."
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            return "use one of " + ", ".join(map(repr, typing.get_args(option))) + "."
    return "see the table of settings in the docs."


def known_keys(section_class: type, prefix: str, section: str | None) -> set[str]:
    """All config keys of a section."""
    items = dataclasses.fields(section_class)
    return {key_of(item, prefix, section) for item in items}


def refuse_unknown(app: Flask, prefix: str, section: str, known: set[str]) -> None:
    """A key under a feature's prefix that no field reads is a mistake: ``ConfigError``."""
    start = f"{prefix}_{section}_"
    for key in app.config:
        if isinstance(key, str) and key.startswith(start) and key not in known:
            raise ConfigError(f"{key} is no setting of the kit.{_nearest(key, known)}", key=key)


def warn_near_misses(app: Flask, prefix: str, known: Iterable[str], sections: set[str]) -> None:
    """A plain ``REDIS_…`` key may be somebody else's: warn only if it looks like one of ours.

    So may one that begins as those of a feature which are named as elsewhere: ``SESSION_…``.
    """
    names = set(known)
    starts = (f"{prefix}_", *{f"{name.partition('_')[0]}_" for name in names})
    for key in app.config:
        if not isinstance(key, str) or not key.startswith(starts) or key in names:
            continue
        if any(key.startswith(f"{prefix}_{section}_") for section in sections):
            continue
        if difflib.get_close_matches(key, names, n=1, cutoff=0.86):
            warnings.warn(
                f"{key} is no setting of the kit.{_nearest(key, names)}", UserWarning, stacklevel=4
            )


def _nearest(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    words = set(key.split("_"))
    # REDIS_CACHE_TTL is nearer to REDIS_CACHE_DEFAULT_TTL than to REDIS_CACHE_URL
    near = [name for name in names if words < set(name.split("_"))]
    near = near or difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else " Remove it, or look at `flask redis config`."
