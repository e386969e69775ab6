"""``flask redis``: the connection and, from each feature, its own commands."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

from flask_redis_kit.core import health
from flask_redis_kit.core.counters import KEYSPACE
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Feature
from flask_redis_kit.core.names import DEFAULT_NAME, group_name
from flask_redis_kit.core.state import KitState
from flask_redis_kit.core.tables import table


def install_commands(app: Flask, kit_name: str, features: Sequence[Feature[Any, Any]]) -> None:
    """Add ``flask redis`` (or ``flask redis-<name>`` for a kit with another name) to an app."""
    which = "" if kit_name == DEFAULT_NAME else f" of the kit {kit_name!r}"
    group = AppGroup(
        group_name(kit_name), help=f"The application's Redis{which}: connection, features, keys."
    )
    commands = _commands(kit_name)
    for feature in features:
        commands += feature.commands()
    for command in commands:
        group.add_command(_in_app_context(command))
    app.cli.add_command(group)


def _in_app_context(command: click.Command) -> click.Command:
    """The command, run inside the application's context; for a group, each of its commands."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _in_app_context(inner)
    elif command.callback is not None:
        command.callback = with_appcontext(_told(command.callback))
    return command


def _told(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A setting with which a feature can't work, as a sentence and not as a traceback."""

    @functools.wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return callback(*args, **options)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error

    return run


def _state(kit_name: str) -> KitState:
    state: KitState = current_app.extensions["redis_kit"][kit_name]
    return state


def _commands(kit_name: str) -> list[click.Command]:
    @click.command("ping")
    def ping() -> None:
        """Ask each server for an answer; exit code 1 if one gives none."""
        failed = False
        for found in health.check_all(_state(kit_name).servers()):
            failed = failed or not found.ok
            called = f" ({', '.join(found.databases)})" if found.databases else ""
            if found.ok:
                who = f"{found.server} {found.version}" if found.server else "the server"
                click.echo(f"{found.address}{called}: {who} answers in {found.latency_ms} ms")
            else:
                click.echo(f"{found.address}{called}: {found.error}", err=True)
        if failed:
            raise SystemExit(1)

    @click.command("info")
    @click.option("--json", "as_json", is_flag=True, help="For programs.")
    def info(as_json: bool) -> None:
        """Show each server, and warn of settings that lose data."""
        state = _state(kit_name)
        found = health.check_all(state.servers())
        if as_json:
            click.echo(json.dumps([server.as_dict() for server in found], indent=2))
        else:
            for n, server in enumerate(found):
                if n:
                    click.echo()
                table(_described(server))
        for server in found:
            for warning in health.warnings(server):
                _show_warning(warning)
        if all(server.ok for server in found):
            _warn(state)
        else:
            raise SystemExit(1)

    @click.command("config")
    def config() -> None:
        """Show the effective settings, secrets masked, and where each came from."""
        state = _state(kit_name)
        rows = [("setting", "value", "from")]
        rows += [(item.key, item.value, item.source) for item in state.settings]
        table(rows)
        click.echo(f"\nnamespace: {state.keys.namespace}")
        click.echo(f"server:    {state.connectors.get().address}")
        for name in state.databases.names:
            click.echo(f"database {name}: {state.databases.connector(name).address}")

    @click.command("features")
    def features() -> None:
        """List the features, on or off, and the server each one uses."""
        state = _state(kit_name)
        rows = [("feature", "state", "server")]
        for name, context in state.contexts.items():
            switched = "on" if context.config.enabled else "off"
            rows.append((name, switched, context.wire.connector.address))
        table(rows)

    @click.command("keys")
    def keys() -> None:
        """List every kind of key that the features write."""
        rows = [("pattern", "type", "expires", "meaning")]
        specs = list(KEYSPACE)
        for feature in _state(kit_name).features.values():
            specs += feature.keyspace
        rows += [(s.pattern, s.type, s.ttl or "never", s.meaning) for s in specs]
        table(rows)

    return [ping, info, config, features, keys]


def _described(server: health.Health) -> list[tuple[str, str]]:
    """What is known of a server, then its replicas and Sentinels, as rows."""
    facts = server.as_dict()
    replicas, sentinels = facts.pop("replicas"), facts.pop("sentinels")
    facts["features"] = ", ".join(server.features) or None
    facts["databases"] = ", ".join(server.databases) or None
    rows = [(name, str(value)) for name, value in facts.items() if value is not None]
    for replica in replicas:
        state = f"{replica['lag']} bytes behind" if replica["online"] else "does not follow"
        rows.append(("replica", f"{replica['address']}: {state}"))
    for sentinel in sentinels:
        said = f"the master is {sentinel['master']}" if sentinel["ok"] else sentinel["error"]
        rows.append(("sentinel", f"{sentinel['address']}: {said}"))
    return rows


def _show_warning(text: str) -> None:
    click.secho(f"warning: {text}", fg="yellow", err=True)


def _warn(state: KitState) -> None:
    for name, context in state.contexts.items():
        try:
            warnings = list(state.features[name].warnings(context))
        except FAILURES as error:
            warnings = [f"could not be checked: {error}"]
        for warning in warnings:
            _show_warning(f"{name}: {warning}")
