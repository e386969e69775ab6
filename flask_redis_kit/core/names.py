"""What tells several kits of one application apart: name, prefix of the settings, namespace."""

from __future__ import annotations

import re

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


def in_words_of(prefix: str, error: ConfigError) -> ConfigError:
    """The error, naming settings as they are called under this prefix."""
    if prefix == DEFAULT_PREFIX:
        return error
    key = None if error.key is None else _renamed(prefix, error.key)
    return ConfigError(_renamed(prefix, str(error)), key=key)


def _renamed(prefix: str, text: str) -> str:
    return re.sub(rf"\b{DEFAULT_PREFIX}_(?=[A-Z])", f"{prefix}_", text)
