"""Short links: ``kit.shortlinks.put("docs", "https://…")``, ``kit.shortlinks.get("docs")``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import click

from flask_redis_kit import Context, Feature, KeySpec
from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.exchange import Exchange, first

NOTHING = "no feature"


@dataclass(frozen=True, slots=True)
class ShortlinksConfig(FeatureConfig):
    """``REDIS_SHORTLINKS_LIFETIME``: seconds that a link lives."""

    lifetime: int = 3600


class Shortlinks:
    """The links of one application."""

    def __init__(self, context: Context[ShortlinksConfig]) -> None:
        self.context = context
        self.closed = False

    def key(self, name: str) -> str:
        """Links with one name share a slot."""
        return self.context.keys.key(name, "shortlinks", "l", name)

    def put(self, name: str, target: str) -> Exchange[bytes]:
        """Store a link."""
        lifetime = str(self.context.config.lifetime)
        command = ("SET", self.key(name), target, "EX", lifetime)
        return Exchange("shortlinks", self.key(name), [command], first, idempotent=True)

    def get(self, name: str) -> Exchange[bytes | None]:
        """Look a link up."""
        command = ("GET", self.key(name))
        return Exchange("shortlinks", self.key(name), [command], first, read_only=True)


class ShortlinksFeature(Feature[ShortlinksConfig, Shortlinks]):
    """``kit.shortlinks``."""

    name: ClassVar[str] = "shortlinks"
    config_class = ShortlinksConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = (
        KeySpec(
            "frk:{<ns>:<name>}:shortlinks:l:<name>",
            "string",
            "REDIS_SHORTLINKS_LIFETIME",
            "where a short link leads",
        ),
    )

    def build(self, context: Context[ShortlinksConfig]) -> Shortlinks:
        """No I/O."""
        return Shortlinks(context)

    def put(self, name: str, target: str) -> None:
        """Store a link: one round trip."""
        if self.context().config.enabled:
            self.context().send(self.engine().put(name, target))

    def put_later(self, name: str, target: str) -> None:
        """Store a link at the end of the request."""
        if self.context().config.enabled:
            self.context().defer(self.engine().put(name, target))

    def get(self, name: str) -> str | None:
        """Where a link leads; None if there is none. One round trip."""
        if not self.context().config.enabled:
            return None
        found = self.context().send(self.engine().get(name))
        return None if found is None else found.decode()

    def commands(self) -> Sequence[click.Command]:
        """``flask redis shortlink docs``."""

        @click.command("shortlink")
        @click.argument("name")
        def shortlink(name: str) -> None:
            """Show where a short link leads."""
            click.echo(self.get(name) or "nowhere")

        return [shortlink]

    def close(self, engine: Shortlinks) -> None:
        """Nothing was opened; remember it for the tests."""
        engine.closed = True


class UnmakeableFeature(ShortlinksFeature):
    """As one that expects arguments."""

    def __init__(self, lifetime: int) -> None:
        raise AssertionError(f"never reached with {lifetime}")
