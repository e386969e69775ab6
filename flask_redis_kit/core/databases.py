"""``REDIS_DATABASES``: the application's further connections, by name.

::

    REDIS_DATABASES = {
        "reports": "redis://reports.internal/0",              a URL
        "scratch": 2,                                         a database of the kit's own server
        "archive": {"host": "old.internal", "decode_responses": True},    settings without REDIS_
        "statistics": "reports",                              the same as another
    }

What an entry doesn't say, it has from the kit: timeouts, pool size, ``REDIS_OPTIONS``. Where it
names a server, user and password are its own; where it doesn't, it is on the kit's server.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping
from typing import Any

from flask_redis_kit.core.config import CoreConfig, convert
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.connectors import Connectors
from flask_redis_kit.core.endpoints import OF_ONE_SERVER, endpoint_from, settings_at
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.names import DEFAULT_NAME, DEFAULT_PREFIX
from flask_redis_kit.core.settings import ConnectionSettings
from flask_redis_kit.core.url import Endpoint, mask, parse

KEY = "REDIS_DATABASES"
_PLACES = ("url", "host", "unix_socket_path", "sentinel_hosts")
_OF_A_PLACE = (
    *_PLACES,
    "port",
    "ssl",
    "db",
    "username",
    "password",
    "sentinel_master",
    "sentinel_username",
    "sentinel_password",
)
_FOREIGN = ("namespace", "databases")
_HINTS = typing.get_type_hints(CoreConfig)
_FIELDS = {field.name: field for field in dataclasses.fields(CoreConfig)}


class Databases:
    """The named connections of one application. Reads and checks them all; no I/O.

    Raises ``ConfigError`` naming the entry and the cure.
    """

    def __init__(
        self, core: CoreConfig, connectors: Connectors, prefix: str = DEFAULT_PREFIX
    ) -> None:
        self._core = core
        self._prefix = prefix
        self._connectors = connectors
        for name in core.databases:
            _check_name(name)
        self._connectors_by_name = {name: self._named(name) for name in core.databases}

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the setting."""
        return tuple(self._connectors_by_name)

    def connector(self, name: str) -> Connector:
        """The connector of this name; ``"default"`` is the kit's own. No I/O."""
        if name == DEFAULT_NAME:
            return self._connectors.get()
        if name not in self._connectors_by_name:
            known = ", ".join(map(repr, (DEFAULT_NAME, *self._connectors_by_name)))
            raise ConfigError(
                f"There is no connection named {name!r}. Known: {known}; others are added in "
                f"{KEY} = {{{name!r}: 'redis://...'}}.",
                key=KEY,
            )
        return self._connectors_by_name[name]

    def _named(self, name: str) -> Connector:
        followed = [name]
        entry = self._core.databases[name]
        while isinstance(entry, str) and "://" not in entry and not entry.isdecimal():
            if entry == DEFAULT_NAME:
                return self._connectors.get()
            if entry not in self._core.databases:
                raise self._unknown(followed[-1], entry)
            if entry in followed:
                circle = " -> ".join(map(repr, (*followed, entry)))
                raise ConfigError(
                    f"{KEY}: {circle} goes in a circle. One of them must say where it is.", key=KEY
                )
            followed.append(entry)
            entry = self._core.databases[entry]
        return self._read(followed[-1], entry)

    def _read(self, name: str, entry: object) -> Connector:
        where = f"{KEY}[{name!r}]"
        try:
            return self._connectors.to(
                self._settings_of(entry), f"{self._prefix}_DATABASES[{name!r}]"
            )
        except ConfigError as error:
            text = str(error)
            if isinstance(entry, Mapping):  # its settings are called host, not REDIS_HOST
                text = re.sub(r"\bREDIS_([A-Z_]+)", lambda found: found[1].lower(), text)
            raise ConfigError(f"{where}: {text}", key=KEY) from error.__cause__

    def _settings_of(self, entry: object) -> ConnectionSettings:
        if isinstance(entry, Mapping):
            return self._from_settings(entry)
        if isinstance(entry, str) and "://" in entry:
            return settings_at(self._core, parse(entry))
        if isinstance(entry, str | int) and not isinstance(entry, bool):
            return self._on_own_server({"db": int(entry)}, self._core)
        raise ConfigError(
            f"A {type(entry).__name__} is no connection. Give a URL, the number of a database, a "
            "dict of settings (host, port, db, ...), or the name of another connection."
        )

    def _from_settings(self, entry: Mapping[Any, object]) -> ConnectionSettings:
        given: dict[str, Any] = {name: _converted(name, value) for name, value in entry.items()}
        given = {name: value for name, value in given.items() if value is not None}
        places = [name for name in _PLACES if given.get(name)]
        if len(places) > 1:
            raise ConfigError(f"It says where it is by {' and by '.join(places)}: keep one.")
        if not places:
            changes = {name: given.pop(name) for name in _OF_A_PLACE if name in given}
            for name in changes.keys() - {"db", "username", "password"}:
                raise ConfigError(f"{name} needs a host.")
            return self._on_own_server(changes, dataclasses.replace(self._core, **given))
        own: dict[str, Any] = {name: _FIELDS[name].default for name in _OF_A_PLACE}
        if "options" not in given:
            inherited = self._core.options.items()
            own["options"] = {name: value for name, value in inherited if name not in OF_ONE_SERVER}
        core = dataclasses.replace(self._core, **{**own, **given})
        return settings_at(core, endpoint_from(core), strict="options" in given)

    def _on_own_server(self, changes: Mapping[str, Any], core: CoreConfig) -> ConnectionSettings:
        endpoint: Endpoint = endpoint_from(self._core)
        if endpoint.kind == "cluster" and changes.get("db"):
            raise ConfigError("A cluster has only database 0. Name another server.", key="db")
        if changes.get("db", 0) < 0:
            raise ConfigError(f"{changes['db']} is no number of a database.", key="db")
        return settings_at(core, dataclasses.replace(endpoint, **changes))

    def _unknown(self, name: str, entry: str) -> ConfigError:
        near = difflib.get_close_matches(entry, self._core.databases, n=1)
        known = f"Did you mean {near[0]!r}?" if near else "A URL begins with redis://"
        return ConfigError(
            f"{KEY}[{name!r}]: no connection is named {mask(entry)!r}. {known}", key=KEY
        )


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or name.isdecimal() or "://" in name:
        raise ConfigError(f"{KEY}: {name!r} can't name a connection: use a word.", key=KEY)
    if name == DEFAULT_NAME:
        raise ConfigError(
            f"{KEY}: {name!r} is the kit's own connection. Set REDIS_URL, or use another name.",
            key=KEY,
        )


def _converted(name: object, value: object) -> object:
    if not isinstance(name, str) or name not in _FIELDS or name in _FOREIGN:
        near = difflib.get_close_matches(str(name), _FIELDS, n=1)
        cure = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_FIELDS)}."
        raise ConfigError(f"{name!r} is no setting of a connection. {cure}")
    secret = bool(_FIELDS[name].metadata.get("secret"))
    return convert(value, _HINTS[name], name, secret=secret)
