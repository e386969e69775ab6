"""The servers of one application: settings become connectors, one per URL."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import redis

from flask_redis_kit.core.config import CoreConfig
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.embedded import EmbeddedServer
from flask_redis_kit.core.endpoints import settings_from
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.fork import renew_in_child
from flask_redis_kit.core.names import DEFAULT_PREFIX, SettingNames
from flask_redis_kit.core.settings import ConnectionSettings
from flask_redis_kit.core.url import Endpoint


class Connectors:
    """One connector per URL, made when first asked for; nothing connects before a command."""

    def __init__(
        self, core: CoreConfig, embedded_directory: Path, prefix: str = DEFAULT_PREFIX
    ) -> None:
        self._core = core
        self._prefix = prefix
        self._embedded_directory = embedded_directory
        self._lock = threading.Lock()
        self._by_settings: list[tuple[ConnectionSettings, Connector]] = []
        self._embedded: dict[str | Path, EmbeddedServer] = {}
        renew_in_child(self)

    def after_fork(self) -> None:
        """In a forked child: the lock may be held by a thread that doesn't exist here."""
        self._lock = threading.Lock()

    def get(self, url: str | None = None, place: str | None = None) -> Connector:
        """The connector of the application's server, or of the one at ``url``. No I/O.

        ``place``: the setting that gives the URL, for messages. Raises ``ConfigError`` for a URL or
        an option that can't be right.
        """
        return self.to(settings_from(self._core, url), place)

    def to(self, settings: ConnectionSettings, place: str | None = None) -> Connector:
        """The connector with these settings. No I/O."""
        settings = replace(settings, names=SettingNames(self._prefix, place))
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


def _try_options(connector: Connector) -> None:
    """Make a connection, which connects to nothing: redis-py names the option it doesn't know."""
    try:
        connector.pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigError(
            f"REDIS_OPTIONS can't be given to redis-py: {error}", key="REDIS_OPTIONS"
        ) from error
