"""The servers of one application: settings become connectors, one per URL."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis
from werkzeug.utils import import_string

from flask_redis_kit.core.config import CoreConfig, check_number, convert
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.options import OptionValue
from flask_redis_kit.core.settings import ConnectionSettings
from flask_redis_kit.core.url import Endpoint, parse

# what a URL's query or REDIS_OPTIONS may say that we act on; the rest goes to redis-py as it is
_OURS: Mapping[str, tuple[str, Any]] = {
    "max_connections": ("max_connections", int),
    "socket_timeout": ("socket_timeout", float | None),
    "socket_connect_timeout": ("socket_connect_timeout", float),
    "timeout": ("pool_timeout", float),
    "health_check_interval": ("health_check_interval", float),
    "decode_responses": ("decode_responses", bool),
    "client_name": ("client_name", str),
}

# what a URL's query says of the way to the server, not of a connection
_OF_THE_ENDPOINT = frozenset(
    {
        "private",
        "role",
        "force_master_ip",
        "min_other_sentinels",
        "address_remap",
        "dynamic_startup_nodes",
        "load_balancing",
        "reinitialize_steps",
        "require_full_coverage",
    }
)


class Connectors:
    """One connector per URL, made when first asked for; nothing connects before a command."""

    def __init__(self, core: CoreConfig, embedded_directory: Path) -> None:
        self._core = core
        self._embedded_directory = embedded_directory
        self._lock = threading.Lock()
        self._by_settings: list[tuple[ConnectionSettings, Connector]] = []
        self._embedded: dict[str | Path, EmbeddedServer] = {}
        renew_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.Lock()

    def get(self, url: str | None = None) -> Connector:
        """The connector of the application's server, or of the one at ``url``. No I/O.

        Raises ``ConfigError`` for a URL or an option that can't be right.
        """
        return self.to(settings_from(self._core, url))

    def to(self, settings: ConnectionSettings) -> Connector:
        """The connector with these settings. No I/O."""
        with self._lock:
            for known, connector in self._by_settings:
                if known == settings:
                    return connector
            connector = Connector(settings, embedded_server=self._server_for(settings.endpoint))
            _try_options(connector)
            self._by_settings.append((settings, connector))
            return connector

    def close(self) -> None:
        """Close all connections and let go of embedded servers."""
        with self._lock:
            for _, connector in self._by_settings:
                connector.close()
            for server in self._embedded.values():
                server.release()

    def _server_for(self, endpoint: Endpoint) -> EmbeddedServer | None:
        if endpoint.kind != "embedded":
            return None
        private = bool(endpoint.option("private", False))
        place = "private" if private else Path(endpoint.path or self._embedded_directory)
        if place not in self._embedded:
            # whatever the database and the options: the same directory is the same server
            directory = None if private else place
            self._embedded[place] = EmbeddedServer(directory, private=private)
        return self._embedded[place]


def settings_from(core: CoreConfig, url: str | None = None) -> ConnectionSettings:
    """The settings of one server: the URL's query beats flat keys, which beat REDIS_OPTIONS.

    Raises ``ConfigError``; for ``url`` its reader knows the name of the setting.
    """
    return settings_at(core, parse(url) if url is not None else endpoint_from(core))


def endpoint_from(core: CoreConfig) -> Endpoint:
    """Where REDIS_URL, or else the flat keys, say that the server is."""
    if not core.url:
        return _flat_endpoint(core)
    return _completed(_parsed(core.url, "REDIS_URL"), core, core.url)


def settings_at(core: CoreConfig, endpoint: Endpoint) -> ConnectionSettings:
    """The settings of the server at ``endpoint``, which has options of its own."""
    values: dict[str, Any] = {
        "max_connections": core.max_connections,
        "socket_timeout": core.socket_timeout,
        "socket_connect_timeout": core.socket_connect_timeout,
        "pool_timeout": core.pool_timeout,
        "health_check_interval": core.health_check_interval,
        "decode_responses": core.decode_responses,
        "client_name": core.client_name,
        "maintenance_notifications": core.maintenance_notifications,
        "breaker_failures": core.breaker_failures,
        "breaker_open_seconds": core.breaker_open_seconds,
        "client_class": _client_class(core.client_class),
    }
    extra: dict[str, Any] = {}
    defaults = CoreConfig()
    for name, value in core.options.items():
        if name in _OURS:
            field, kind = _OURS[name]
            if values[field] == getattr(defaults, field):  # a flat key beats REDIS_OPTIONS
                values[field] = convert(value, kind, f"REDIS_OPTIONS[{name!r}]")
                check_number(field, values[field], f"REDIS_OPTIONS[{name!r}]")
        else:
            extra[name] = value
    for name, value in endpoint.options:
        if name in _OURS:
            values[_OURS[name][0]] = value
        elif name not in _OF_THE_ENDPOINT and not name.startswith("sentinel_"):
            extra[name] = value
    return ConnectionSettings(endpoint=endpoint, extra=extra, **values)


def _try_options(connector: Connector) -> None:
    """Make a connection, which connects to nothing: redis-py names the option it doesn't know."""
    pool = connector.pool
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigError(
            f"REDIS_OPTIONS can't be given to redis-py: {error}", key="REDIS_OPTIONS"
        ) from error


def _parsed(url: str, key: str) -> Endpoint:
    try:
        return parse(url)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}", key=error.key or key) from None


def _flat_endpoint(core: CoreConfig) -> Endpoint:
    if core.sentinel_hosts:
        return _sentinel_endpoint(core)
    if core.unix_socket_path:
        return Endpoint(
            "unix",
            path=core.unix_socket_path,
            db=core.db or 0,
            username=core.username,
            password=core.password,
        )
    return Endpoint(
        "tcp",
        tls=core.ssl,
        hosts=((_host(core.host), _port(core.port)),),
        db=core.db or 0,
        username=core.username,
        password=core.password,
    )


def _sentinel_endpoint(core: CoreConfig) -> Endpoint:
    """``REDIS_SENTINEL_HOSTS="a:26379,b:26379"``, read as a URL would be."""
    scheme = "rediss+sentinel" if core.ssl else "redis+sentinel"
    found = _parsed(f"{scheme}://{','.join(core.sentinel_hosts)}", "REDIS_SENTINEL_HOSTS")
    options: list[tuple[str, OptionValue]] = list(found.options)
    if core.sentinel_username:
        options.append(("sentinel_username", core.sentinel_username))
    if core.sentinel_password:
        options.append(("sentinel_password", core.sentinel_password))
    return replace(
        found,
        service=core.sentinel_master,
        db=core.db or 0,
        username=core.username,
        password=core.password,
        options=tuple(options),
    )


def _host(host: str | None) -> str:
    host = (host or "localhost").removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[\w.-]+|[0-9A-Fa-f:.]+(%[\w.-]+)?", host):
        # not shown: it may be a URL with a password
        raise ConfigError(
            "REDIS_HOST must be the name or the address of a host and nothing else: a port goes "
            "into REDIS_PORT, a whole URL into REDIS_URL.",
            key="REDIS_HOST",
        )
    return host


def _port(port: int | None) -> int:
    if port is None:
        return 6379
    if not 0 < port < 65536:
        raise ConfigError(f"REDIS_PORT={port} is no port: 1 to 65535.", key="REDIS_PORT")
    return port


def _completed(endpoint: Endpoint, core: CoreConfig, url: str) -> Endpoint:
    """The flat keys fill in what a URL leaves open; what the URL says, wins."""
    if endpoint.kind == "embedded":
        return endpoint
    path = {"tcp": r"/\d", "sentinel": r"/[^/?#]*/\d"}.get(endpoint.kind)
    says_db = re.search(r"[?&]db=", url) or (path and re.match(r"[^:]+://[^/?#]*" + path, url))
    return replace(
        endpoint,
        username=endpoint.username if endpoint.username is not None else core.username,
        password=endpoint.password if endpoint.password is not None else core.password,
        db=endpoint.db if says_db or core.db is None else core.db,
    )


def _client_class(given: object) -> type[redis.Redis]:
    if given is None:
        return redis.Redis
    try:
        found = import_string(given) if isinstance(given, str) else given
    except ImportError as error:
        cause = getattr(error, "exception", error)
        raise ConfigError(
            f"REDIS_CLASS={given!r} can't be imported: {cause}", key="REDIS_CLASS"
        ) from error
    if not (isinstance(found, type) and issubclass(found, redis.Redis)):
        raise ConfigError(
            f"REDIS_CLASS={given!r} is no subclass of redis.Redis.", key="REDIS_CLASS"
        )
    return found
