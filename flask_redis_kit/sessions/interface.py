"""Where Flask and the sessions meet: opening, saving, the cookie, the error of a missing server."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any, Protocol

from flask import Flask, Request, Response, request
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.sansio.http import parse_cookie

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.request import Pending, RequestBatch, open_batch
from flask_redis_kit.sessions.contents import Contents
from flask_redis_kit.sessions.feature import SessionsConfig, SessionsFeature
from flask_redis_kit.sessions.ids import digest_of, is_id
from flask_redis_kit.sessions.saving import Cookie, Saving
from flask_redis_kit.sessions.session import RedisSession
from flask_redis_kit.sessions.store import NOTHING, Loaded, SessionStore


class SessionStoreUnavailable(ServerUnavailable, ServiceUnavailable):
    """The session can't be read now: a 503 with ``Retry-After``, raised where it is read.

    Handlers of ``redis.RedisError``, ``ServerUnavailable`` and 503 see it. What the visitor sees
    names no server; ``str(error)`` does.
    """

    def __init__(self, message: str, *, address: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, address=address)
        self.description = ServiceUnavailable.description
        self.retry_after = max(1, math.ceil(retry_after))
        self._message = message

    def __str__(self) -> str:
        return self._message


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

    def __init__(self, kit: KitWithSessions) -> None:
        if not isinstance(getattr(kit, "sessions", None), SessionsFeature):
            raise TypeError(
                f"RedisSessionInterface({kit!r}): give it a RedisKit that has the feature "
                "'sessions'."
            )
        self._kit = kit

    def finishes_batch_of(self, kit_name: str) -> bool:
        """Whether that kit leaves the last trip of a request to ``save_session``."""
        return kit_name == self._kit.name

    def open_session(self, app: Flask, request: Request) -> RedisSession:
        """The session of a request, not loaded yet. No round trip."""
        feature = self._kit.sessions
        state = feature.state()
        store: SessionStore = state.engine(feature)
        config: SessionsConfig = state.contexts[feature.name].config
        if not config.enabled:
            return RedisSession(Contents(store.codec))
        batch = open_batch(request, self._kit.name, app)
        sid = _cookie(request, self.get_cookie_name(app))
        if is_id(sid):
            hashed = digest_of(sid)
            pending = batch.prefetch(store.wire, store.load(hashed))
            contents = Contents(
                store.codec,
                sid,
                lambda: _loaded(store, batch, hashed, pending),
                lambda name, error: store.unreadable(hashed, name, error),
            )
        else:
            contents = Contents(store.codec)
        return RedisSession(contents, Saving(contents, store, batch, sliding=config.sliding))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save, in the trip that ends the request, and set or delete the cookie if need be.

        Raises what the server raised for a change that was not stored.
        """
        accessed = session.accessed
        if isinstance(session, RedisSession) and session.saving is not None:
            decision = session.saving.run(app.permanent_session_lifetime.total_seconds())
            sent = self._send_cookie(app, session, decision, response)
        else:
            open_batch(request, self._kit.name, app).finish()
            sent = False
        if sent:
            response.headers.setdefault("Cache-Control", "no-store")
        if sent or accessed:
            if "Vary" in response.headers:
                response.vary.add("Cookie")
            else:
                response.headers.add("Vary", "Cookie")

    def _send_cookie(
        self, app: Flask, session: RedisSession, decision: Cookie, response: Response
    ) -> bool:
        name = self.get_cookie_name(app)
        if decision is Cookie.SET:
            expires = self.get_expiration_time(app, session)
            response.set_cookie(
                name, session.contents.sid, expires=expires, **self._attributes(app)
            )
            return True
        if decision is Cookie.DELETE and name in request.cookies:
            response.delete_cookie(name, **self._attributes(app))
            return True
        return False

    def regenerate(self, session: MutableMapping[str, Any]) -> None:
        """The same as ``kit.sessions.regenerate(session)``; Flask-Session has it here."""
        self._kit.sessions.regenerate(session)

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


def _cookie(request: Request, name: str) -> str:
    """What ``request.cookies`` has, without its search through all headers."""
    header = request.environ.get("HTTP_COOKIE", "")
    return parse_cookie(header).get(name, "") if name in header else ""


def _loaded(
    store: SessionStore, batch: RequestBatch, session: str, pending: Pending[Loaded]
) -> Loaded:
    batch.settle(pending)
    assert pending.outcome is not None  # noqa: S101  # settle() sets it
    try:
        return store.settled(session, pending.outcome, NOTHING)
    except FAILURES as error:
        raise SessionStoreUnavailable(
            f"The session can't be read: {error}",
            address=getattr(error, "address", ""),
            retry_after=getattr(error, "retry_after", 1.0),
        ) from error
