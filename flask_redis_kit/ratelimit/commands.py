"""``flask redis limits``: what is limited, how it stands for somebody, and who uses most."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.tables import table
from flask_redis_kit.ratelimit.busiest import MOST_KEYS, busiest
from flask_redis_kit.ratelimit.checked import Checked
from flask_redis_kit.ratelimit.gate import Gate
from flask_redis_kit.ratelimit.inventory import Line, details, inventory
from flask_redis_kit.ratelimit.limits import RateLimitResult


class Limits(Protocol):
    """The part of the feature that the commands use."""

    def engine(self) -> Gate: ...
    @property
    def peek(self) -> Callable[..., Checked]: ...
    @property
    def reset(self) -> Callable[..., bool]: ...


_FACTS = (
    "policy", "name", "kind", "limit", "window", "remaining", "reset_after", "full_after",
    "retry_after", "allowed", "shadow",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


def _meant(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say which limits, and whose."""
    for option in (
        click.option("--window", type=float, default=60.0, help="With --name: seconds. [60]"),
        click.option("--limit", help="Where it is found by a function: 100, or '100/minute'."),
        click.option("--name", help="Instead of --endpoint: the name that was given to check()."),
        click.option("--key", required=True, help="Whom: an address, a user's id, …"),
        click.option("--endpoint", help="The endpoint whose limits are meant."),
    ):
        function = option(function)
    return function


def limits_commands(feature: Limits) -> Sequence[click.Command]:
    """The commands of one kit's rate limits."""
    group = click.Group("limits", help="Look at the rate limits, and reset them.")
    for command in (
        _list_command(feature),
        _show_command(feature),
        _peek_command(feature),
        _reset_command(feature),
        _top_command(feature),
    ):
        group.add_command(command)
    return [group]


def _list_command(feature: Limits) -> click.Command:
    @click.command("list")
    @_json
    def list_(as_json: bool) -> None:
        """List every limit that holds for a route."""
        with _spoken():
            lines = inventory(feature.engine())
        if as_json:
            click.echo(json.dumps([line.as_dict() for line in lines], indent=2))
        elif lines:
            table([Line.HEADS, *(line.row for line in lines)])
        else:
            click.echo("No route is limited.")

    return list_


def _show_command(feature: Limits) -> click.Command:
    @click.command("show")
    @click.argument("route_or_policy")
    @_json
    def show(route_or_policy: str, as_json: bool) -> None:
        """Show the limits of a route, or of a policy, and what they did today."""
        with _spoken():
            found = details(feature.engine(), route_or_policy)
        if as_json:
            click.echo(json.dumps(found, indent=2))
            return
        for number, each in enumerate(found):
            if number:
                click.echo()
            table([(name, _cell(value)) for name, value in each.items()])

    return show


def _peek_command(feature: Limits) -> click.Command:
    @click.command("peek")
    @_meant
    @_json
    def peek(as_json: bool, **meant: Any) -> None:
        """Show how limits stand for somebody. Counts nothing."""
        with _spoken():
            decision = feature.peek(*_target(meant), **_arguments(meant)).decision
        if as_json:
            click.echo(json.dumps([_facts(result) for result in decision.results], indent=2))
            return
        heads = ("policy", "counts", "limit", "left", "next in", "full in", "now")
        table([heads, *map(_standing, decision.results)])

    return peek


def _reset_command(feature: Limits) -> click.Command:
    @click.command("reset")
    @_meant
    @_json
    def reset(as_json: bool, **meant: Any) -> None:
        """Forget what was counted for somebody."""
        with _spoken():
            existed = feature.reset(*_target(meant), **_arguments(meant))
        if as_json:
            click.echo(json.dumps({"reset": existed}))
        elif existed:
            click.echo("Forgotten. Other processes may go on refusing for up to 5 seconds.")
        else:
            click.echo("Nothing was counted there.")

    return reset


def _top_command(feature: Limits) -> click.Command:
    @click.command("top")
    @click.option("-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True)
    @click.option("--scope", help="Only this endpoint, function or shared name.")
    @click.option(
        "--keys", type=click.IntRange(1), default=MOST_KEYS, show_default=True,
        help="Look at this many keys at most.",
    )  # fmt: skip
    @_json
    def top(count: int, scope: str | None, keys: int, as_json: bool) -> None:
        """Show who uses most: identities are hashed, so that nobody's address is shown."""
        with _spoken():
            context = feature.engine().context
            found = busiest(context, count, scope=scope, most_keys=keys)
        if as_json:
            uses = [{name: getattr(use, name) for name in use.__slots__} for use in found.uses]
            click.echo(json.dumps({"uses": uses, "complete": found.complete}, indent=2))
            return
        rows = [("used", "counts", "window", "identity", "free in")]
        rows += [
            (str(use.used), use.scope, f"{use.window:g} s", use.identity, f"{use.free_after:.0f} s")
            for use in found.uses
        ]
        table(rows)
        if not found.complete:
            click.echo(f"There are more than {found.keys} keys: --keys looks at more.", err=True)

    return top


@contextmanager
def _spoken() -> Iterator[None]:
    """Errors as a sentence, without a traceback."""
    try:
        yield
    except (LookupError, ValueError, TypeError, *FAILURES) as error:
        text = error.args[0] if isinstance(error, LookupError) and error.args else error
        raise click.ClickException(str(text)) from error


def _target(meant: Mapping[str, Any]) -> tuple[str, ...]:
    if (meant["endpoint"] is None) == (meant["name"] is None):
        raise click.UsageError("Say either --endpoint or --name; `flask redis limits list` helps.")
    return () if meant["endpoint"] is None else (meant["endpoint"],)


def _arguments(meant: Mapping[str, Any]) -> dict[str, Any]:
    limit = meant["limit"]
    if limit is not None and limit.isdecimal():
        limit = int(limit)
    arguments = {"key": meant["key"], "limit": limit}
    if meant["name"] is not None:
        arguments |= {"name": meant["name"], "window": meant["window"]}
    return arguments


def _facts(result: RateLimitResult) -> dict[str, object]:
    return {name: getattr(result, name) for name in _FACTS}


def _standing(result: RateLimitResult) -> tuple[str, ...]:
    return (
        result.policy,
        result.name,
        f"{result.limit}" + ("" if result.kind == "concurrency" else f"/{result.window:g} s"),
        str(result.remaining),
        f"{result.reset_after:.1f} s",
        f"{result.full_after:.1f} s",
        "admits" if result.allowed else "would refuse" if result.shadow else "refuses",
    )


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
