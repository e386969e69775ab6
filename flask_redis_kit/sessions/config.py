"""The settings ``SESSION_…``, named as Flask and Flask-Session name theirs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from flask_redis_kit.core.config import FeatureConfig
from flask_redis_kit.core.errors import ConfigError
from flask_redis_kit.sessions.ids import MOST_BYTES


def _key(name: str, default: Any) -> Any:
    return field(default=default, metadata={"key": f"SESSION_{name}"})


@dataclass(frozen=True, slots=True)
class SessionsConfig(FeatureConfig):
    """Times are seconds. The cookie's own settings are Flask's ``SESSION_COOKIE_…``.

    ``idle_timeout``      how long a session lives without being used; None:
                          ``PERMANENT_SESSION_LIFETIME``.
    ``absolute_timeout``  how long it lives at most, however much it is used; None: no limit.
    ``renew_after``       an id older than this is replaced when it is next used; None: never.
    ``sliding``           reading prolongs a session, not only writing. Flask's
                          ``SESSION_REFRESH_EACH_REQUEST``.
    ``touch_untouched``   so does a request that leaves it alone: one round trip each.
    ``permanent``         new sessions get a cookie that outlives the browser. None: only where
                          ``type`` is set, as Flask-Session does it.
    ``identity_keys``     the keys that say who the user is; the id changes when one of them does.
    ``max_per_user``      at a login beyond it the session that was not used for longest ends.
    ``id_length``         random bytes of an id.
    ``on_load_error``     "raise": reading it is a 503; "anonymous": it is empty and can't be saved.
    ``on_save_error``     "raise": a change that could not be stored is a 500; "drop": it is logged.
    ``on_interrupt``      when the session ended while a request was changing it. "drop": the change
                          is dropped and a signal sent; "raise": ``SessionInterrupted`` as well.
    ``no_store``          responses with a session's cookie carry ``Cache-Control: no-store``.

    For those who come from Flask-Session:

    ``backend``           "redis", or "flask-session": its own interface, on the kit's connection.
    ``type``              Flask-Session's: "redis" says that there are sessions to move.
    ``legacy``            whether sessions of Flask-Session are looked for; None: as ``type`` says.
    ``legacy_grace``      how long they stay, once moved, for workers that still run Flask-Session.
    ``redis``             its client; only looked at to warn where it is another server's.
    ``key_prefix``        of its keys.
    ``use_signer``        the cookie is signed, as Flask-Session does it.
    ``fallbacks``         older values of ``SECRET_KEY`` that signatures may have been made with.
    ``serialization_format``  what it wrote, "msgpack" or "json"; the other one is tried, too.
    """

    idle_timeout: float | None = _key("IDLE_TIMEOUT", None)
    absolute_timeout: float | None = _key("ABSOLUTE_TIMEOUT", None)
    renew_after: float | None = _key("RENEW_AFTER", None)
    sliding: bool = _key("REFRESH_EACH_REQUEST", True)
    touch_untouched: bool = _key("TOUCH_UNTOUCHED", False)
    permanent: bool | None = _key("PERMANENT", None)
    identity_keys: tuple[str, ...] = _key("IDENTITY_KEYS", ("_user_id", "user_id"))
    max_per_user: int | None = _key("MAX_PER_USER", None)
    id_length: int = _key("ID_LENGTH", 32)
    on_load_error: Literal["raise", "anonymous"] = _key("ON_LOAD_ERROR", "raise")
    on_save_error: Literal["raise", "drop"] = _key("ON_SAVE_ERROR", "raise")
    on_interrupt: Literal["drop", "raise"] = _key("ON_INTERRUPT", "drop")
    no_store: bool = _key("NO_STORE", True)
    backend: Literal["redis", "flask-session"] = _key("BACKEND", "redis")
    type: str | None = _key("TYPE", None)
    legacy: bool | None = _key("LEGACY", None)
    legacy_grace: float = _key("LEGACY_GRACE", 600.0)
    redis: object = field(
        default=None, metadata={"key": "SESSION_REDIS", "secret": True}, repr=False
    )
    key_prefix: str = _key("KEY_PREFIX", "session:")
    use_signer: bool = _key("USE_SIGNER", False)
    fallbacks: object = field(
        default=None, metadata={"key": "SECRET_KEY_FALLBACKS", "secret": True}, repr=False
    )
    serialization_format: Literal["msgpack", "json"] = _key("SERIALIZATION_FORMAT", "msgpack")

    def __post_init__(self) -> None:
        for name in (
            "idle_timeout",
            "absolute_timeout",
            "renew_after",
            "max_per_user",
            "legacy_grace",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _wrong(name, value, "give 1 or more, or None to do without")
        if not 16 <= self.id_length <= MOST_BYTES:
            raise _wrong(
                "id_length",
                self.id_length,
                f"an id of fewer than 16 random bytes can be guessed: give 16 to {MOST_BYTES}",
            )
        if not all(self.identity_keys):
            raise _wrong("identity_keys", self.identity_keys, "name keys of the session")
        if self.use_signer and not isinstance(self.fallbacks, list | tuple | None):
            raise ConfigError(
                "SECRET_KEY_FALLBACKS must be a list: of a string each letter would be a key.",
                key="SECRET_KEY_FALLBACKS",
            )
        limits = (self.idle_timeout, self.absolute_timeout)
        if None not in limits and limits[0] > limits[1]:  # type: ignore[operator]  # not None
            raise _wrong(
                "idle_timeout",
                self.idle_timeout,
                f"a session ends after SESSION_ABSOLUTE_TIMEOUT={self.absolute_timeout!r} anyway: "
                "give less than that",
            )

    def idle_of(self, permanent: timedelta) -> float:
        """How long a session lives without being used, in seconds.

        ``permanent``  the application's ``PERMANENT_SESSION_LIFETIME``.
        """
        return self.idle_timeout or permanent.total_seconds()

    @property
    def starts_permanent(self) -> bool:
        """Whether new sessions are permanent."""
        return self.type is not None if self.permanent is None else self.permanent

    @property
    def moves(self) -> bool:
        """Whether sessions of Flask-Session are looked for."""
        return self.type == "redis" if self.legacy is None else self.legacy


def _wrong(name: str, value: object, cure: str) -> ConfigError:
    key = f"SESSION_{name.upper()}"
    return ConfigError(f"{key}={value!r}: {cure}.", key=key)
