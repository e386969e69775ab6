"""The one place where keys are named: ``frk:{<namespace>:<tag>}:<feature>:<kind>[:<name>]``.

The braces are the Cluster hash tag: keys with the same namespace and tag share a slot, so one
script may use them together. Pub/sub channels are named the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from flask_redis_kit.core.errors import ConfigError

PREFIX = "frk:"
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One kind of key that a feature writes; the docs table and the leak check read it.

    ``pattern``  with placeholders in angle brackets: ``frk:{<ns>:<tag>}:cache:v:<digest>``.
    ``type``     the type of the value: string, hash, list, set, zset, stream; or channel.
    ``ttl``      how long it lives, in words; None: no expiry, and ``meaning`` says what caps it.
    ``meaning``  what it is for.
    """

    pattern: str
    type: str
    ttl: str | None
    meaning: str


class KeyBuilder:
    """Builds the keys of one application's namespace."""

    __slots__ = ("_start", "namespace")

    def __init__(self, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._start = f"{PREFIX}{{{namespace}:"

    def key(self, tag: str, feature: str, kind: str, name: str | None = None) -> str:
        """The key of ``name`` (or of the whole ``kind``) in the slot of ``tag``.

        ``tag`` must hold no brace: user input goes in hashed.
        """
        if name is None:
            return f"{self._start}{tag}}}:{feature}:{kind}"
        return f"{self._start}{tag}}}:{feature}:{kind}:{name}"

    def __repr__(self) -> str:
        return f"KeyBuilder({self.namespace!r})"


def checked_namespace(namespace: str) -> str:
    """The namespace, if it can stand in a key; else ``ConfigError``."""
    if not _NAMESPACE.match(namespace):
        raise ConfigError(
            f"REDIS_NAMESPACE={namespace!r} can't stand in a key: use 1 to 32 letters, digits, "
            "'_', '.' or '-'.",
            key="REDIS_NAMESPACE",
        )
    return namespace


def default_namespace(app_name: str) -> str:
    """An application's name made fit for a key: ``my shop/api`` becomes ``my-shop-api``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", app_name)[:32].strip("-") or "app"


@lru_cache(maxsize=256)
def key_pattern(spec: KeySpec) -> re.Pattern[bytes]:
    """A pattern that the keys of ``spec`` match in full."""
    parts = re.split(r"<[^>]*>", spec.pattern)
    return re.compile(b".+".join(re.escape(part.encode()) for part in parts), re.DOTALL)
