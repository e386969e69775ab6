"""How to reach one server: what the URL, the flat keys and the options came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from redis import CredentialProvider
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.names import SettingNames
from flask_redis_kit.core.url import Endpoint

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How to reach one server. Times are seconds; ``extra`` goes to redis-py's connection as is.

    ``names``: what these settings are called; they are the same under another name.
    """

    endpoint: Endpoint
    max_connections: int = 50
    socket_timeout: float | None = 0.5
    socket_connect_timeout: float = 0.5
    pool_timeout: float = 0.2
    health_check_interval: float = 30.0
    decode_responses: bool = False
    client_name: str | None = None
    maintenance_notifications: bool = False
    client_class: type[redis.Redis] = redis.Redis
    breaker_failures: int = 3
    breaker_open_seconds: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    names: SettingNames = field(default=SettingNames(), compare=False)

    def connection_kwargs(self) -> dict[str, Any]:
        """What every connection of redis-py gets, wherever it goes."""
        given = {
            "db": self.endpoint.db,
            "username": self.endpoint.username,
            "password": self.endpoint.password,
            "socket_timeout": self.socket_timeout,
            "socket_connect_timeout": self.socket_connect_timeout,
            "health_check_interval": self.health_check_interval,
            "decode_responses": self.decode_responses,
            "client_name": self.client_name,
            "retry": no_retry(),
            **driver_name(),
            **self.extra,
        }
        if given.get("credential_provider") is not None:
            given["credential_provider"] = Credentials(
                given["credential_provider"], self.names.of("OPTIONS")
            )
        return given


class Credentials(CredentialProvider):
    """Asks a provider, which may fail in ways of its own, at every connect."""

    def __init__(self, provider: CredentialProvider, setting: str) -> None:
        self._provider = provider
        self._setting = setting

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password; ``ServerUnavailable`` if the provider raises."""
        try:
            return self._provider.get_credentials()
        except Exception as error:
            # redis-py would keep the connection, which has not logged in
            raise ServerUnavailable(
                f"The credential_provider of {self._setting} gave no credentials: {error}"
            ) from error


def no_retry() -> Retry:
    """redis-py sends again whatever it likes; the wire sends again what is safe."""
    return Retry(NoBackoff(), 0)


def driver_name() -> dict[str, Any]:
    """How ``CLIENT LIST`` shows us; redis-py before 7.2 knows no ``driver_info``."""
    try:
        from redis.driver_info import DriverInfo  # noqa: PLC0415  # not in every redis-py
    except ImportError:
        return {"lib_name": f"redis-py(flask-redis-kit_v{VERSION})"}
    return {"driver_info": DriverInfo().add_upstream_driver("flask-redis-kit", VERSION)}
