"""Where user and password come from, and providers that give new ones at every connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis import CredentialProvider

from flask_redis_kit import ConfigError, RedisKit
from flask_redis_kit.core.errors import ServerRefused, ServerUnavailable
from tests.harness.servers import Server


class Rotating(CredentialProvider):
    """Gives the password that is right now; counts how often it was asked."""

    def __init__(self, user: str, password: str) -> None:
        self.user, self.password, self.asked = user, password, 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return self.user, self.password


class Broken(CredentialProvider):
    """As one whose service is away."""

    def get_credentials(self) -> tuple[str]:
        raise LookupError("the token service is away")


def make_kit(**settings: Any) -> RedisKit:
    app = Flask("shop")
    app.config.update(settings)
    kit = RedisKit(app)
    kit.app = app  # type: ignore[attr-defined]  # the state goes with the application
    return kit


@pytest.mark.parametrize("protocol", [2, 3])
def test_new_credentials_are_used_at_each_connect(
    own_server: Callable[..., Server], protocol: int
) -> None:
    server = own_server(users={"app": "on >first ~* &* +@all"})
    admin = server.client()
    provider = Rotating("app", "first")
    kit = make_kit(
        REDIS_URL=server.url, REDIS_OPTIONS={"credential_provider": provider, "protocol": protocol}
    )
    assert kit.client.set("a", "1")
    assert kit.client.get("a") == b"1"
    assert provider.asked == 1

    admin.acl_setuser("app", enabled=True, passwords=["+second", "-first"])
    assert kit.client.get("a") == b"1"  # who is in stays in
    admin.execute_command("CLIENT", "KILL", "USER", "app")  # type: ignore[no-untyped-call]
    provider.password = "second"
    assert kit.client.get("a") == b"1"
    with kit.app.app_context():
        kit.cache.set("b", 2)
        assert kit.cache.get("b") == 2
    assert provider.asked == 2

    kit.connector().pool.disconnect()
    provider.password = "wrong"
    with pytest.raises(ServerRefused, match="refused the user or password"):
        kit.client.get("a")
    kit.close()


def test_a_provider_that_fails_is_told_from_a_server_that_fails(server: Server) -> None:
    kit = make_kit(REDIS_URL=server.url, REDIS_OPTIONS={"credential_provider": Broken()})
    for _ in range(2):
        with pytest.raises(ServerUnavailable) as caught:
            kit.client.get("a")
        assert "credential_provider" in str(caught.value)
        assert "the token service is away" in str(caught.value)
    kit.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"REDIS_URL": "redis://u:sesame@h"},
        {"REDIS_URL": "redis://h?password=sesame"},
        {"REDIS_PASSWORD": "sesame"},
        {"REDIS_USERNAME": "u"},
    ],
)
def test_a_provider_beside_a_user_or_password_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_kit(**settings, REDIS_OPTIONS={"credential_provider": Rotating("u", "p")})
    assert "keep one of them" in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert caught.value.key == "REDIS_OPTIONS"


def test_what_is_no_provider_is_refused() -> None:
    with pytest.raises(ConfigError, match="get_credentials"):
        make_kit(REDIS_OPTIONS={"credential_provider": "arn:aws:..."})


def test_another_server_with_a_password_of_its_own_does_not_ask_the_provider(
    own_server: Callable[..., Server], server: Server
) -> None:
    other = own_server(password="sesame")
    provider = Rotating("default", "unused")
    kit = make_kit(
        REDIS_URL="redis://elsewhere",
        REDIS_OPTIONS={"credential_provider": provider},
        REDIS_DATABASES={"other": other.url},
    )
    assert kit.connection("other").ping()
    assert provider.asked == 0
    kit.close()


def test_user_and_password_in_the_options_are_beaten_by_flat_keys_and_the_url() -> None:
    options = {"username": "o", "password": "of-options", "db": "7"}
    for settings, expected in (
        ({}, ("o", "of-options", 7)),
        ({"REDIS_PASSWORD": "flat", "REDIS_DB": 3}, ("o", "flat", 3)),
        ({"REDIS_URL": "redis://u:url@h/2"}, ("u", "url", 2)),
    ):
        kit = make_kit(**settings, REDIS_OPTIONS=options, REDIS_DATABASES={"a": "redis://other"})
        found = kit.connector().settings
        endpoint = found.endpoint
        assert (endpoint.username, endpoint.password, endpoint.db) == expected
        kwargs = found.connection_kwargs()
        assert (kwargs["username"], kwargs["password"], kwargs["db"]) == expected
        other = kit.state().databases.connector("a").settings.connection_kwargs()
        assert (other["username"], other["password"], other["db"]) == (None, None, 0)
