"""Sessions for clients without cookies: the id travels in a header, ``X-Session-ID``.

They lie in the same store as those of browsers, so ``kit.sessions.list`` and ``revoke_user`` know
them, too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from flask import Response, g, jsonify, make_response, request

from flask_redis_kit.core.errors import ServerUnavailable
from flask_redis_kit.core.exchange import Exchange
from flask_redis_kit.core.failure import FAILURES
from flask_redis_kit.core.feature import Context
from flask_redis_kit.core.views import current_context
from flask_redis_kit.sessions.changes import Changes
from flask_redis_kit.sessions.config import SessionsConfig
from flask_redis_kit.sessions.ids import digest_of, is_id, new_id, new_incarnation
from flask_redis_kit.sessions.record import DESTROYED, LIFE, NOTHING, SEEN, Device, Loaded, owned_by
from flask_redis_kit.sessions.source import unavailable
from flask_redis_kit.sessions.store import SessionStore

P = ParamSpec("P")
R = TypeVar("R")
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

    ``ttl``     seconds that one lives without being used.
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

    def __init__(self, kit: KitWithSessions, ttl: float = 86400, header: str = HEADER) -> None:
        if not hasattr(kit, "sessions"):
            raise TypeError(
                f"RedisSessionManager({kit!r}): give it a RedisKit that has the feature 'sessions'."
            )
        if ttl < 1:
            raise ValueError(f"ttl={ttl!r}: a session must live for a second at least.")
        self._kit = kit
        self._ttl = ttl
        self._header = header

    def create_session(self, user_id: object, metadata: Mapping[str, Any] | None = None) -> str:
        """Log a user in; the id of the new session. One round trip, two on Cluster.

        ``metadata``: what the codec knows; ``CodecError`` names what it doesn't.
        """
        store = self._kit.sessions.engine()
        sid = new_id(store.config.id_length)
        session, encode = digest_of(sid), store.codec.encode
        own = owned_by(user_id, _device(), store.codec)
        fields = {
            _USER.encode(): encode(user_id),
            _METADATA.encode(): encode(dict(metadata or {})),
            LIFE: str(int(self._ttl)).encode(),
            **own,
        }
        entry = store.index.enrol(str(user_id), session, self._ttl, least=self._ttl)
        create = store.create(session, new_incarnation(), self._ttl, fields)
        send = self._kit.sessions.context().send_many
        # entered first: what lives must be in the user's index
        steps: list[list[Exchange[Any]]] = [[entry, create]]
        if store.wire.clustered:
            steps = [[entry], [create]]
        for step in steps:
            for outcome in send(step):
                outcome.result()
        store.created(session, str(user_id))
        return sid

    def get_session(self, session_id: str) -> dict[str, Any] | None:
        """What is stored: ``user_id``, ``created_at``, ``last_activity``, ``metadata``; else None.

        The times are datetimes in UTC. Prolongs the session's life to ``ttl``. One round trip.
        """
        if not is_id(session_id):
            return None
        store, session = self._kit.sessions.engine(), digest_of(session_id)
        now = datetime.now(UTC)
        seen = Changes({SEEN: str(int(now.timestamp())).encode()}, [])
        exchanges: list[Exchange[Any]] = [
            store.save(session, b"", self._ttl, seen),
            store.load(session),
        ]
        prolonged, loaded = self._kit.sessions.context().send_many(exchanges)
        found: Loaded = store.settled(session, loaded, NOTHING)
        store.settled(session, prolonged, None)
        if found.incarnation is None:
            return None
        fields: dict[str, Any] = {}
        for name in (_USER, _METADATA):
            if name in found.fields:
                fields[name] = store.codec.decode(found.fields[name])
        if _USER not in fields:
            return None  # a visitor's, who is not logged in
        began = found.created
        return {
            "user_id": fields[_USER],
            "created_at": None if began is None else datetime.fromtimestamp(began, UTC),
            "last_activity": now,
            "metadata": fields.get(_METADATA, {}),
        }

    def destroy_session(self, session_id: str) -> bool:
        """End a session; False: there was none. One round trip, or two with its user's index."""
        if not is_id(session_id):
            return False
        store, session = self._kit.sessions.engine(), digest_of(session_id)
        send = self._kit.sessions.context().send_many
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
