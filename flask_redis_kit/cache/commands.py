"""``flask redis cache``: look at the cache and invalidate, from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

from flask_redis_kit.cache import display, figures
from flask_redis_kit.cache.engine import CacheEngine
from flask_redis_kit.cache.finding import raw_call
from flask_redis_kit.cache.flight import Hit
from flask_redis_kit.cache.flow import run, without_compute
from flask_redis_kit.cache.inspection import Inspection, Inspector
from flask_redis_kit.cache.invalidation import Invalidation
from flask_redis_kit.cache.rehearsal import page_of_url
from flask_redis_kit.cache.tags import several_tags
from flask_redis_kit.core.counters import INTERVAL, KEPT_DAYS
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.keys import PREFIX
from flask_redis_kit.core.tables import table

_FROM = (
    "Counted by all processes {span} (UTC). What a process counts rides along with its trips, so "
    "its last seconds may be missing."
)
_NOTHING = (
    f"A process tells what it has counted every {INTERVAL:g} s at most, along with a trip that it "
    "makes: ask for a page once more."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_days = click.option(
    "--days",
    type=click.IntRange(1, KEPT_DAYS),
    default=1,
    show_default=True,
    help="Today, or the last so many days (UTC).",
)


class Cache(Protocol):
    """The part of the feature that the commands use."""

    def engine(self) -> CacheEngine: ...


def cache_commands(feature: Cache) -> Sequence[click.Command]:
    """The commands of one kit's cache."""

    @click.group("cache")
    def cache() -> None:
        """Look at the cache; invalidate tags, or all of it."""

    for command in (*_looking(feature), *_counting(feature), *_invalidating(feature)):
        cache.add_command(command)
    return [cache]


def _looking(feature: Cache) -> list[click.Command]:
    @click.command("get")
    @click.argument("key")
    @_as_json
    def get(key: str, as_json: bool) -> None:
        """Show the value that was set by hand under KEY. Exit code 1 if it isn't there."""
        engine = feature.engine()
        with _told():
            flow = engine.flights.look(raw_call(key), engine.context.codec.decode)
            found = run(flow, engine.context.send, without_compute)
        if not isinstance(found, Hit):
            raise click.ClickException(
                f"There is no value under {key!r}. `inspect` tells more, also of a URL or of a key "
                "in Redis."
            )
        if found.fresh_ms <= 0:
            click.secho("warning: the value is stale", fg="yellow", err=True)
        value = found.value
        click.echo(display.as_json(value) if as_json else display.shown(value))

    @click.command("inspect")
    @click.argument("what")
    @_as_json
    def inspect(what: str, as_json: bool) -> None:
        """Show how WHAT is stored: its age, its tags, whether it would be served and why not.

        WHAT is a key set by hand, the URL or path of a cached route (as an anonymous GET), or a key
        in Redis such as fn.cache_key(…) gives. Exit code 1 if nothing would be served.
        """
        engine = feature.engine()
        with _told():
            found = _inspected(engine, what)
        if as_json:
            click.echo(display.as_json(display.facts(found)))
        else:
            table(display.described(found))
            if found.tags:
                click.echo()
                table([("tag", "name", "state"), *found.tags])
        if found.state not in ("fresh", "stale"):
            if what.startswith("/"):
                click.echo(
                    f"The host is a part of a page's key: give the whole URL of {what!r} if it was "
                    "asked for at another one than localhost, or SERVER_NAME.",
                    err=True,
                )
            raise SystemExit(1)

    return [get, inspect]


def _counting(feature: Cache) -> list[click.Command]:
    @click.command("stats")
    @_days
    @click.option("--entries", is_flag=True, help="Count the values, too: reads all keys there.")
    @_as_json
    def stats(days: int, entries: bool, as_json: bool) -> None:
        """Show by prefix what was found, missed, stored and refused; and how large the log is."""
        engine = feature.engine()
        with _told():
            found = figures.by_subject(engine.context.counters.read(days))
            logs = figures.of_logs(engine.context, engine.shards)
            count = figures.count_entries(engine.context) if entries else None
        if as_json:
            facts: dict[str, Any] = {
                "prefixes": [each.as_dict() for each in found],
                "log": logs._asdict(),
            }
            click.echo(display.as_json(facts if count is None else {**facts, "entries": count}))
            return
        _show(found, days)
        shards = "" if logs.shards == 1 else f" in each of {logs.shards} shards"
        tags = f"{logs.tags // logs.shards} invalidated tags{shards}, {display.size(logs.bytes)}"
        click.echo(f"\nlog: {tags}; {logs.invalidations} invalidations since it was made")
        if count is not None:
            click.echo(f"entries: {count}")

    @click.command("top")
    @click.option(
        "--by",
        type=click.Choice(sorted(_ORDERS)),
        default="time",
        show_default=True,
        help="What to sort by; time: spent on computing what was stored.",
    )
    @click.option("--limit", type=click.IntRange(1), default=10, show_default=True)
    @_days
    @_as_json
    def top(by: str, limit: int, days: int, as_json: bool) -> None:
        """Show the prefixes with the most computing time, hits, misses, bytes stored or refusals.

        By the same counters as `stats`.
        """
        engine = feature.engine()
        with _told():
            found = figures.by_subject(engine.context.counters.read(days))
        found = sorted(found, key=_ORDERS[by], reverse=True)[:limit]
        if as_json:
            click.echo(display.as_json([each.as_dict() for each in found]))
            return
        if not found:
            _show(found, days)
            return
        heads = ("prefix", "computing", "each", "hits", "misses", "stored", "bytes", "refused")
        rows = [
            (
                each.subject,
                display.duration(each.milliseconds),
                display.duration(each.milliseconds / each.stored) if each.stored else "-",
                str(each.hit + each.stale),
                str(each.miss),
                str(each.stored),
                display.size(each.bytes),
                str(sum(each.refused.values())),
            )
            for each in found
        ]
        table([heads, *rows])
        click.echo("\n" + _FROM.format(span=_span(days)), err=True)

    return [stats, top]


_ORDERS: dict[str, Callable[[figures.Figures], int]] = {
    "time": lambda each: each.milliseconds,
    "hits": lambda each: each.hit + each.stale,
    "misses": lambda each: each.miss,
    "bytes": lambda each: each.bytes,
    "refused": lambda each: sum(each.refused.values()),
}


def _invalidating(feature: Cache) -> list[click.Command]:
    @click.command("invalidate-tag")
    @click.argument("tags", nargs=-1, required=True, metavar="TAG…")
    @click.option("--soft", is_flag=True, help="Stale, not invalid: served in the grace period.")
    def invalidate_tag(tags: tuple[str, ...], soft: bool) -> None:
        """Invalidate every value with one of these tags, in all processes, at once."""
        engine = _switched_on(feature)
        with _told():
            count = _strict(engine).tags(several_tags(tags), soft=soft)
        click.echo(f"Invalidated {count} {'tag' if count == 1 else 'tags'}.")

    @click.command("clear")
    @click.option("--yes", is_flag=True, help="Don't ask.")
    def clear(yes: bool) -> None:
        """Invalidate everything that this application has cached."""
        engine = _switched_on(feature)
        context = engine.context
        where = f"{context.keys.namespace!r} on {context.wire.connector.address}"
        if not yes:
            click.confirm(f"Invalidate all that is cached for {where}?", abort=True)
        with _told():
            _strict(engine).clear()
        click.echo(f"Cleared the cache of {where}.")

    return [invalidate_tag, clear]


def _switched_on(feature: Cache) -> CacheEngine:
    engine = feature.engine()
    if not engine.enabled:
        raise click.ClickException("The cache is switched off: REDIS_CACHE_ENABLED is false.")
    return engine


def _strict(engine: CacheEngine) -> Invalidation:
    """Invalidations that say so when they fail, whatever the application wants for itself."""
    return Invalidation(engine.context, engine.shards, engine.notices, on_error="raise")


@contextmanager
def _told() -> Iterator[None]:
    """What a server, or the input, is wrong about becomes a sentence and exit code 1."""
    try:
        yield
    except (*FAILURES, ConfigError, ValueError, TypeError) as error:
        raise click.ClickException(str(error)) from error


def _inspected(engine: CacheEngine, what: str) -> Inspection:
    inspector = Inspector(engine.context, engine.shards)
    if what.startswith(PREFIX):
        place = inspector.place_of(what)
        if place is None:
            raise ConfigError(
                f"{what!r} is no value of this application's cache: those are called "
                f"{engine.context.keys.key('…', 'cache', 'v', '…')}."
            )
        return inspector.inspect(place.digest)
    if what.startswith(("/", "http://", "https://")):
        return inspector.inspect(page_of_url(engine, what).digest)
    return inspector.inspect(raw_call(what).digest)


def _show(found: Sequence[figures.Figures], days: int) -> None:
    if not found:
        click.echo(f"Nothing was counted {_span(days)}.")
        click.echo(_NOTHING, err=True)
        return
    heads = ("prefix", "hits", "misses", "hit rate", "stale", "renewed", "stored", "refused")
    table([heads, *(display.row(each) for each in found)])
    click.echo("\n" + _FROM.format(span=_span(days)), err=True)


def _span(days: int) -> str:
    return "today" if days == 1 else f"in the last {days} days"
