"""What tells several kits of one application apart: name, prefix of the settings, namespace."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.keys import default_namespace

DEFAULT_NAME = "default"
DEFAULT_PREFIX = "REDIS"

_LONGEST_NAMESPACE = 32
_LONGEST_NAME = 24
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{_LONGEST_NAME - 1}}}")
_PREFIX = re.compile(r"[A-Za-z](?:\w*[A-Za-z0-9])?", re.ASCII)


def checked_kit_name(name: object) -> str:
    """The name of a kit, if it can stand in a command and in a key; else ``ConfigError``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"name={name!r} can't name a kit: it stands in a command (flask redis-two) and in its "
            f"keys. Use 1 to {_LONGEST_NAME} letters, digits, '_' or '-'.",
            key="name",
        )
    return name


def checked_prefix(prefix: object) -> str:
    """The start of a kit's config keys, without the underscore that follows it."""
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ConfigError(
            f"config_prefix={prefix!r} can't begin a config key: use letters, digits and '_', "
            "without the '_' at the end, such as REDIS2 for REDIS2_URL.",
            key="config_prefix",
        )
    return prefix


def kit_namespace(app_name: str, kit_name: str) -> str:
    """The namespace of a kit that sets none: ``shop``, and ``shop.two`` of a kit named ``two``."""
    namespace = default_namespace(app_name)
    if kit_name == DEFAULT_NAME:
        return namespace
    return f"{namespace[: _LONGEST_NAMESPACE - 1 - len(kit_name)]}.{kit_name}"


def group_name(kit_name: str) -> str:
    """The command group of a kit: ``flask redis``, or ``flask redis-two``."""
    return "redis" if kit_name == DEFAULT_NAME else f"redis-{kit_name}"


@dataclass(frozen=True, slots=True)
class SettingNames:
    """What the settings of one connection are called: for messages that name the one to change.

    ``prefix``  of the kit's config keys.
    ``place``   the setting that says where the server is, if it isn't the kit's own: a feature's
                ``REDIS_CACHE_URL``, or ``REDIS_DATABASES['reports']``.
    """

    prefix: str = DEFAULT_PREFIX
    place: str | None = None

    def of(self, name: str) -> str:
        """The config key of a plain setting: ``SHOP_SOCKET_TIMEOUT`` of ``SOCKET_TIMEOUT``."""
        return f"{self.prefix}_{name}"

    @property
    def url(self) -> str:
        """Where it says where the server is."""
        return self.place or self.of("URL")

    @property
    def credentials(self) -> str:
        """Where it says who we are."""
        if self.place is not None:
            return f"the user and the password in {self.place}"
        return (
            f"{self.of('USERNAME')} and {self.of('PASSWORD')}, or the user:password@ part of "
            f"{self.url}"
        )

    @property
    def sentinel_credentials(self) -> str:
        """Where it says who we are for the Sentinels."""
        if self.place is not None:
            return (
                f"sentinel_username and sentinel_password in {self.place}; its user and password "
                "are for the data servers"
            )
        return (
            f"{self.of('SENTINEL_USERNAME')} and {self.of('SENTINEL_PASSWORD')}, or "
            f"?sentinel_password= in {self.url}; {self.of('PASSWORD')} is for the data servers"
        )

    @property
    def database(self) -> str:
        """Where it gives the number of the database."""
        if self.place is not None:
            return f"in {self.place}"
        return f"in {self.of('DB')} or at the end of {self.url}"


def in_words_of(prefix: str, error: ConfigError) -> ConfigError:
    """The error, naming settings as they are called under this prefix."""
    if prefix == DEFAULT_PREFIX:
        return error
    key = None if error.key is None else _renamed(prefix, error.key)
    return ConfigError(_renamed(prefix, str(error)), key=key)


def _renamed(prefix: str, text: str) -> str:
    return re.sub(rf"\b{DEFAULT_PREFIX}_(?=[A-Z])", f"{prefix}_", text)
