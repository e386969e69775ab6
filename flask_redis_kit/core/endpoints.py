"""From an application's settings to where a server is and how to talk to it.

What a URL says beats the flat keys, which beat ``REDIS_OPTIONS``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import redis
from werkzeug.utils import import_string

from flask_redis_kit.core.aliases import canonical
from flask_redis_kit.core.config import CoreConfig, check_number, convert
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.options import OPTIONS, SYNONYMS, OptionValue, read
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

# what REDIS_OPTIONS may say of the endpoint, and a flat key of the same name says better
OF_ONE_SERVER: Mapping[str, Any] = {"username": str, "password": str, "db": int}
_FLAT: Mapping[str, str] = {
    "host": "REDIS_HOST",
    "port": "REDIS_PORT",
    "ssl": "REDIS_SSL",
    "unix_socket_path": "REDIS_UNIX_SOCKET_PATH",
    "path": "REDIS_UNIX_SOCKET_PATH",
    "service": "REDIS_SENTINEL_MASTER",
}


def settings_from(core: CoreConfig, url: str | None = None) -> ConnectionSettings:
    """The settings of one server: the URL's query beats flat keys, which beat REDIS_OPTIONS.

    Raises ``ConfigError``; for ``url`` its reader knows the name of the setting.
    """
    if url is None:
        return settings_at(core, endpoint_from(core), strict=True)
    return settings_at(core, parse(url))


def endpoint_from(core: CoreConfig) -> Endpoint:
    """Where REDIS_URL, or else the flat keys, say that the server is."""
    core = _filled(core)
    if not core.url:
        return _flat_endpoint(core)
    endpoint = _parsed(core.url, "REDIS_URL")
    return _completed(endpoint, core, canonical(core.url))


def settings_at(
    core: CoreConfig, endpoint: Endpoint, *, strict: bool = False
) -> ConnectionSettings:
    """The settings of the server at ``endpoint``, which has options of its own.

    REDIS_OPTIONS are meant for the application's own server: where they mean nothing for another,
    it goes without them, unless ``strict``.
    """
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
    of_endpoint: dict[str, Any] = {}
    defaults = CoreConfig()
    for name, given in core.options.items():
        value = _checked_option(name, given, endpoint, strict=strict)
        if name in OF_ONE_SERVER or value is None:
            continue
        if name in _OURS:
            field, kind = _OURS[name]
            if values[field] == getattr(defaults, field):  # a flat key beats REDIS_OPTIONS
                values[field] = convert(value, kind, f"REDIS_OPTIONS[{name!r}]")
                check_number(field, values[field], f"REDIS_OPTIONS[{name!r}]")
        elif _is_of_endpoint(name):
            of_endpoint[SYNONYMS.get(name, name)] = value
        else:
            extra[name] = value
    for name, value in endpoint.options:
        if name in _OURS:
            values[_OURS[name][0]] = value
        elif not _is_of_endpoint(name):
            extra[name] = value
    options = tuple((of_endpoint | dict(endpoint.options)).items())
    return ConnectionSettings(endpoint=replace(endpoint, options=options), extra=extra, **values)


def _is_of_endpoint(name: str) -> bool:
    return SYNONYMS.get(name, name) in _OF_THE_ENDPOINT or name.startswith("sentinel_")


def _filled(core: CoreConfig) -> CoreConfig:
    """Flat keys beat what REDIS_OPTIONS say of user, password and database."""
    filled: dict[str, Any] = {
        name: convert(core.options[name], kind, f"REDIS_OPTIONS[{name!r}]", secret=True)
        for name, kind in OF_ONE_SERVER.items()
        if name in core.options and getattr(core, name) is None
    }
    return replace(core, **filled)


def _checked_option(name: str, value: Any, endpoint: Endpoint, *, strict: bool) -> Any:
    """The value of one of REDIS_OPTIONS; None if it isn't for this server."""
    if name in _FLAT:
        raise ConfigError(
            f"REDIS_OPTIONS[{name!r}]: use {_FLAT[name]} or REDIS_URL.", key="REDIS_OPTIONS"
        )
    if name == "credential_provider":
        return _checked_provider(value, endpoint, strict=strict)
    option = OPTIONS.get(name)
    if option is None:
        return value
    if endpoint.kind not in option.kinds or (option.tls and not endpoint.tls):
        if not strict:
            return None
        cure = "needs TLS: begin the URL with rediss://, or set REDIS_SSL=true"
        if endpoint.kind not in option.kinds:
            cure = f"means nothing for {endpoint.address}: remove it"
        raise ConfigError(f"REDIS_OPTIONS[{name!r}] {cure}.", key="REDIS_OPTIONS")
    if not isinstance(value, str) or name in _OURS:
        return value
    try:
        return read(name, value, kind=endpoint.kind, tls=endpoint.tls)
    except ConfigError as error:
        raise ConfigError(f"REDIS_OPTIONS: {error}", key="REDIS_OPTIONS") from None


def _parsed(url: str, key: str) -> Endpoint:
    try:
        return parse(url)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}", key=error.key or key) from None


def _checked_provider(value: Any, endpoint: Endpoint, *, strict: bool) -> Any:
    if value is not None and not callable(getattr(value, "get_credentials", None)):
        raise ConfigError(
            "REDIS_OPTIONS['credential_provider'] must be a redis.CredentialProvider: an object "
            f"with get_credentials(), not a {type(value).__name__}.",
            key="REDIS_OPTIONS",
        )
    if value is None or not (endpoint.username or endpoint.password):
        return value
    if not strict:
        return None  # that server has credentials of its own
    raise ConfigError(
        "REDIS_OPTIONS['credential_provider'] gives user and password, and so does REDIS_URL, "
        "REDIS_USERNAME or REDIS_PASSWORD: keep one of them.",
        key="REDIS_OPTIONS",
    )


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
