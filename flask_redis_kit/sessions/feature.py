"""The sessions feature: its settings, its keys, and what ``kit.sessions`` offers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.durability import eviction_warnings, persistence_warnings
from flask_redis_kit.core.feature import Context, Feature
from flask_redis_kit.core.keys import KeySpec
from flask_redis_kit.sessions.session import RedisSession
from flask_redis_kit.sessions.store import SessionStore

log = logging.getLogger("flask_redis_kit.sessions")


@dataclass(frozen=True, slots=True)
class SessionsConfig(FeatureConfig):
    """The settings of the sessions that are not Flask's own.

    ``sliding``  a session lives ``PERMANENT_SESSION_LIFETIME`` since it was last read, not only
                 since it was last written. Flask's ``SESSION_REFRESH_EACH_REQUEST``.
    """

    sliding: bool = field(default=True, metadata={"key": "SESSION_REFRESH_EACH_REQUEST"})


class SessionsFeature(Feature[SessionsConfig, SessionStore]):
    """Server-side sessions. They are used where ``app.session_interface`` says so."""

    name: ClassVar[str] = "sessions"
    config_class = SessionsConfig
    keyspace: ClassVar[tuple[KeySpec, ...]] = (
        KeySpec(
            pattern="frk:{<ns>:<hash>}:session:h:<hash>",
            type="hash",
            ttl="PERMANENT_SESSION_LIFETIME since its last use; 60 s for the mark of an ended one",
            meaning="one session; <hash> is the SHA-256 of its id",
        ),
    )

    def build(self, context: Context[SessionsConfig]) -> SessionStore:
        if not context.config.enabled:
            log.warning(
                "Sessions are off (REDIS_SESSIONS_ENABLED): %r starts every request with an empty "
                "session and forgets it at the end. Nobody can stay logged in.",
                context.app.name,
            )
        return SessionStore(context.wire, context.keys, context.codec)

    def warnings(self, context: Context[SessionsConfig]) -> Iterable[str]:
        ours = getattr(context.app.session_interface, "finishes_batch_of", None)
        if not context.config.enabled or ours is None or not ours(context.kit_name):
            return
        yield from eviction_warnings(
            context.wire,
            "who is logged in can be logged out at any time",
            "give sessions a server of their own by REDIS_SESSIONS_URL",
        )
        yield from persistence_warnings(context.wire, "all sessions")

    def regenerate(self, session: MutableMapping[str, Any]) -> None:
        """Give ``flask.session`` a new id and keep its data; see ``RedisSession.regenerate``."""
        if not isinstance(session, RedisSession):
            raise TypeError(
                f"regenerate() needs a session of the kit, not {type(session).__name__}. Did you "
                "forget app.session_interface = RedisSessionInterface(kit)?"
            )
        session.regenerate()
