"""Where Flask and the sessions meet: opening, saving, the cookie."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.http import http_date
from werkzeug.sansio.http import parse_cookie

from flask_redis_kit.core.feature import state_in
from flask_redis_kit.core.headers import add_clean, has_field
from flask_redis_kit.core.request import open_batch
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.cookie import Cookie, set_cookie_header
from flask_redis_kit.sessions.feature import SessionsFeature
from flask_redis_kit.sessions.ids import is_id
from flask_redis_kit.sessions.record import Device
from flask_redis_kit.sessions.saving import Saving
from flask_redis_kit.sessions.session import RedisSession
from flask_redis_kit.sessions.signer import IdSigner
from flask_redis_kit.sessions.source import Source
from flask_redis_kit.sessions.store import SessionStore

_SET_COOKIE = Response.set_cookie


class KitWithSessions(Protocol):
    """What the interface needs of a ``RedisKit``."""

    name: str

    @property
    def sessions(self) -> SessionsFeature: ...


class RedisSessionInterface(SessionInterface):
    """``app.session_interface = RedisSessionInterface(kit)``: sessions on the kit's server.

    Opening costs nothing; see ``RedisSession`` for what the rest costs. Cookie settings and
    lifetime are Flask's own: ``SESSION_COOKIE_…``, ``PERMANENT_SESSION_LIFETIME``.
    """

    serializer: object = None
    """What the application had set as Flask-Session's ``serializer``: so its sessions are read."""

    def __init__(self, kit: KitWithSessions) -> None:
        if not isinstance(getattr(kit, "sessions", None), SessionsFeature):
            raise TypeError(
                f"RedisSessionInterface({kit!r}): give it a RedisKit that has the feature "
                "'sessions'."
            )
        self._kit = kit
        self._feature = kit.sessions

    def finishes_batch_of(self, kit_name: str) -> bool:
        """Whether that kit leaves the last trip of a request to ``save_session``."""
        return kit_name == self._kit.name

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        """The session of a request, not loaded yet. No round trip."""
        store = self._store(app)
        stock = self._stock(app, store)
        if stock is not None:
            found: SessionMixin = stock.open_session(app, request)
            return found
        return self._open(app, request, store)

    def _open(self, app: Flask, request: Request, store: SessionStore) -> RedisSession:
        config = store.config
        if not config.enabled:
            return RedisSession(Contents(store.codec, config=config))
        batch = open_batch(request, self._kit.name, app)
        cookie, usable = _cookie(request, self.get_cookie_name(app))
        sid = cookie
        if config.use_signer and cookie:
            sid = IdSigner(app.secret_key, config.fallbacks).unsigned(cookie)
            usable = is_id(sid)
        source = None
        if usable:
            source = Source(store, batch, sid)
            contents = Contents(
                store.codec, sid, source.load, source.unreadable, config, source.session
            )
        else:
            contents = Contents(store.codec, config=config)
            if cookie:
                store.rejected(None, "malformed")

        def lifetime() -> float:
            return config.idle_of(app.permanent_session_lifetime)

        def device() -> Device:
            agent: str = request.environ.get("HTTP_USER_AGENT", "")
            return Device(agent, request.remote_addr or "")

        return RedisSession(contents, Saving(contents, store, batch, lifetime, device), source)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save, in the trip that ends the request, and set or delete the cookie if need be.

        Raises what the server raised for a change that was not stored.
        """
        ours = session if isinstance(session, RedisSession) else None
        stock = None if ours is not None else self._stock(app, self._store(app))
        if stock is not None:
            try:
                stock.save_session(app, session, response)
            finally:
                open_batch(request, self._kit.name, app).finish()
            return
        accessed = session.accessed
        saving = None if ours is None else ours.saving
        if ours is not None and saving is not None:
            decision = saving.run()
            sent = decision is not Cookie.KEEP and self._send_cookie(
                app, ours, saving.store.config, decision, response
            )
            no_store = sent and saving.store.config.no_store
            if no_store and not has_field(response.headers, "cache-control"):
                add_clean(response.headers, [("Cache-Control", "no-store")])
        else:
            open_batch(request, self._kit.name, app).finish()
            sent = False
        if sent or accessed:
            if has_field(response.headers, "vary"):
                response.vary.add("Cookie")
            else:
                add_clean(response.headers, [("Vary", "Cookie")])

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
        """When the browser forgets the cookie: with the session, if that is permanent."""
        if not (isinstance(session, RedisSession) and session.saving is not None):
            return super().get_expiration_time(app, session)
        if not session.permanent:
            return None
        return datetime.now(UTC) + timedelta(seconds=session.saving.seconds)

    def _send_cookie(
        self,
        app: Flask,
        session: RedisSession,
        config: SessionsConfig,
        decision: Cookie,
        response: Response,
    ) -> bool:
        name = self.get_cookie_name(app)
        if decision is Cookie.SET:
            expires = self.get_expiration_time(app, session)
            value = session.contents.sid
            if config.use_signer:
                value = IdSigner(app.secret_key, config.fallbacks).signed(value)
            attributes = self._attributes(app)
            if config.use_signer or type(response).set_cookie is not _SET_COOKIE:
                response.set_cookie(name, value, expires=expires, **attributes)
            else:
                date = None if expires is None else http_date(expires)
                header = set_cookie_header(name, value, date, tuple(attributes.items()))
                add_clean(response.headers, [("Set-Cookie", header)])
            return True
        if decision is Cookie.DELETE and name in request.cookies:
            response.delete_cookie(name, **self._attributes(app))
            return True
        return False

    def regenerate(self, session: MutableMapping[str, Any]) -> None:
        """The same as ``kit.sessions.regenerate(session)``; Flask-Session has it here."""
        self._kit.sessions.regenerate(session)

    def _store(self, app: Flask) -> SessionStore:
        store: SessionStore = state_in(app, self._kit.name).engine(self._feature)
        return store

    def _stock(self, app: Flask, store: SessionStore) -> Any:
        """Flask-Session's interface, if ``SESSION_BACKEND`` says so, else None."""
        if store.config.backend != "flask-session" or not store.config.enabled:
            return None
        if store.stock is None:
            from flask_redis_kit.sessions.stock import stock_interface  # noqa: PLC0415  # 5 ms

            store.stock = stock_interface(app, store.wire, store.config)
            if self.serializer is not None:
                store.stock.serializer = self.serializer
        return store.stock

    def _attributes(self, app: Flask) -> dict[str, Any]:
        """A cookie is deleted only by one with the same attributes, so both come from here."""
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
        }
        if hasattr(self, "get_cookie_partitioned"):  # Flask 3.1
            attributes["partitioned"] = self.get_cookie_partitioned(app)
        return attributes


def _cookie(request: Request, name: str) -> tuple[str, bool]:
    """What ``request.cookies`` has, without its search through all headers; whether it is an id."""
    header = request.environ.get("HTTP_COOKIE", "")
    if name in header:
        if header.startswith(name + "="):
            first: str = header[len(name) + 1 :].partition(";")[0]
            if is_id(first):  # nothing to unquote, nor to skip
                return first, True
        pairs: Any = parse_cookie(header, cls=list)  # type: ignore[arg-type]  # no dictionary of it
        for known, value in pairs:
            if known == name:
                return str(value), is_id(str(value))
    return "", False
