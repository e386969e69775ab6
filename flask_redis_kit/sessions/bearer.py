"""Sessions for clients without cookies: the id travels in a header, ``X-Session-ID``.

They lie in the same store as those of browsers, so ``kit.sessions.list`` and ``revoke_user`` know
them, too.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from flask import Response, g, jsonify, make_response, request

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.exchange import Exchange, Outcome
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.core.views import current_context
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.devices import Devices
from flask_redis_kit.sessions.fields import Fields
from flask_redis_kit.sessions.ids import digest_of, is_id, new_id, new_incarnation
from flask_redis_kit.sessions.record import DESTROYED, LIFE, NOTHING, Device, Loaded, user_text
from flask_redis_kit.sessions.source import unavailable
from flask_redis_kit.sessions.span import Span, deadline_passed
from flask_redis_kit.sessions.store import SessionStore

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
log = logging.getLogger("flask_redis_kit.sessions")

HEADER = "X-Session-ID"
_USER, _METADATA = "user_id", "metadata"


class Sessions(Protocol):
    """The part of ``kit.sessions`` that is needed here."""

    def engine(self) -> SessionStore: ...
    def context(self) -> Context[SessionsConfig]: ...
    def revoke_user(self, user: object, *, except_current: bool = False) -> int: ...


class KitWithSessions(Protocol):
    """What is needed of a ``RedisKit``."""

    @property
    def sessions(self) -> Sessions: ...


class RedisSessionManager:
    """Makes, reads and ends sessions by their id.

    ``ttl``     how long one lives without being used: seconds or a timedelta.
    ``header``  where ``require_auth`` finds the id.

    ::

        sessions = RedisSessionManager(kit)

        @app.post("/login")
        def login():
            return {"session_id": sessions.create_session(user.id, {"device": "phone"})}

        @app.get("/me")
        @sessions.require_auth
        def me():
            return {"user_id": g.user_id}

    An id is a secret of 256 random bits, of which the server has only the hash. Every method raises
    the ``ServerError`` of a failing server.
    """

    def __init__(
        self, kit: KitWithSessions, ttl: float | timedelta = 86400, header: str = HEADER
    ) -> None:
        if not hasattr(kit, "sessions"):
            raise TypeError(
                f"RedisSessionManager({kit!r}): give it a RedisKit that has the feature 'sessions'."
            )
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        if not (seconds >= 1 and math.isfinite(seconds)):
            raise ValueError(f"ttl={ttl!r}: a session must live for a second at least.")
        self._kit = kit
        self._ttl = math.ceil(seconds)
        self._header = header

    def create_session(self, user_id: object, metadata: Mapping[str, Any] | None = None) -> str:
        """Log a user in; the id of the new session. One round trip, two on Cluster.

        ``metadata``: what the codec knows; ``CodecError`` names what it doesn't. The user's session
        that was not used for longest ends if he has more than ``SESSION_MAX_PER_USER``.
        """
        if user_id is None:
            raise ValueError("create_session(None): give the user who logs in.")
        store = self._kit.sessions.engine()
        sid = new_id(store.config.id_length)
        session, encode = digest_of(sid), store.codec.encode
        span = self._span(store, NOTHING, self._ttl, user_text(user_id).decode())
        user, most = span.user or "", store.config.max_per_user
        fields = {
            _USER.encode(): encode(user_id),
            _METADATA.encode(): encode(dict(metadata or {})),
            **span.fresh(goes_on=False),
        }
        entry = store.index.enrol(user, session, span.entry_seconds, least=span.least, most=most)
        create = store.create(session, new_incarnation(), span.idle, fields)
        others, created = self._in_turn(store, entry, create)
        if created.created:  # else all the user's sessions were ended at this moment
            store.created(session, user)
            Devices(store, self._send, span.least).thin(user, most, others)
        return sid

    def get_session(self, session_id: str | None) -> dict[str, Any] | None:
        """What is stored: ``user_id``, ``created_at``, ``last_activity``, ``metadata``; else None.

        The times are datetimes in UTC. Prolongs the session's life. One round trip, and one or two
        each time that a sixtieth of its life (an hour at most) has gone by.
        """
        if session_id is None or not is_id(session_id):
            return None
        store, session = self._kit.sessions.engine(), digest_of(session_id)
        found: Loaded = store.settled(session, self._send([store.load(session)])[0], NOTHING)
        if found.incarnation is None or deadline_passed(store.config, found):
            return None
        fields = Fields(store.codec, found.fields, functools.partial(store.unreadable, session))
        if fields.get(_USER) is None:
            return None  # a visitor's, who is not logged in
        self._prolong(store, session, found)
        began = found.created
        return {
            "user_id": fields.get(_USER),
            "created_at": None if began is None else datetime.fromtimestamp(began, UTC),
            "last_activity": datetime.now(UTC),
            "metadata": fields.get(_METADATA) or {},
        }

    def _prolong(self, store: SessionStore, session: str, found: Loaded) -> None:
        """Keep a session, and its entry in its user's index, alive if that is due."""
        span = self._span(store, found, found.number(LIFE), found.user)
        if not (span.due or span.entry_due):
            return
        save = store.save(session, found.incarnation or b"", span.seconds, span.changed(entry=True))
        try:
            if span.user is None:
                self._send([save])[0].result()
            else:
                entry = store.index.enrol(span.user, session, span.entry_seconds)
                self._in_turn(store, entry, save)
        except FAILURES as error:
            log.warning("session %s could not be prolonged: %s", session, error)

    def _span(
        self, store: SessionStore, found: Loaded, life: float | None, user: str | None
    ) -> Span:
        app = self._kit.sessions.context().app
        idle = store.config.idle_of(app.permanent_session_lifetime)
        return Span(
            store.config,
            found,
            idle=idle,
            life=life,
            user=lambda: user,
            device=_device,
        )

    def _send(self, exchanges: Sequence[Exchange[Any]]) -> list[Outcome[Any]]:
        return self._kit.sessions.context().send_many(exchanges)

    def _in_turn(
        self, store: SessionStore, entry: Exchange[dict[str, bool]], then: Exchange[T]
    ) -> tuple[dict[str, bool], T]:
        """Entered first: what lives must be in the user's index."""
        if not store.wire.clustered:
            entered, done = self._send([entry, then])
            return entered.result(), done.result()
        others: dict[str, bool] = self._send([entry])[0].result()
        return others, self._send([then])[0].result()

    def destroy_session(self, session_id: str | None) -> bool:
        """End a session; False: there was none. One round trip, or two with its user's index."""
        if session_id is None or not is_id(session_id):
            return False
        store, session = self._kit.sessions.engine(), digest_of(session_id)
        send = self._send
        ending = DESTROYED + new_incarnation()
        first, second = send([store.glance(session), store.destroy(session, ending)])
        user = store.settled(session, first, NOTHING).user
        ended: bool = store.settled(session, second, False)
        if ended:
            store.destroyed(session)
        if user is not None:
            send([store.index.remove(user, [session])])  # it is pruned later if this fails
        return ended

    def destroy_all_user_sessions(self, user_id: object) -> int:
        """Log a user out everywhere, browsers included; how many sessions that were."""
        return self._kit.sessions.revoke_user(user_id)

    def require_auth(self, view: Callable[P, R]) -> Callable[P, R]:
        """Let only requests with the id of a living session pass; others get a 401, as JSON.

        ``g.session`` is what ``get_session`` gives, ``g.user_id`` the user. For blocking and
        ``async def`` views. A server that is away is a 503, never a 401: an outage is no logout.
        """
        if inspect.iscoroutinefunction(view):

            @functools.wraps(view)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                refusal = self._admit()
                return await view(*args, **kwargs) if refusal is None else refusal

            return cast("Callable[P, R]", guarded_async)

        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            refusal = self._admit()
            return view(*args, **kwargs) if refusal is None else refusal

        return cast("Callable[P, R]", guarded)

    def _admit(self) -> Response | None:
        given = request.headers.get(self._header)
        if not given:
            return self._refusal("Missing session ID")
        try:
            found = self.get_session(given)
        except FAILURES as error:
            if isinstance(error, ServerUnavailable):
                raise unavailable(error) from error
            raise
        if found is None:
            return self._refusal("Invalid or expired session")
        g.session = found
        g.user_id = found["user_id"]
        return None

    def _refusal(self, reason: str) -> Response:
        response = make_response(jsonify({"error": reason}), 401)
        response.headers["WWW-Authenticate"] = f'Session realm="session", header="{self._header}"'
        response.headers["Cache-Control"] = "no-store"
        return response


def _device() -> Device:
    if current_context() is None:
        return Device("", "")
    return Device(request.headers.get("User-Agent", ""), request.remote_addr or "")
