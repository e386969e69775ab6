"""What one kit holds in one application: its settings, servers and features."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from flask_redis_kit.core import config
from flask_redis_kit.core.connection import Connector
from flask_redis_kit.core.connectors import Connectors
from flask_redis_kit.core.counters import Counters
from flask_redis_kit.core.databases import Databases
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.feature import AppState
from flask_redis_kit.core.health import Server
from flask_redis_kit.core.keys import KeyBuilder
from flask_redis_kit.core.names import kit_namespace
from flask_redis_kit.core.routing import wire_to
from flask_redis_kit.core.wire import Wire


class KitState(AppState):
    """What one kit holds in one application."""

    def __init__(self, app: Flask, kit_name: str, core: config.CoreConfig, prefix: str) -> None:
        super().__init__(app, kit_name)
        self.core = core
        self.prefix = prefix
        self.settings: list[config.Setting] = []
        self.closed = False
        """Whether ``kit.close()`` was called; what is used again nevertheless is opened again."""
        self.receivers: list[object] = []
        """Receivers of signals, kept alive for as long as the application."""
        self.keys = KeyBuilder(core.namespace or kit_namespace(app.name, kit_name))
        self.connectors = Connectors(core, Path(app.instance_path) / "redis", prefix)
        self.databases = Databases(core, self.connectors, prefix)
        self._wires: dict[str | None, Wire] = {}
        self._named: dict[Connector, Wire] = {}
        self._counters: dict[Wire, Counters] = {}

    def wire(self, url: str | None = None, place: str | None = None) -> Wire:
        """The wire to the application's server, or to the one at ``url``; shared by URL.

        ``place``: the setting that gives the URL, for messages.
        """
        if url not in self._wires:
            connector = self.connectors.get(url, place)
            wires = (wire for wire in self._wires.values() if wire.connector is connector)
            self._wires[url] = next(wires, None) or wire_to(connector)
        return self._wires[url]

    def counters(self, wire: Wire) -> Counters:
        """The counters of all features on one server."""
        if wire not in self._counters:
            self._counters[wire] = Counters(wire, self.keys)
        return self._counters[wire]

    def owns(self, counters: Counters) -> bool:
        """Whether these are this application's."""
        return any(each is counters for each in list(self._counters.values()))

    def report_counts(self) -> None:
        """Add what this process has counted to the counts of all."""
        for counters in self._counters.values():
            counters.flush()

    def wires(self) -> list[Wire]:
        """The wire of each server that the kit itself uses, once."""
        return list(dict.fromkeys(self._wires.values()))

    def servers(self) -> list[Server]:
        """Every server of the application once, those of its named connections behind the others.

        No I/O.
        """
        names: dict[Wire, tuple[str, ...]] = dict.fromkeys(self.wires(), ())
        for name in self.databases.names:
            wire = self._wire_of(self.databases.connector(name))
            names[wire] = (*names.get(wire, ()), name)
        return [
            Server(wire, tuple(f for f, c in self.contexts.items() if c.wire is wire), databases)
            for wire, databases in names.items()
        ]

    def _wire_of(self, connector: Connector) -> Wire:
        """The wire of a named connection, be it that of a server of the kit's own."""
        for wire in self._wires.values():
            if wire.connector is connector:
                return wire
        return self._named.setdefault(connector, wire_to(connector))


def refuse_clash(one: KitState, other: KitState) -> None:
    """Two kits of one application must not read each other's settings or write each other's keys.

    With keys in common each would count, invalidate and run what is the other's. ``ConfigError``
    names the kits and the cure.
    """
    longer, shorter = sorted((one.prefix, other.prefix), key=len, reverse=True)
    if longer.startswith(f"{shorter}_"):
        raise ConfigError(
            f"config_prefix={longer!r} begins like {shorter!r}, so {longer}_URL looks like a "
            f"setting of both kits. Choose another, such as {shorter}2.",
            key="config_prefix",
        )
    if one.keys.namespace != other.keys.namespace:
        return
    for name in one.contexts.keys() & other.contexts.keys():
        place = one.contexts[name].wire.connector.address
        if place == other.contexts[name].wire.connector.address:
            key = f"{one.prefix}_NAMESPACE"
            raise ConfigError(
                f"{key}: the kits {other.kit_name!r} and {one.kit_name!r} would both keep their "
                f"{name} under the namespace {one.keys.namespace!r} on {place}. Give one of them "
                "another namespace (and a config_prefix of its own, where they share one).",
                key=key,
            )
