"""The sessions feature: its keys, and what ``kit.sessions`` offers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any, ClassVar

import click
from flask import Flask
from flask import session as flask_session

from flask_redis_kit.core.durability import eviction_warnings, persistence_warnings
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.core.session_watch import current_session
from flask_redis_kit.sessions.commands import session_commands
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.cookie import CookieSettings
from flask_redis_kit.sessions.devices import Devices, SessionInfo
from flask_redis_kit.sessions.exclusive import Exclusive
from flask_redis_kit.sessions.ids import digest_of
from flask_redis_kit.sessions.legacy import legacy_store, place_of
from flask_redis_kit.sessions.moving import Moving
from flask_redis_kit.sessions.ownership import is_ours
from flask_redis_kit.sessions.session import RedisSession
from flask_redis_kit.sessions.store import SessionStore, whole

log = logging.getLogger("flask_redis_kit.sessions")


class SessionsFeature(Feature[SessionsConfig, SessionStore]):
    """Server-side sessions. They are used where ``app.session_interface`` says so."""

    name: ClassVar[str] = "sessions"
    config_class = SessionsConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = (
        KeySpec(
            pattern="frk:{<ns>:<hash>}:session:h",
            type="hash",
            ttl="SESSION_IDLE_TIMEOUT since its last use; 60 s for the mark of an ended one, but "
            "PERMANENT_SESSION_LIFETIME if it was Flask-Session's",
            meaning="one session; <hash> is the SHA-256 of its id",
        ),
        KeySpec(
            pattern="frk:{<ns>:<hash>}:session:l",
            type="string",
            ttl="ttl of kit.sessions.exclusive",
            meaning="the lock of a session that one request has for itself",
        ),
        KeySpec(
            pattern="frk:{<ns>:<hash>}:session:u",
            type="zset",
            ttl="as long as the longest of the user's sessions may live",
            meaning="the sessions of a user; <hash> is the SHA-256 of his id",
        ),
    )

    def build(self, context: Context[SessionsConfig]) -> SessionStore:
        if not context.config.enabled:
            log.warning(
                "Sessions are off (REDIS_SESSIONS_ENABLED): %r starts every request with an empty "
                "session and forgets it at the end. Nobody can stay logged in.",
                context.app.name,
            )
        for error in _errors(context):
            raise error
        config = context.config
        store = SessionStore(context.wire, context.keys, context.codec, config, context.counters)
        for warning in _elsewhere(context):
            log.warning("%s", warning)
        if config.moves and config.key_prefix:  # without one a cookie could name any key
            legacy = legacy_store(context)
            lifetime = context.app.permanent_session_lifetime
            store.predecessor = Moving(store, legacy, config.idle_of(lifetime))
            store.moved_grace = max(store.grace, whole(lifetime.total_seconds()))
        return store

    def commands(self) -> Sequence[click.Command]:
        return session_commands(self)

    def warnings(self, context: Context[SessionsConfig]) -> Iterable[str]:
        if not context.config.enabled or not is_ours(context):
            return
        yield from map(str, _errors(context))
        yield from _elsewhere(context)
        yield from eviction_warnings(
            context.wire,
            "who is logged in can be logged out at any time",
            "give sessions a server of their own by REDIS_SESSIONS_URL",
        )
        yield from persistence_warnings(context.wire, "all sessions")
        yield from _cookie_settings(context.app).warnings()

    def regenerate(self, session: MutableMapping[str, Any]) -> None:
        """Give ``flask.session`` a new id and keep its data; see ``RedisSession.regenerate``.

        A session of ``SESSION_BACKEND="flask-session"`` is given one by Flask-Session.
        """
        if session is flask_session:  # else each look at it goes through the proxy
            session = flask_session._get_current_object()  # type: ignore[attr-defined]
        if not isinstance(session, RedisSession):
            stock = self.engine().stock  # made when the first session was opened by it
            if stock is not None and isinstance(session, stock.session_class):
                stock.regenerate(session)
                return
        _ours(session, "regenerate()").regenerate()

    def exclusive(self, wait: float = 5, ttl: float = 30) -> Exclusive:
        """Have the session for oneself: ``@kit.sessions.exclusive()`` on a view, or ``with``.

        For what reads a key and writes it again (``session["n"] += 1``), which would otherwise lose
        writes of simultaneous requests to that key. It is loaded anew once it is ours, and given
        back with the save: two round trips, as of any request that writes, and one for each
        attempt while others have it. A block commits at its end. Sync and ``async``.

        ``wait``  seconds to wait for others; then ``SessionBusy``, a 503.
        ``ttl``   seconds after which others go on if this request has died. One that only took
                  longer drops its changes, with ``session_interrupted``: nothing is overwritten.
        Raises ``SessionStoreUnavailable``. A visitor without a session shares it with nobody.
        """
        return Exclusive(wait, ttl, _current)

    def list(self, user: object) -> list[SessionInfo]:
        """The sessions of a user, the one used last first: his devices. Two round trips.

        ``user``: what the application keeps under ``session["user_id"]`` (or another key of
        ``SESSION_IDENTITY_KEYS``); 7 and "7" are the same. Raises what the server raised.
        """
        return self._devices().list(user, _current_handle())

    def revoke(self, handle: str, user: object = None) -> bool:
        """End the session with this ``SessionInfo.handle``; whether there was one. One round trip.

        ``user``: only if it is his. Give it where the handle comes from a visitor.
        """
        return self._devices().revoke(handle, user)

    def revoke_user(self, user: object, *, except_current: bool = False) -> int:
        """End all sessions of a user, "log out everywhere"; how many there were.

        Three round trips, one if there is none. A login at the same moment either is ended, too, or
        comes after it. ``except_current`` keeps the one of the current request.
        """
        return self._devices().revoke_user(user, _current_handle() if except_current else None)

    def _devices(self) -> Devices:
        context = self.context()
        least = context.config.idle_of(context.app.permanent_session_lifetime)
        return Devices(self.engine(), context.send_many, least)


def _errors(context: Context[SessionsConfig]) -> Iterator[ConfigError]:
    """Settings with which sessions can't work, or not safely, where the interface is the kit's.

    Looked at when sessions are first used, as Flask's own may be set after ``init_app``.
    """
    config = context.config
    if not config.enabled:
        return
    if not config.key_prefix and config.backend == "flask-session":
        yield _no_prefix("Set a prefix that no other key begins with; everybody logs in once more.")
    if not is_ours(context):
        return
    if not config.key_prefix and config.backend == "redis" and config.moves:
        yield _no_prefix(
            "Set SESSION_LEGACY=False. To log nobody out, stop what runs Flask-Session, and then "
            "take its sessions over by `flask redis sessions migrate`."
        )
    for setting, cure in _cookie_settings(context.app).errors():
        yield ConfigError(
            f"{setting}: browsers drop such a cookie. Cure: {cure}.", key=setting.partition("=")[0]
        )
    if config.use_signer and not context.app.secret_key:
        yield ConfigError(
            "SESSION_USE_SIGNER=True needs a SECRET_KEY to sign the session's cookie with. Set it, "
            "the one that Flask-Session had, or do without SESSION_USE_SIGNER.",
            key="SECRET_KEY",
        )


def _no_prefix(cure: str) -> ConfigError:
    return ConfigError(
        "SESSION_KEY_PREFIX is empty: a cookie could name any key of the server, to have it read "
        f"as a session and removed by a logout. {cure}",
        key="SESSION_KEY_PREFIX",
    )


def _elsewhere(context: Context[SessionsConfig]) -> Iterator[str]:
    """Flask-Session's sessions that would not be found, as they lie on another server."""
    config = context.config
    if config.type not in (None, "redis") and config.enabled and is_ours(context):
        yield (
            f"SESSION_TYPE={config.type!r}: Flask-Session's sessions are taken over from Redis "
            "only (SESSION_TYPE='redis'), so everybody logs in once more."
        )
    theirs = place_of(config.redis) if config.moves else None
    ours = context.wire.connector.address
    local = ("localhost:", "127.0.0.1:")
    if theirs is None or theirs.replace(*local) == ours.replace(*local):
        return
    yield (
        f"SESSION_REDIS is at {theirs}, the kit's sessions are at {ours}: what Flask-Session has "
        "stored is not found, and everybody is logged out. Set REDIS_SESSIONS_URL to its server."
    )


def _cookie_settings(app: Flask) -> CookieSettings:
    """The cookie's settings as Flask reads them, which may be set after ``init_app``."""
    interface = app.session_interface
    partitioned = getattr(interface, "get_cookie_partitioned", None)  # Flask 3.1
    return CookieSettings(
        interface.get_cookie_name(app),
        interface.get_cookie_secure(app),
        interface.get_cookie_domain(app),
        interface.get_cookie_path(app),
        interface.get_cookie_samesite(app),
        partitioned is not None and partitioned(app),
    )


def _current() -> RedisSession:
    session = flask_session._get_current_object()  # type: ignore[attr-defined]
    if type(session).__module__.startswith("flask_session."):
        raise TypeError(
            "exclusive() needs a session of the kit: Flask-Session has nothing like it. Set "
            "app.session_interface = RedisSessionInterface(kit), and not "
            "SESSION_BACKEND='flask-session'."
        )
    return _ours(session, "exclusive()")


def _current_handle() -> str | None:
    """The hashed id of the current request's session, if it has one that is stored."""
    session = current_session()
    if not isinstance(session, RedisSession) or session.is_new:
        return None
    origin = session.contents.origin
    return None if origin is None else digest_of(origin)


def _ours(session: object, what: str) -> RedisSession:
    if not isinstance(session, RedisSession):
        raise TypeError(
            f"{what} needs a session of the kit, not {session.__class__.__name__}. Did you forget "
            "app.session_interface = RedisSessionInterface(kit)?"
        )
    return session
