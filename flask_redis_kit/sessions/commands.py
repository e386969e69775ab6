"""``flask redis sessions``: count, list, look at, end and move sessions, from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click

from flask_redis_kit.core.errors import CodecError
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.core.tables import table
from flask_redis_kit.sessions.census import Census
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.devices import SessionInfo
from flask_redis_kit.sessions.ids import is_id
from flask_redis_kit.sessions.record import NOTHING, Loaded, device_of
from flask_redis_kit.sessions.store import SessionStore

_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_HANDLES = {"ignore_unknown_options": True}  # a handle, or a user, may begin with "-"
_yes = click.option("--yes", is_flag=True, help="Don't ask.")


class Sessions(Protocol):
    """The part of the feature that the commands use."""

    def engine(self) -> SessionStore: ...
    def context(self) -> Context[SessionsConfig]: ...
    def list(self, user: object) -> list[SessionInfo]: ...
    def revoke(self, handle: str, user: object = None) -> bool: ...
    def revoke_user(self, user: object, *, except_current: bool = False) -> int: ...


def session_commands(feature: Sessions) -> Sequence[click.Command]:
    """The commands of one kit's sessions."""

    @click.group("sessions")
    def sessions() -> None:
        """Look at sessions, end them, move those of Flask-Session."""

    for command in (*_looking(feature), *_ending(feature), *_tending(feature)):
        sessions.add_command(command)
    return [sessions]


def _looking(feature: Sessions) -> list[click.Command]:
    @click.command("count")
    @_as_json
    def count(as_json: bool) -> None:
        """Count the living sessions, those of users, and these. Reads all keys of the server."""
        with _told():
            found = _census(feature).count()
        if as_json:
            click.echo(json.dumps(found._asdict()))
        else:
            click.echo(
                f"{found.sessions} sessions, {found.logged_in} of them of {found.users} users"
            )

    @click.command("list", context_settings=_HANDLES)
    @click.argument("user")
    @_as_json
    def list_(user: str, as_json: bool) -> None:
        """List the sessions of USER, the one used last first."""
        with _told():
            found = feature.list(user)
        if as_json:
            click.echo(json.dumps([_facts(info) for info in found], indent=2))
            return
        rows = [("handle", "since", "last seen", "address", "with")]
        for info in found:
            rows.append(
                (
                    info.handle,
                    _moment(info.created_at),
                    _moment(info.last_seen),
                    info.ip or "-",
                    info.user_agent[:60] or "-",
                )
            )
        if len(rows) == 1:
            click.echo(f"User {user!r} has no session.")
        else:
            table(rows)

    @click.command("show", context_settings=_HANDLES)
    @click.argument("handle")
    @click.option("--values", is_flag=True, help="Show what is stored, secrets too.")
    @_as_json
    def show(handle: str, values: bool, as_json: bool) -> None:
        """Show the session with this HANDLE: whose it is, its time, its keys and their sizes."""
        store = feature.engine()
        with _told():
            if not is_id(handle):
                raise click.ClickException(_no_handle(handle))
            outcome = feature.context().send_many([store.load(handle)])[0]
            found: Loaded = store.settled(handle, outcome, NOTHING)
        if found.incarnation is None:
            ended = " It ended a moment ago." if found.ended else ""
            raise click.ClickException(f"There is no session {handle}.{ended}")
        facts = _described(store, handle, found, values=values)
        if as_json:
            click.echo(json.dumps(facts, indent=2, default=repr))
            return
        fields = facts.pop("keys")
        table([(name, str(value)) for name, value in facts.items()])
        click.echo()
        heading = ("key", "bytes", "value") if values else ("key", "bytes")
        rows = [(name, str(each["bytes"])) for name, each in fields.items()]
        if values:
            rows = [
                (*row, repr(each["value"]))  # type: ignore[misc]  # three columns
                for row, each in zip(rows, fields.values(), strict=True)
            ]
        table([heading, *rows])

    return [count, list_, show]


def _ending(feature: Sessions) -> list[click.Command]:
    @click.command("revoke", context_settings=_HANDLES)
    @click.argument("handles", nargs=-1)
    @click.option("--user", help="End all sessions of this user.")
    @_yes
    def revoke(handles: tuple[str, ...], user: str | None, yes: bool) -> None:
        """End the sessions with these HANDLES, or all of a user: they are logged out at once."""
        if bool(handles) == (user is not None):
            raise click.UsageError("Give handles, as `list` shows them, or --user.")
        for handle in handles:
            if not is_id(handle):
                raise click.UsageError(_no_handle(handle))
        if user is not None:
            if not yes:
                click.confirm(f"End all sessions of user {user!r}?", abort=True)
            with _told():
                ended = feature.revoke_user(user)
            click.echo(f"{ended} sessions of user {user!r} were ended.")
            return
        with _told():
            missing = [handle for handle in handles if not feature.revoke(handle)]
        for handle in missing:
            click.echo(f"There is no session {handle}.", err=True)
        click.echo(f"{len(handles) - len(missing)} sessions were ended.")
        if missing:
            raise SystemExit(1)

    @click.command("gc")
    def gc() -> None:
        """Remove what is left of ended sessions in their users' lists. Reads all keys."""
        with _told():
            tidied = _census(feature).tidy()
        click.echo(
            f"{tidied.entries} entries of ended sessions removed; {tidied.indexes} users have "
            "sessions, or had some."
        )

    return [revoke, gc]


def _tending(feature: Sessions) -> list[click.Command]:
    @click.command("migrate")
    @click.option("--dry-run", is_flag=True, help="Change nothing, only tell what would be done.")
    @_yes
    def migrate(dry_run: bool, yes: bool) -> None:
        """Make all sessions of Flask-Session the kit's. Nobody is logged out.

        Their keys are looked for under SESSION_KEY_PREFIX. May be stopped and begun again.
        """
        config, census = feature.context().config, _census(feature)
        if not (config.key_prefix or dry_run or yes):
            click.confirm(
                "SESSION_KEY_PREFIX is empty, so other programs' keys can't be told from sessions. "
                "What is taken for one goes away. Is the database Flask-Session's alone?",
                abort=True,
            )
        with _told("Run the command again: it goes on where it stopped."):
            ids = census.legacy_ids()
            if not ids:
                click.echo(f"There are no sessions under {config.key_prefix!r}.")
                return
            with click.progressbar(length=len(ids), label="sessions") as bar:
                done = census.move(ids, bar.update, rehearse=dry_run)
        verb = "would be moved" if dry_run else "moved"
        click.echo(
            f"{done.moved} {verb}, {done.known} were moved before, {done.unreadable} can't be read."
        )
        if done.unreadable:
            click.echo(
                "Those that can't be read are no msgpack or JSON (pickles, perhaps): they count as "
                "absent.",
                err=True,
            )
        if not dry_run:
            click.echo(
                f"Flask-Session's own are kept for {config.legacy_grace:.0f} s more. When no "
                "worker runs it any more, set SESSION_LEGACY=False."
            )

    return [migrate]


def _census(feature: Sessions) -> Census:
    return Census(feature.context(), feature.engine())


@contextmanager
def _told(cure: str = "") -> Iterator[None]:
    """A server's failure as a sentence, not as a traceback."""
    try:
        yield
    except FAILURES as error:
        raise click.ClickException(f"{error} {cure}".strip()) from error


def _no_handle(handle: str) -> str:
    return f"{handle!r} is no handle. `flask redis sessions list USER` shows a user's."


def _moment(moment: Any) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _facts(info: SessionInfo) -> dict[str, Any]:
    facts = info._asdict()
    del facts["current"]  # a command has none
    for name in ("created_at", "last_seen"):
        facts[name] = None if facts[name] is None else facts[name].isoformat()
    return facts


def _shown(value: object) -> object:
    """A value as JSON can show it."""
    try:
        json.dumps(value, default=repr)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _described(store: SessionStore, handle: str, found: Loaded, *, values: bool) -> dict[str, Any]:
    device = device_of(found.device)
    keys: dict[str, dict[str, Any]] = {}
    for name, data in sorted(found.fields.items()):
        keys[name] = {"bytes": len(data)}
        if values:
            try:
                keys[name]["value"] = _shown(store.codec.decode(data))
            except CodecError as error:
                keys[name]["value"] = f"unreadable: {error}"
    return {
        "handle": handle,
        "user": found.user,
        "expires_in": round(found.seconds),
        "address": device.address or None,
        "user_agent": device.user_agent or None,
        "keys": keys,
    }
