"""What one kit holds in one application: its settings, servers and features."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from flask_redis_kit.core import config
from flask_redis_kit.core.connectors import Connectors
from flask_redis_kit.core.feature import AppState
from flask_redis_kit.core.keys import KeyBuilder, default_namespace
from flask_redis_kit.core.routing import wire_to
from flask_redis_kit.core.wire import Wire


class KitState(AppState):
    """What one kit holds in one application."""

    def __init__(self, app: Flask, kit_name: str, core: config.CoreConfig, prefix: str) -> None:
        super().__init__(app, kit_name)
        self.core = core
        self.prefix = prefix
        self.settings: list[config.Setting] = []
        self.receivers: list[object] = []
        """Receivers of signals, kept alive for as long as the application."""
        self.keys = KeyBuilder(core.namespace or default_namespace(app.name))
        self.connectors = Connectors(core, Path(app.instance_path) / "redis")
        self._wires: dict[str | None, Wire] = {}

    def wire(self, url: str | None = None) -> Wire:
        """The wire to the application's server, or to the one at ``url``; shared by URL."""
        if url not in self._wires:
            connector = self.connectors.get(url)
            wires = (wire for wire in self._wires.values() if wire.connector is connector)
            self._wires[url] = next(wires, None) or wire_to(connector)
        return self._wires[url]

    def wires(self) -> list[Wire]:
        """Each server's wire once."""
        return list(dict.fromkeys(self._wires.values()))
